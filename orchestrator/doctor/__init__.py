"""What the facts of a cluster's nodes mean for a run: `espalier doctor` shows it.

May import nothing of Espalier: the facts come as plain values (`cluster.on_ray.node_facts`). Start with
`judge`.
"""
