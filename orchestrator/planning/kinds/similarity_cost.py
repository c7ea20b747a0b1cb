"""What comparing nets without a fit costs, by a model (`tasks.measures`).

Fitted to measured tiles (4 nets of widths 4, 16 and 32, 300 and 1,000 images); peaks of memory are
met from above. What single measures take is told in `orchestrator.planning.kinds.measure_cost`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from espalier.orchestrator.planning.cost import BASE_BYTES, Cost
from espalier.orchestrator.planning.kinds.measure_cost import Sizes, net_flops, pair_flops
from espalier.orchestrator.planning.net_cost import forward_flops, image_bytes, snapshot_bytes
from espalier.tasks.data.images import DataFacts
from espalier.tasks.measures.known_measures import FITTED
from espalier.tasks.networks.architectures import input_shapes, parameter_count
from espalier.tasks.spec import SimilarityTile, Snapshot

SPECTRUM_BYTES = 2**28
"""Of products of permuted images at one time; there are up to four copies."""
KERNEL_BYTES = 100
"""For each net and two images: its sample kernel, distances and ranks, and what permuting them takes."""
ROW_SECONDS = 0.003
"""Of a core for each pair, layer and measure, whatever their sizes (small nets on an Intel Xeon)."""
SPREAD = 64
"""Operations that take as long as adding two images' entry of a kernel to a mean, which waits for memory."""
KEPT = 4
"""How often a layer's features are held at most: the nets' own, the next layer's, and centred ones."""
WALKED = 8
"""The same of one net: what two neighbouring layers read and give, all images in one, and in float64."""


def similarity_cost(tile: SimilarityTile, facts: DataFacts) -> Cost:
    """Cost of comparing the pairs of a tile at every layer."""
    images = min(tile.images, facts.test)
    names = {name for pair in tile.pairs for name in pair.keys}
    nets = [snap.net.architecture for snap in tile.snapshots]
    passes = images + (min(tile.images, facts.train) if FITTED in names else 0)
    flops = passes * sum(forward_flops(net) for net in nets)
    peak, rows = 0.0, sum(len(pair.keys) for pair in tile.pairs) * nets[0].depth
    sizes = [_features(snap) for snap in tile.snapshots]
    for layer in range(nets[0].depth):
        at = [size[layer] for size in sizes]
        held = sum(channels * positions for channels, positions in at)
        flops += 4.0 * images**2 * held + len(at) * net_flops(names, images)
        products = 0.0
        for pair in tile.pairs:
            (left, positions), (right, _) = at[pair.left], at[pair.right]
            where = Sizes(images, positions, min(left, right), max(left, right), tile.permutations)
            flops += pair_flops(tuple(pair.keys), where)
            products += 4.0 * images * left * right
        square = 16.0 * sum(channels for channels, _ in at) ** 2
        kernels = KERNEL_BYTES * float(images) ** 2 * len(at)
        kept = KEPT + (2 if FITTED in names else 0)  # and those of the training images, with the next layer's
        peak = max(peak, kept * 4.0 * images * held + square + kernels + 4 * min(SPECTRUM_BYTES, products))
    memory = BASE_BYTES + image_bytes(facts) + 8 * sum(map(parameter_count, nets)) + peak
    return Cost(flops, sum(map(snapshot_bytes, nets)), int(memory), rows * ROW_SECONDS)


def features_cost(snapshot: Snapshot, images: int, facts: DataFacts) -> Cost:
    """Cost of describing every layer of one net."""
    net, count = snapshot.net.architecture, min(images, facts.test)
    sizes = _features(snapshot)
    flops = count * forward_flops(net) + sum(2.0 * count * p * c**2 + 9.0 * c**3 for c, p in sizes)
    held = max(c * p for c, p in sizes)
    memory = BASE_BYTES + image_bytes(facts) + 8 * parameter_count(net) + 4 * KEPT * 4 * count * held
    return Cost(flops, snapshot_bytes(net), int(memory))


def ensembles_cost(snapshots: Sequence[Snapshot], images: int, facts: DataFacts) -> Cost:
    """Cost of the sample kernels of some nets, one after another, with two mean kernels for each layer."""
    count, nets = min(images, facts.test), [snap.net.architecture for snap in snapshots]
    sizes = [_features(snap) for snap in snapshots]
    flops = count * sum(map(forward_flops, nets))
    flops += sum(2.0 * count**2 * (c * p + SPREAD) for size in sizes for c, p in size)
    held = max(c * p for size in sizes for c, p in size)
    kernels = 8.0 * count**2 * (2 * nets[0].depth + 6)
    memory = BASE_BYTES + image_bytes(facts) + 8 * sum(map(parameter_count, nets))
    memory += int(4 * WALKED * count * held + kernels)
    return Cost(flops, sum(map(snapshot_bytes, nets)), memory)


def _features(snapshot: Snapshot) -> list[tuple[int, int]]:
    """Channels and positions of h_1 to h_L, of the last layer those of the logits."""
    net = snapshot.net.architecture
    hidden = [(shape[0], prod(shape[1:])) for shape in input_shapes(net)[1:]]
    return [*hidden, (net.layers[-1].out, 1)]
