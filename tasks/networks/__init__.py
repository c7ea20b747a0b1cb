"""A network as data and as functions: architectures, parametrizations, forward passes, cuts and checkpoints.

May import `tables`, `spec` and `seeds` alone. `architectures` and `cuts` load no PyTorch, since the plan
needs them. Start with `architectures`, which says what the layers of a net are, and then see `network`, which
computes them.
"""
