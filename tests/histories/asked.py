"""What a simulated sweep asks for, and what its folder is to hold: as the plan of an empty folder has it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, cached_property

import pyarrow as pa

from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.kind import Have
from espalier.orchestrator.planning.plan import make_plan
from espalier.orchestrator.planning.task import Limits
from espalier.tasks.data.images import facts
from espalier.tasks.spec import Snapshot, blob_name, segments_of, state_name
from tests.histories import synthetic
from tests.histories.synthetic import NEVER, TABLES, doomed_from

DIGITS = facts("digits")
ATTEMPTS, SLOTS, NEVER_TRAINED = 2, 2, 4

Doomed = frozenset[tuple[int, int, int]]


@dataclass(frozen=True)
class Ask:
    """The fields of the config that a history adds to."""

    seeds: int = 2
    widths: tuple[int, ...] = (2,)
    snapshots: tuple[int, ...] = (0, 2)
    pairings: tuple[str, ...] = ("same_width",)
    nulls: tuple[str, ...] = ()

    def grown(self, what: str) -> Ask:
        """The same with more of `what`; as it is if there is no more."""
        match what:
            case "seeds":
                return replace(self, seeds=min(4, self.seeds + 1))
            case "widths":
                return replace(self, widths=(2, 3))
            case "an earlier snapshot":
                return replace(self, snapshots=tuple(sorted({*self.snapshots, 1})))
            case "a later snapshot":
                return replace(self, snapshots=tuple(sorted({*self.snapshots, 3})))
            case "nulls":
                return replace(self, nulls=("self",))
            case "cross_epoch":
                return replace(self, pairings=tuple(dict.fromkeys((*self.pairings, what))))
            case "cross_width":
                return replace(self.grown("widths"), pairings=tuple(dict.fromkeys((*self.pairings, what))))
        return self

    @cached_property
    def config(self) -> SweepConfig:
        """The sweep's config."""
        return SweepConfig.parse(
            {
                "network": {"layers": [1, "pool", 1]},
                "data": {"limit_train": 200, "limit_test": 80},
                "sweep": {"widths": list(self.widths), "seeds": self.seeds},
                "train": {"epochs": 3, "snapshots": list(self.snapshots), "schedule": "constant"},
                "graft": {"pairings": list(self.pairings), "nulls": list(self.nulls), "ridge": 1e-6},
                "run": {"slots": SLOTS, "attempts": ATTEMPTS, "memory_gib": 8.0},
            }
        )


GROWTHS = (
    "seeds",
    "widths",
    "an earlier snapshot",
    "a later snapshot",
    "nulls",
    "cross_epoch",
    "cross_width",
)


@dataclass(frozen=True)
class Pieces:
    """All that a config asks for: snapshots by key, and pairs by key as (source, target, null)."""

    snapshots: dict[str, Snapshot]
    pairs: dict[str, tuple[Snapshot, Snapshot, str]]


@cache
def pieces(ask: Ask) -> Pieces:
    """What the plan of an empty folder is made of."""
    made = make_plan(ask.config, DIGITS, Have(), Limits(2**40, SLOTS))
    trained = [segment.snapshot for task in made.tasks for segment in segments_of(task.job.payload)]
    tiles = [task.job.payload for task in made.tasks if task.job.kind == "graft"]
    pairs = {p.key: (t.snapshots[p.source], t.snapshots[p.target], p.null) for t in tiles for p in t.pairs}
    return Pieces({snap.key: snap for snap in trained}, pairs)


def possible(snap: Snapshot, doomed: Doomed) -> bool:
    """Whether a snapshot can be had."""
    return snap.epoch < doomed_from(doomed, snap)


@cache
def expected(asks: frozenset[Ask], doomed: Doomed) -> dict[str, dict[tuple, pa.Table]]:
    """By table, the rows of all pieces that any of some configs asks for and that can be had, by identity."""
    found: dict[str, dict[tuple, pa.Table]] = {name: {} for name in TABLES}
    for some in map(pieces, asks):
        for snap in some.snapshots.values():
            if possible(snap, doomed):
                found["nets"][snap.key,] = synthetic.net_rows(snap)
                for epoch in range(1, snap.epoch + 1):
                    found["curves"][snap.net_key, epoch] = synthetic.epoch_row(snap, epoch)
        for key, (source, target, null) in some.pairs.items():
            if possible(source, doomed) and possible(target, doomed):
                for name in ("downstream", "grafts"):
                    found[name][key,] = synthetic.graft_rows(name, key, source, target, null)
    return found


@cache
def due_rows(asks: frozenset[Ask], doomed: Doomed, table: str) -> tuple[pa.Table, list[tuple]]:
    """The rows that `expected` has for a table, sorted, and of each which piece it is of."""
    rows = synthetic.together(table, list(expected(asks, doomed)[table].values()))
    return rows, identities(table, rows)


@cache
def blob_names(asks: frozenset[Ask]) -> frozenset[str]:
    """All checkpoints that there can be."""
    keys = {key for ask in asks for key in pieces(ask).snapshots}
    return frozenset(name for key in keys for name in (blob_name(key), state_name(key)))


def identities(table: str, rows: pa.Table) -> list[tuple]:
    """Of each row which piece of work it is of."""
    names = ("key", "epoch") if table == "curves" else ("key",)
    return list(zip(*(rows.column(name).to_pylist() for name in names), strict=True))


def excused(ask: Ask, doomed: Doomed, lost: Iterable[str]) -> dict[str, set[tuple]]:
    """Pieces, by table, that cannot be had if the units of the keys `lost` were given up.

    Of a net that is all from the first such snapshot on, and the rows of its curve from the one before.
    """
    wanted, gone = pieces(ask), set(lost)
    bad = [s for key, s in wanted.snapshots.items() if key in gone or not possible(s, doomed)]
    first = {net: min(s.epoch for s in bad if s.net_key == net) for net in {s.net_key for s in bad}}
    snapshots = {key for key, s in wanted.snapshots.items() if s.epoch >= first.get(s.net_key, NEVER)}
    pairs = {
        (key,)
        for key, (source, target, _) in wanted.pairs.items()
        if key in gone or source.key in snapshots or target.key in snapshots
    }
    curves = {
        (net, epoch)
        for net, lowest in first.items()
        for epoch in range(max((e for e in ask.snapshots if e < lowest), default=0) + 1, NEVER_TRAINED)
    }
    return {"nets": {(key,) for key in snapshots}, "curves": curves, "grafts": pairs, "downstream": pairs}
