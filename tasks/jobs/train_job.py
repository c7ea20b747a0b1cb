"""Jobs of the kind `train`: nets from one snapshot to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from espalier.tasks.data.tensors import Data, Normalization
from espalier.tasks.jobs.worker_inputs import Inputs, Results
from espalier.tasks.networks.checkpoint import pack_network, pack_state
from espalier.tasks.spec import (
    ALONE,
    TrainGroup,
    TrainMode,
    TrainSegment,
    blob_name,
    mode_of,
    segments_of,
    state_name,
)
from espalier.tasks.training import train
from espalier.tasks.training.train import Diverged, State, Trained


def train_nets(payload: TrainSegment | TrainGroup, inputs: Inputs) -> Results:
    """Train the segments of a job; their snapshots, optimizers' states if wanted, rows, and divergences.

    Raises:
        Diverged: The one segment of a job did.
    """
    segments = segments_of(payload)
    data, normalization = inputs.images(segments[0].snapshot.net.data)
    nets = [segment.snapshot.net for segment in segments]
    states = inputs.states(nets, [segment.start for segment in segments])
    return _packed(segments, _trained(segments, states, data, mode_of(inputs.where)), normalization)


def _trained(
    segments: Sequence[TrainSegment], states: Sequence[State], data: Data, mode: TrainMode
) -> list[Trained | Diverged]:
    if len(segments) == 1 and mode == ALONE:
        return [train.train(segments[0], states[0], data)]
    results = train.train_group(segments, states, data, mode)
    if len(results) == 1 and isinstance(results[0], Diverged):
        raise results[0]
    return results


def _packed(
    segments: Sequence[TrainSegment], results: Sequence[Trained | Diverged], normalization: Normalization
) -> Results:
    blobs: dict[str, bytes] = {}
    curves: list[dict[str, Any]] = []
    nets: list[dict[str, Any]] = []
    failures: dict[str, Exception] = {}
    for segment, result in zip(segments, results, strict=True):
        snap = segment.snapshot
        if isinstance(result, Diverged):
            failures[snap.key] = result
            continue
        blobs[blob_name(snap.key)] = pack_network(result.network, snap, normalization.mean, normalization.std)
        if segment.keep_state:
            after = result.state
            blobs[state_name(snap.key)] = pack_state(after.parameters, after.momentum, after.epoch, snap.key)
        curves += result.curve_rows
        nets.append(result.net_row)
    return Results({"curves": curves, "nets": nets}, blobs, failures)
