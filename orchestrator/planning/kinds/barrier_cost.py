"""What a job that follows the straight path between two nets costs, by a model (`tasks.mixing.barrier_rows`).

Checked against PyTorch's counter and measured peaks as `orchestrator.planning.cost` is.
"""

from __future__ import annotations

from collections.abc import Mapping

from espalier.orchestrator.planning.cost import BASE_BYTES, Cost
from espalier.orchestrator.planning.net_cost import (
    evaluation_bytes,
    forward_flops,
    image_bytes,
    layer_sizes,
    map_flops,
    narrowness,
    snapshot_bytes,
)
from espalier.tasks.data.images import DataFacts
from espalier.tasks.networks.architectures import images_per_batch, parameter_count, shapes_of
from espalier.tasks.spec import Architecture, BarrierPair

DESCENTS = 4 * 4
"""Passes over all parameters that a weight matching takes, about: four descents, two to six passes each."""


def barrier_cost(pair: BarrierPair, facts: DataFacts, where: Mapping[str, object]) -> Cost:
    """Cost of a pair's paths: each place is scored on some training images and on all held-out ones."""
    net, options = pair.snapshots[0].net.architecture, pair.options
    images, held = min(options.images, facts.train), not where.get("recompute", False)
    lines, repairs = len(options.matchings) * options.points, "repair" in options.corrections
    walk = images * (_hidden_flops(net) if held else _recomputed_flops(net))
    flops = lines * len(options.corrections) * (images + facts.test) * forward_flops(net)
    flops += repairs * (lines * walk + 2 * images * _hidden_flops(net))
    flops += _matching_flops(pair, images)
    bytes_in = sum(snapshot_bytes(snapshot.net.architecture) for snapshot in pair.snapshots)
    memory = _memory(pair, facts, images, held and repairs)
    return Cost(flops, bytes_in, memory, slower=narrowness(net))


def _hidden_flops(net: Architecture) -> float:
    """Operations of one image's maps below the logits."""
    return forward_flops(net) - map_flops(layer_sizes(net)[-1])


def _recomputed_flops(net: Architecture) -> float:
    """Operations of one image's maps where each layer is reached from the image."""
    below = [map_flops(size) for size in layer_sizes(net)]
    return sum(sum(below[: layer + 1]) for layer in range(net.depth - 1))


def _cycle(pair: BarrierPair) -> int:
    """How many pairs of nets are matched."""
    return 3 if len(pair.snapshots) == 3 else 1


def _channel_matrices(net: Architecture) -> list[tuple[int, int]]:
    """Channels and positions of what each hidden layer gives."""
    return [(channels, height * width) for channels, height, width in shapes_of(net)[1:-1]]


def _matching_flops(pair: BarrierPair, images: int) -> float:
    """Operations of the correlations of all channels, and of the products of weight matching."""
    net, matchings = pair.snapshots[0].net.architecture, pair.options.matchings
    cycle = len(pair.snapshots) == 3 and "activations" in matchings
    nets, pairs = (3, 3) if cycle else (2, 1)
    products = sum(2.0 * channels**2 * positions for channels, positions in _channel_matrices(net))
    flops = images * (nets * forward_flops(net) + pairs * products)
    if "weights" in matchings:
        by_sides = sum(2.0 * (size.out + size.dim) * size.dim * size.out for size in layer_sizes(net))
        assignments = sum(float(channels) ** 3 for channels, _ in _channel_matrices(net))
        flops += _cycle(pair) * DESCENTS * (by_sides + assignments)
    return flops


def _memory(pair: BarrierPair, facts: DataFacts, images: int, held: bool) -> int:
    """Bytes of the nets and their copies, of correlations, and of the images' features at one layer."""
    net, sizes = pair.snapshots[0].net.architecture, layer_sizes(pair.snapshots[0].net.architecture)
    nets, batch = len(pair.snapshots), min(images, images_per_batch(pair.snapshots[0].net.architecture))
    # Matched, between, repaired; and two nets in float64 with a copy of the largest map.
    parameters = 4 * (nets + 3) * parameter_count(net) + 16 * parameter_count(net)
    parameters += 16 * max(size.dim * size.out for size in sizes)
    squares = 8 * _cycle(pair) * sum(channels**2 for channels, _ in _channel_matrices(net))
    squares += 4 * 8 * max(channels**2 for channels, _ in _channel_matrices(net))
    features = max(size.inputs + 2 * size.out * size.positions for size in sizes)
    at_once = images if held else batch
    walking = 4 * at_once * features + 3 * 8 * batch * max(size.out * size.positions for size in sizes)
    correlating = batch * nets * (4 * features + 8 * max(c * p for c, p in _channel_matrices(net)))
    working = max(walking, correlating, evaluation_bytes(net, facts))
    chosen = image_bytes(facts) * images // (facts.train + facts.test)
    return int(BASE_BYTES + 2 * image_bytes(facts) + chosen + parameters + squares + working)
