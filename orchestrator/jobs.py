"""What a worker does with a job: read, call the pure task, write. The thin shell around `tasks`.

Imported by workers; torch is loaded when the first job runs, so that planning never loads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cluster.pool import Job, Output
from orchestrator.plan import state_name
from orchestrator.tiles import blob_name
from tasks.rows import table
from tasks.spec import AtOnce, DataSpec, GraftTile, HybridTile, PoolTile, Snapshot, TrainSegment

if TYPE_CHECKING:
    from tasks.data import Data, Normalization
    from tasks.network import Network


def execute(job: Job, blobs: Mapping[str, bytes]) -> Output:
    """Run a job on the snapshots that it reads; the tables come in the order in which they are published.

    Raises:
        KeyError: A kind of job that does not exist.
    """
    from tasks.devices import use

    use(_device(job.where))
    runners: dict[str, Callable[[Any, Mapping[str, bytes], Mapping[str, Any]], Output]] = {
        "train": run_train,
        "graft": run_graft,
        "pool": run_pool,
        "hybrid": run_hybrid,
    }
    return runners[job.kind](job.payload, blobs, job.where)


def _data(spec: DataSpec, where: Mapping[str, Any]) -> tuple[Data, Normalization]:
    from tasks.devices import load_on

    folder = where.get("folder")
    return load_on(_device(where), where["dataset"], spec.limit_train, spec.limit_test, folder)


def _device(where: Mapping[str, Any]) -> str:
    return where.get("device", "cpu")


def run_train(segment: TrainSegment, blobs: Mapping[str, bytes], where: Mapping[str, Any]) -> Output:
    """Train a segment; the snapshot, the optimizer's state if wanted, and the rows."""
    from tasks.checkpoint import pack_network, pack_state, unpack_state
    from tasks.train import State, initial_state, train

    data, normalization = _data(segment.snapshot.net.data, where)
    state = State(*unpack_state(next(iter(blobs.values())))) if blobs else initial_state(segment.snapshot.net)
    trained = train(segment, state, data)
    key = segment.snapshot.key
    packed = {
        blob_name(key): pack_network(trained.network, segment.snapshot, normalization.mean, normalization.std)
    }
    if segment.keep_state:
        after = trained.state
        packed[state_name(key)] = pack_state(after.parameters, after.momentum, after.epoch)
    tables = {"curves": table("curves", trained.curve_rows), "nets": table("nets", [trained.net_row])}
    return Output(tables, packed)


def run_graft(tile: GraftTile, blobs: Mapping[str, bytes], where: Mapping[str, Any]) -> Output:
    """Graft a tile; its rows."""
    from tasks.graft import graft

    data, _ = _data(tile.snapshots[0].net.data, where)
    rows = graft(tile, _networks(tile.snapshots, blobs, where), data, AtOnce(*where.get("at_once", ())))
    made = {"downstream": rows.downstream, "ridges": rows.ridges, "grafts": rows.grafts}
    return Output({name: table(name, lines) for name, lines in made.items()})


def run_pool(tile: PoolTile, blobs: Mapping[str, bytes], where: Mapping[str, Any]) -> Output:
    """Deal the channels of pools; their rows."""
    from tasks.exchange import exchange

    data, _ = _data(tile.snapshots[0].net.data, where)
    rows = exchange(tile, _networks(tile.snapshots, blobs, where), data)
    made = {"downstream": rows.downstream, "grafts": rows.grafts, "exchangeability": rows.exchangeability}
    return Output({name: table(name, lines) for name, lines in made.items()})


def run_hybrid(tile: HybridTile, blobs: Mapping[str, bytes], where: Mapping[str, Any]) -> Output:
    """Make hybrids; their rows."""
    from tasks.hybrid import hybrids

    data, _ = _data(tile.snapshots[0].net.data, where)
    rows = hybrids(tile, _networks(tile.snapshots, blobs, where), data, where.get("shares_at_once", 0))
    return Output({"hybrids": table("hybrids", rows)})


def _networks(
    snapshots: Sequence[Snapshot], blobs: Mapping[str, bytes], where: Mapping[str, Any]
) -> list[Network]:
    from tasks.checkpoint import unpack_network
    from tasks.devices import on

    return [on(unpack_network(blobs[blob_name(snap.key)]), _device(where)) for snap in snapshots]
