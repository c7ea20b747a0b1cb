"""What it costs to train nets, by a model: operations, bytes, and about the seconds of a core."""

from __future__ import annotations

from collections.abc import Sequence

from espalier.orchestrator.planning.cost import BASE_BYTES, Cost
from espalier.orchestrator.planning.net_cost import (
    evaluation_bytes,
    forward_flops,
    image_bytes,
    layer_sizes,
    map_flops,
    snapshot_bytes,
)
from espalier.tasks.data.images import DataFacts
from espalier.tasks.kernels.compiled import work_bytes
from espalier.tasks.networks.architectures import parameter_count
from espalier.tasks.spec import ALONE, TrainMode, TrainSegment


def train_cost(segments: Sequence[TrainSegment], facts: DataFacts, mode: TrainMode = ALONE) -> Cost:
    """Cost of a job that trains nets of one architecture and recipe, all of them together.

    Three forward passes' worth per image and epoch, and the evaluations, one net at a time. A net alone that
    is trained `grouped` has a copy of itself beside it, which is left out of the operations; so is what
    compiled kernels spare.
    """
    first, nets = segments[0], max(len(segments), 2 if mode.grouped else 1)
    architecture = first.snapshot.net.architecture
    flops = sum(_segment_flops(segment, facts) for segment in segments)
    # The images may be there in another layout too.
    memory = BASE_BYTES + 3 * image_bytes(facts) + 20 * nets * parameter_count(architecture)
    memory += max(nets * _step_bytes(first, facts), evaluation_bytes(architecture, facts))
    memory += work_bytes(architecture) if mode.compiled else 0
    bytes_in = 0 if first.start is None else 2 * len(segments) * snapshot_bytes(architecture)
    return Cost(flops, bytes_in, memory, sum(_step_seconds(segment, facts) for segment in segments))


def _segment_flops(segment: TrainSegment, facts: DataFacts) -> float:
    architecture = segment.snapshot.net.architecture
    epochs, forward = _epochs(segment), forward_flops(architecture)
    evaluations = max(1, epochs) * facts.test + facts.train
    # The first layer's input needs no gradient.
    step = 3 * forward - map_flops(layer_sizes(architecture)[0])
    return epochs * facts.train * step + forward * evaluations


def _epochs(segment: TrainSegment) -> int:
    return segment.snapshot.epoch - (segment.start or 0)


STEP_SECONDS, STEP_RATE = 1.5e-3, 5e10
"""Of a core: what a step takes at least, and operations per second. Rough: they weigh jobs, no more."""


def train_seconds(segment: TrainSegment, facts: DataFacts) -> float:
    """About the seconds that a segment takes one core."""
    return _step_seconds(segment, facts) + _segment_flops(segment, facts) / STEP_RATE


def _step_seconds(segment: TrainSegment, facts: DataFacts) -> float:
    steps = _epochs(segment) * -(-facts.train // segment.snapshot.net.recipe.batch_size)
    return STEP_SECONDS * (1 + steps)


def _step_bytes(segment: TrainSegment, facts: DataFacts) -> int:
    """Bytes of one step: what every layer keeps of a batch, and the gradients on the way back."""
    architecture, batch = segment.snapshot.net.architecture, segment.snapshot.net.recipe.batch_size
    features = sum(
        size.inputs + 2 * size.out * size.positions * (1 + layer.batch_norm + (layer.shortcut is not None))
        for layer, size in zip(architecture.layers, layer_sizes(architecture), strict=True)
    )
    return 4 * 2 * min(batch, facts.train) * features
