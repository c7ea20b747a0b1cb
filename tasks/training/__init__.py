"""Training nets: optimizers, schedules, losses, evaluation, several nets in one, and probes of speed.

May import `kernels` (by its door `kernels.compiled`), `worker` and the rooms below them, so neither
`grafting` nor `mixing`. Start with `train`, which takes nets from one snapshot to the next.
"""
