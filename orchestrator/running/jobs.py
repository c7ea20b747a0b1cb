"""What a worker does with a job: read, call the pure task, write. The thin shell around `tasks`.

Imported by workers; torch is loaded when the first job runs, so that planning never loads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from espalier.cluster.pool import Job, Output, described
from espalier.orchestrator.planning.kinds.training import mode_of, segments_of, state_name
from espalier.orchestrator.planning.tiles import blob_name
from espalier.tasks.spec import (
    ALONE,
    AtOnce,
    BitsTest,
    DataSpec,
    GraftTile,
    HybridTile,
    PoolTile,
    Probe,
    Snapshot,
    TrainGroup,
    TrainSegment,
    TrialSegment,
)
from espalier.tasks.tables.rows import table

if TYPE_CHECKING:
    from espalier.tasks.data.tensors import Data, Normalization
    from espalier.tasks.networks.network import Network
    from espalier.tasks.training.train import Diverged, State, Trained

ANSWER = "answer.json"
"""The one blob that a probe gives; it is never published."""


def execute(job: Job, blobs: Mapping[str, bytes]) -> Output:
    """Run a job on the snapshots that it reads; the tables come in the order in which they are published.

    Raises:
        KeyError: A kind of job that does not exist.
        MemoryError: There was too little, of a GPU's too.
    """
    from espalier.tasks.kernels.compiled import kernels
    from espalier.tasks.worker.devices import use
    from espalier.tasks.worker.kept_memory import kept_memory
    from espalier.tasks.worker.out_of_memory import as_memory_error

    use(_device(job.where))
    runners: dict[str, Callable[[Any, Mapping[str, bytes], Mapping[str, Any]], Output]] = {
        "tune": run_tune,
        "train": run_train,
        "probe": run_probe,
        "graft": run_graft,
        "pool": run_pool,
        "hybrid": run_hybrid,
    }
    with as_memory_error(), kept_memory(), kernels(job.where.get("kernels", "auto")) as use_of_kernels:
        output = runners[job.kind](job.payload, blobs, job.where)
    return replace(output, notes=tuple(use_of_kernels.notes))


def _data(spec: DataSpec, where: Mapping[str, Any]) -> tuple[Data, Normalization]:
    from espalier.tasks.worker.devices import load_on

    folder = where.get("folder")
    return load_on(_device(where), where["dataset"], spec.limit_train, spec.limit_test, folder)


def _device(where: Mapping[str, Any]) -> str:
    return where.get("device", "cpu")


def run_train(
    payload: TrainSegment | TrainGroup, blobs: Mapping[str, bytes], where: Mapping[str, Any]
) -> Output:
    """Train the segments of a job; their snapshots, optimizers' states if wanted, rows, and divergences.

    Raises:
        Diverged: The one segment of a job did.
    """
    from espalier.tasks.networks.checkpoint import unpack_state
    from espalier.tasks.training.train import State, initial_state

    segments = segments_of(payload)
    data, normalization = _data(segments[0].snapshot.net.data, where)
    states = [State(*unpack_state(blob)) for blob in blobs.values()]
    states = states or [initial_state(segment.snapshot.net) for segment in segments]
    return _output(segments, _trained(segments, states, data, where), normalization)


def _trained(
    segments: Sequence[TrainSegment], states: Sequence[State], data: Data, where: Mapping[str, Any]
) -> list[Trained | Diverged]:
    from espalier.tasks.training import train

    mode = mode_of(where)
    if len(segments) == 1 and mode == ALONE:
        return [train.train(segments[0], states[0], data)]
    results = train.train_group(segments, states, data, mode)
    if len(results) == 1 and isinstance(results[0], train.Diverged):
        raise results[0]
    return results


def _output(
    segments: Sequence[TrainSegment], results: Sequence[Trained | Diverged], normalization: Normalization
) -> Output:
    from espalier.tasks.networks.checkpoint import pack_network, pack_state

    packed: dict[str, bytes] = {}
    curves: list[dict[str, Any]] = []
    nets: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    for segment, result in zip(segments, results, strict=True):
        snap = segment.snapshot
        if isinstance(result, ArithmeticError):
            failures[snap.key] = described(result)
            continue
        packed[blob_name(snap.key)] = pack_network(
            result.network, snap, normalization.mean, normalization.std
        )
        if segment.keep_state:
            after = result.state
            packed[state_name(snap.key)] = pack_state(after.parameters, after.momentum, after.epoch)
        curves += result.curve_rows
        nets.append(result.net_row)
    return Output({"curves": table("curves", curves), "nets": table("nets", nets)}, packed, failures)


def run_probe(
    asked: Probe | BitsTest,
    blobs: Mapping[str, bytes],  # noqa: ARG001
    where: Mapping[str, Any],
) -> Output:
    """Measure how a net is trained fastest, or test a way; the answer as JSON, under the name `ANSWER`."""
    answer = _tested(asked, where) if isinstance(asked, BitsTest) else _measured(asked, where)
    return Output(blobs={ANSWER: json.dumps(answer).encode()})


def _measured(probe: Probe, where: Mapping[str, Any]) -> dict[str, Any]:
    """The way that was chosen, all times, and `bits`: by conditions and way, whether they were kept."""
    from espalier.tasks.training.bit_company import conditions
    from espalier.tasks.training.probe import find, named

    found = find(probe, _device(where))
    mode, nets = found.chosen
    kept = {mode.of(nets): held for (mode, nets), held in found.kept.items()}
    answer = {**asdict(mode), "nets": nets, "ms_per_step": named(found.seconds)}
    return answer | ({"bits": {conditions(probe, _device(where)): kept}} if kept else {})


def _tested(asked: BitsTest, where: Mapping[str, Any]) -> dict[str, Any]:
    """The worker's conditions, and whether bits were `kept` where that was not known."""
    from espalier.tasks.training.bit_company import conditions, keeps_bits

    here = conditions(asked.probe, _device(where))
    if here in asked.tested:
        return {"conditions": here}
    return {
        "conditions": here,
        "kept": keeps_bits(asked.probe, asked.mode, asked.nets, _device(where)),
    }


