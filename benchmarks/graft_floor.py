"""What a perfect machine would still take for a graft: operations over the measured rate of matrix products.

Operations are those of the planner's model, so of direct convs. `minimal_seconds` counts a 3x3 conv with the
products of minimal filtering on tiles of 4x4 (36 for 144, whole tiles), which no order of direct operations
can reach; the transforms around them are left out. Products in float64 count twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from espalier.orchestrator.planning.kinds.tile_cost import arm_flops, kept_rank
from espalier.orchestrator.planning.net_cost import gram_flops, layer_sizes, map_flops
from espalier.tasks.networks.architectures import input_shapes, output_size
from espalier.tasks.networks.cuts import all_arms, arm_sizes, cuts
from espalier.tasks.spec import Architecture, Layer, in_float32

TILE, TAPS = 4, 3
WIDE_TYPE = 2.0
"""Time of a float64 product in those of float32."""


def floor(
    net: Architecture, nets: int, images: int, held_out: int, ridges: Sequence[float], rate: float
) -> list[dict[str, Any]]:
    """A row for each phase of all ordered pairs of `nets`; seconds of a core and operations for one graft.

    `rate` is that of float32 matrix products, in operations a second.
    """
    layers, shapes, sizes = net.layers, input_shapes(net), layer_sizes(net)
    filtered = [_filtered(layer, shape[1:]) for layer, shape in zip(layers, shapes, strict=True)]
    made, pairs = cuts(net), nets * (nets - 1)
    arms = {arm: arm_sizes(net, net, arm) for arm in all_arms(made)}
    double = {
        arm: 1.0 if size.map.kind == "conv" and in_float32("float32", size.shape[0]) else WIDE_TYPE
        for arm, size in arms.items()
    }
    whole = [map_flops(size) for size in sizes]
    phases: dict[str, list[tuple[float, float, float]]] = {
        "forward passes": [
            (nets * (images + held_out) * flops, 1.0, share)
            for flops, share in zip(whole, filtered, strict=True)
        ],
        "Gram matrices": [
            (nets * images * gram_flops(s.map, s.shape), double[a], 1.0) for a, s in arms.items()
        ],
        "cross terms": [
            (pairs * images * arm_flops(net, net, a), double[a], _filtered(s.map, s.shape[1:]))
            for a, s in arms.items()
        ],
        "factorisations": [(nets * 9.0 * kept_rank(s, images) ** 3, WIDE_TYPE, 1.0) for s in arms.values()],
        "solutions": [
            (pairs * max(1, len(ridges)) * 8.0 * s.dim * kept_rank(s, images) * s.out, WIDE_TYPE, 1.0)
            for s in arms.values()
        ],
        "held-out predictions": [
            (pairs * held_out * arm_flops(net, net, a), double[a], _filtered(s.map, s.shape[1:]))
            for a, s in arms.items()
        ],
        "held-out tops": [
            (pairs * held_out * whole[above], 1.0, filtered[above])
            for cut in made
            for above in range(cut.layer, net.depth)
        ],
    }
    return [_row(phase, terms, pairs * len(made), rate) for phase, terms in phases.items()]


def _filtered(layer: Layer, size: tuple[int, ...]) -> float:
    """Products of minimal filtering for one of a direct conv; 1 for other maps."""
    if layer.kind != "conv" or (layer.kernel, layer.stride) != (TAPS, 1) or min(size) < TILE:
        return 1.0
    height, width = output_size(layer, (1, size[0], size[1]))
    tiles = -(-height // TILE) * -(-width // TILE)
    return tiles * (TILE + TAPS - 1) ** 2 / (TAPS**2 * height * width)


def _row(phase: str, terms: Sequence[tuple[float, float, float]], grafts: int, rate: float) -> dict[str, Any]:
    return {
        "phase": phase,
        "gigaops": sum(flops for flops, _, _ in terms) / grafts / 1e9,
        "gemm_seconds": sum(flops * weight for flops, weight, _ in terms) / grafts / rate,
        "minimal_seconds": sum(flops * weight * share for flops, weight, share in terms) / grafts / rate,
    }
