"""What a user asks for: the sections of `sweep.toml`, checked, with their defaults and presets.

The ground of the orchestrator: it may import `tasks.spec`, but no other room of the orchestrator. Start
with `sweep_config`, which puts the sections together and reads the file.
"""