def run_tune(segment: TrialSegment, blobs: Mapping[str, bytes], where: Mapping[str, Any]) -> Output:
    """Train a trial's nets for some epochs; table `epochs` has their curves, the blobs are their states."""
    from espalier.tasks.networks.checkpoint import pack_state, unpack_state
    from espalier.tasks.training.train import State, initial_state
    from espalier.tasks.training.trial import train_trial

    data, _ = _data(segment.nets[0].data, where)
    packed = dict(zip((net.seed for net in segment.nets), blobs.values(), strict=bool(blobs)))
    states = {
        net.seed: State(*unpack_state(packed[net.seed])) if blobs else initial_state(net)
        for net in segment.nets
    }
    rows, after = train_trial(segment, states, data)
    packed_after = {
        name: pack_state(after[net.seed].parameters, after[net.seed].momentum, after[net.seed].epoch)
        for name, net in zip(where["states"], segment.nets, strict=True)
    }
    return Output({"epochs": pa.Table.from_pylist(rows)}, packed_after)


def run_graft(tile: GraftTile, blobs: Mapping[str, bytes], where: Mapping[str, Any]) -> Output:
    """Graft a tile; its rows."""
    from espalier.tasks.grafting.graft import graft

    data, _ = _data(tile.snapshots[0].net.data, where)
    rows = graft(tile, _networks(tile.snapshots, blobs, where), data, AtOnce(*where.get("at_once", ())))
    made = {"downstream": rows.downstream, "ridges": rows.ridges, "grafts": rows.grafts}
    return Output({name: table(name, lines) for name, lines in made.items()})


def run_pool(tile: PoolTile, blobs: Mapping[str, bytes], where: Mapping[str, Any]) -> Output:
    """Deal the channels of pools; their rows."""
    from espalier.tasks.mixing.exchangeability import exchange

    data, _ = _data(tile.snapshots[0].net.data, where)
    rows = exchange(tile, _networks(tile.snapshots, blobs, where), data)
    made = {"downstream": rows.downstream, "grafts": rows.grafts, "exchangeability": rows.exchangeability}
    return Output({name: table(name, lines) for name, lines in made.items()})


def run_hybrid(tile: HybridTile, blobs: Mapping[str, bytes], where: Mapping[str, Any]) -> Output:
    """Make hybrids; their rows."""
    from espalier.tasks.mixing.hybrid import hybrids

    data, _ = _data(tile.snapshots[0].net.data, where)
    rows = hybrids(tile, _networks(tile.snapshots, blobs, where), data, where.get("shares_at_once", 0))
    return Output({"hybrids": table("hybrids", rows)})


def _networks(
    snapshots: Sequence[Snapshot], blobs: Mapping[str, bytes], where: Mapping[str, Any]
) -> list[Network]:
    from espalier.tasks.networks.checkpoint import unpack_network
    from espalier.tasks.worker.devices import on

    return [on(unpack_network(blobs[blob_name(snap.key)]), _device(where)) for snap in snapshots]
