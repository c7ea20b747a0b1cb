"""How one unit of work is done, with PyTorch: pure functions from a specification and inputs to results.

The rooms are floors, from the ground: `spec` and `seeds`; `tables` and `data`; `networks`; `kernels` and
`worker`; `training`; `grafting`; `mixing`; `jobs`. A room imports those below it and nothing of
`orchestrator`, `analysis` or `cluster`. Start with `tasks.spec`, which says what may be asked for, then with
`tasks.jobs`, which does it.
"""
