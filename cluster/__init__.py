"""Where jobs run: a pool in this process, a pool on Ray, and the script that submits a run to a cluster.

May import none of Espalier's other packages: a pool knows a job's key, its inputs and the function to call.
Start with `cluster.pool`, the protocol that both pools follow; `cluster.on_ray` alone imports Ray.
"""
