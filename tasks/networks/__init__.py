"""A network as data and as functions: architectures, parametrizations, forward passes, cuts and checkpoints.

May import `tables`, `spec` and `seeds` alone. `architectures` and `cuts` load no PyTorch, since the plan
needs them. Start with `architectures`, which says what a net's layers are, then with `network`, which computes
them.
"""
