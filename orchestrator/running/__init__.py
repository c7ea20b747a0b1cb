"""Doing a plan: the driver that gives jobs to a pool, publishes what comes back, and shows how far it is.

May import `planning`, `store` and `config`, but neither `tuning` nor the sweep. Start with `driver`, whose
decisions are those of `planning.state_machine`.
"""
