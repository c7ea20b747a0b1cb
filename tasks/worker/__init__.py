"""The process that computes: its device, processor and memory, and what it says when memory ends.

May import `networks`, `data` and what is below them; it stands on the floor of `kernels` and imports nothing
of it. Start with `devices`.
"""
