"""The pool on Ray: joining or starting Ray, its actors, and the blobs that travel between them.

May import `cluster.pool`, and alone in Espalier imports Ray. The room is not called `ray`, because
`python cluster/submit.py` puts the folder `cluster/` first on the path of imports, where `cluster/ray/` would
stand before the library. Start with `ray_pool`.
"""
