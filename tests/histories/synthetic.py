"""What simulated jobs answer: rows and checkpoints as a pure function of what was asked, without PyTorch.

A net is doomed from an epoch on, or it is not: a segment that passes this epoch has diverged, each time.
"""

from __future__ import annotations

import zlib
from functools import cache

import pyarrow as pa

from espalier.cluster.pool import Job, Output
from espalier.orchestrator.store.merging import ordered
from espalier.tasks.spec import Snapshot, blob_name, segments_of, state_name
from espalier.tasks.tables.axes import net_axes
from espalier.tasks.tables.schemas import SCHEMAS

TABLES = ("curves", "nets", "downstream", "grafts")
"""Those in which a simulated sweep has rows of results."""
LAYERS = (2, 3)
NEVER = 10**6
"""The epoch from which a net is doomed that is not."""


def blob(name: str) -> bytes:
    """What the checkpoint of that name holds."""
    return f"what {name} holds".encode()


def verify(name: str, data: bytes, start: int | None = None) -> None:
    """Raise ValueError if a checkpoint is not what its name says."""
    if data != blob(name):
        raise ValueError(f"{data[:40]!r} is not what {name} holds")


def _cell(kind: pa.DataType, place: str):
    """A value of a column's type that tells which cell of which row it is of."""
    code = zlib.crc32(place.encode())
    if pa.types.is_string(kind):
        return f"{code:08x}"
    if pa.types.is_fixed_size_binary(kind):
        return code.to_bytes(4, "big") * (kind.byte_width // 4)
    return code % 2 == 1 if pa.types.is_boolean(kind) else code % 1000


def _rows(table: str, known: list[dict]) -> pa.Table:
    """Rows of which some columns are known; the others follow from those."""
    rows = []
    for some in known:
        row = "|".join(str(value) for value in some.values())
        cells = {
            f.name: _cell(f.type, f"{table}|{f.name}|{row}") for f in SCHEMAS[table] if f.name not in some
        }
        rows.append(cells | some)
    return pa.Table.from_pylist(rows, SCHEMAS[table])


@cache
def net_rows(snap: Snapshot) -> pa.Table:
    """The row of a snapshot in table `nets`."""
    return _rows("nets", [{"key": snap.key, "checkpoint": blob_name(snap.key), **net_axes(snap)}])


@cache
def curve_rows(net_key: str, snap: Snapshot, epoch: int) -> pa.Table:
    """The row of an epoch of a net's training in table `curves`; `snap` is any snapshot of the net."""
    return _rows("curves", [{**net_axes(snap), "key": net_key, "epoch": epoch}])


@cache
def graft_rows(table: str, key: str, source: Snapshot, target: Snapshot, null: str) -> pa.Table:
    """The rows of a pair in tables `grafts` and `downstream`: one for each layer."""
    ends = {**net_axes(source, "source_"), **net_axes(target, "target_")}
    return _rows(table, [{"key": key, **ends, "null": null, "layer": layer} for layer in LAYERS])


def together(table: str, parts: list[pa.Table]) -> pa.Table:
    """Rows of some pieces of work, sorted."""
    return ordered(table, pa.concat_tables(parts) if parts else SCHEMAS[table].empty_table())


def doomed_from(doomed: frozenset[tuple[int, int, int]], snap: Snapshot) -> int:
    """The epoch from which a net is doomed; `doomed` has (width, seed, epoch)."""
    net = snap.net
    found = [epoch for width, seed, epoch in doomed if (width, seed) == (net.width, net.seed)]
    return min(found, default=NEVER)


def answer(job: Job, doomed: frozenset[tuple[int, int, int]]) -> Output:
    """What a job gives. Raises Diverged where its one net does."""
    return _trained(job, doomed) if job.kind == "train" else _grafted(job)


class Diverged(Exception):
    """Training that gives no numbers; it would do so again."""

    hopeless = True


def _trained(job: Job, doomed: frozenset[tuple[int, int, int]]) -> Output:
    curves, nets, blobs, failures = [], [], {}, {}
    segments = segments_of(job.payload)
    for segment in segments:
        snap = segment.snapshot
        if snap.epoch >= doomed_from(doomed, snap):
            failures[snap.key] = f"Diverged: width {snap.net.width} seed {snap.net.seed}"
            continue
        first = 1 if segment.start is None else segment.start + 1
        curves += [curve_rows(snap.net_key, _first(snap), epoch) for epoch in range(first, snap.epoch + 1)]
        nets.append(net_rows(snap))
        names = [blob_name(snap.key), *([state_name(snap.key)] if segment.keep_state else [])]
        blobs |= {name: blob(name) for name in names}
    if failures and len(segments) == 1:
        raise Diverged(*(text.removeprefix("Diverged: ") for text in failures.values()))
    tables = {"curves": together("curves", curves), "nets": together("nets", nets)}
    return Output(tables, blobs, failures=failures)


@cache
def _first(snap: Snapshot) -> Snapshot:
    """The same of every snapshot of a net, for rows that are about the net alone."""
    return Snapshot("", snap.net_key, snap.net, 0)


def _grafted(job: Job) -> Output:
    tile = job.payload
    asked = [(p.key, tile.snapshots[p.source], tile.snapshots[p.target], p.null) for p in tile.pairs]
    names = ("downstream", "grafts")
    return Output({name: together(name, [graft_rows(name, *pair) for pair in asked]) for name in names})


def poisoned(job: Job) -> Output:
    """An answer of the right form under the keys of this job's pieces, with content that no job gives."""
    given = answer(job, frozenset())
    tables = {name: _poison(name, rows) for name, rows in given.tables.items()}
    return Output(tables, dict.fromkeys((*given.blobs, blob_name("poison")), b"poison"))


def _poison(table: str, rows: pa.Table) -> pa.Table:
    wrong = [row | {"fvu_test" if table == "downstream" else "loss_test": -1.0} for row in rows.to_pylist()]
    return pa.Table.from_pylist(wrong, SCHEMAS[table])


def epoch_row(snap: Snapshot, epoch: int) -> pa.Table:
    """The row of an epoch of the net of a snapshot."""
    return curve_rows(snap.net_key, _first(snap), epoch)
