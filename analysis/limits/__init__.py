"""How a measure falls with the width: power laws with and without a limit, their intervals and cautions.

May import `analysis.tables` alone. Start with `width_limit`, whose `fit_width_limit` is the way in;
`selection` and `settings` say which rows may be compared, and `snapshots` fits those of one epoch.
"""
