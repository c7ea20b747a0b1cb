"""Nulls of a graft of one snapshot: each is one file with one value, a `Null`, and an entry in `known_nulls`.

The planner reads which snapshots a null takes for sources, so importing a null loads no torch: the functions
that change a source import it when they are called. Start reading at `null`.
"""
