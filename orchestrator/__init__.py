"""What to run: `Sweep` and `SweepConfig` are the Python API, `cli` and `cluster_cli` the commands.

The rooms are floors, from the ground: `config`, `store` and `doctor`; `planning`; `running`; `tuning`; then
`record`, `track` and `summary`; then `sweep`. The package may import `tasks` (what loads no PyTorch) and
`cluster`, not `analysis`. Start with `sweep`.
"""
