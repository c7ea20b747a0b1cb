"""What a worker does with a job of each kind: read its inputs, call the pure function, pack what came of it.

One file a kind, named by the kind's value in `orchestrator.planning.kinds`. This is the top floor of `tasks`:
it may import every other room, and none imports it. Start with `worker_inputs`.
"""
