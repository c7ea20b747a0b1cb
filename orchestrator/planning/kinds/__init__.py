"""The kinds of work, one value each: what a kind wants, reads and writes, how it becomes jobs, what it costs.

May import `planning`'s `kind`, `task`, `cost`, `identity`, `nets` and `studies`, but not the plan, which goes
over all kinds and knows none by name. Start with `registry`, which lists them, then read `grafts`.
"""
