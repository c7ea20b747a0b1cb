"""How many slots the nodes of a cluster have room for."""

from __future__ import annotations

from collections.abc import Mapping


def room(node: Mapping[str, float], need: Mapping[str, float]) -> int:
    """How many slots fit on a node with such resources.

    >>> room({"CPU": 8, "GPU": 2}, {"CPU": 1, "GPU": 0.5}), room({"CPU": 4}, {"CPU": 1, "GPU": 0.5})
    (4, 0)
    """
    asked = {name: amount for name, amount in need.items() if amount}
    # 1e-9 forgives 0.1 + 0.1 + 0.1
    return min(int(node.get(name, 0) / amount + 1e-9) for name, amount in asked.items())


def count_slots(nodes: list[dict[str, float]], need: Mapping[str, float], wanted: int | None) -> int:
    """How many slots to make: those wanted, or all that fit.

    >>> count_slots([{"CPU": 8, "GPU": 2}, {"CPU": 4}], {"CPU": 1, "GPU": 0.5}, None)
    4

    Raises:
        ValueError: They do not fit, or none does.
    """
    asked = {name: amount for name, amount in need.items() if amount}
    fit = sum(room(node, need) for node in nodes)  # a slot lives on one node
    if fit >= (wanted or 1) and wanted != 0:
        return fit if wanted is None else wanted
    per_slot = " and ".join(f"{amount:g} {name}" for name, amount in asked.items())
    has = " and ".join(f"{sum(node.get(name, 0) for node in nodes):g} {name}" for name in asked)
    cure = f"1 to {fit} slots" if fit else "less per slot"
    raise ValueError(
        f"slots={wanted} of {per_slot} each (each on one node) were asked for; the cluster has {has} on "
        f"{len(nodes)} node(s), room for {fit}. Ask for {cure}, or join a larger cluster."
    )
