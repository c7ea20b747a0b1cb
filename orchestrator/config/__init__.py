"""What a user asks for: the sections of `sweep.toml`, checked, with their defaults and presets.

The ground of the orchestrator: it may import what `tasks` tells without PyTorch (`tasks.spec`, the families
of networks, the nulls), but no other room of the orchestrator. Start with `sweep_config`, which puts the
sections together and reads the file.
"""
