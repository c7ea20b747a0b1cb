"""What a row of each table says: columns, types, axes, schema numbers, and the page of docs made from them.

May import `spec` and `seeds` alone, and loads no PyTorch, since the orchestrator and the analysis read tables
too. Start with `schemas`.
"""
