"""Where a sweep is kept: Parquet parts, checkpoints and records, in a local folder or at a URL.

May import `tasks.tables` and `cluster.pool`, but no other room of the orchestrator. Start with `sweep_store`,
then with `files`, the small protocol that it stands on; `places` chooses the implementation.
"""
