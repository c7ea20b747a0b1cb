"""The plan: which jobs are missing, as a pure function of the config and of what is there.

Training is keyed by net and epoch, grafting by pair; what is missing is a set difference over keys. How
missing pairs are put together into tiles changes no row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.config.tune_space import Parameters
from espalier.orchestrator.planning.cost import widest_reading
from espalier.orchestrator.planning.identity import net_key, snapshot
from espalier.orchestrator.planning.idle_axes import refuse_idle_axes
from espalier.orchestrator.planning.kinds.grafts import graft_options, wanted_pairs
from espalier.orchestrator.planning.kinds.hybrids import hybrid_task, wanted_hybrids
from espalier.orchestrator.planning.kinds.mixture_cost import widest_mixed
from espalier.orchestrator.planning.kinds.pools import pool_task, pool_tasks, wanted_pools
from espalier.orchestrator.planning.kinds.pools import wanted as wanted_of
from espalier.orchestrator.planning.kinds.training import (
    Chain,
    Choices,
    Rung,
    segments_of,
    state_name,
    train_tasks,
    without_states,
)
from espalier.orchestrator.planning.nets import nets, used
from espalier.orchestrator.planning.tiles import Limits, Task, blob_name, graft_task, graft_tasks
from espalier.orchestrator.planning.tiles import wanted as wanted_grafts
from espalier.orchestrator.tuning.study_plan import choices as chosen_recipes
from espalier.tasks.data.images import DataFacts
from espalier.tasks.spec import GraftOptions, GraftTile, NetSpec, PoolTile, Snapshot, TrainGroup, TrainSegment

WORTH_TELLING = 0.05
"""Share of a job's memory from which one matrix is named as what asks for it."""


@dataclass(frozen=True)
class Have:
    """What a sweep's folder holds.

    Attributes:
        snapshots: Keys in table `nets`.
        curves: (net key, epoch) in table `curves`.
        grafts: Keys whose rows are in every table that a graft writes.
        pools, hybrids: The same of pools (`pooled`, `wider_subset`) and of hybrids.
        blobs: Names of checkpoints.
        hopeless: Keys of snapshots that can never be had, since training diverged.
        tuned: What was chosen, by the key of the study.
    """

    snapshots: frozenset[str] = frozenset()
    curves: frozenset[tuple[str, int]] = frozenset()
    grafts: frozenset[str] = frozenset()
    pools: frozenset[str] = frozenset()
    hybrids: frozenset[str] = frozenset()
    blobs: frozenset[str] = frozenset()
    hopeless: frozenset[str] = frozenset()
    tuned: Mapping[str, Parameters] = field(default_factory=dict[str, Parameters])


@dataclass(frozen=True)
class Plan:
    """What is to be done, and how much of the sweep is done already, in snapshots and pairs."""

    tasks: tuple[Task, ...]
    done: dict[str, int]
    total: dict[str, int]
    hopeless: tuple[str, ...] = field(default=())


def make_plan(
    config: SweepConfig,
    facts: DataFacts,
    have: Have,
    limits: Limits,
    where: Mapping[str, Any] | None = None,
    choices: Choices | None = None,
) -> Plan:
    """All missing jobs of a sweep.

    `facts` are of the whole data set; `where` goes into each job and changes no key, and neither does how
    nets are trained, by `choices`.

    Raises:
        ConfigError: The layer list makes no network, no image would be held back to choose a ridge, or one
            job alone exceeds a slot's memory.
    """
    where, costed = dict(where or {}), used(config, facts)
    refuse_idle_axes(config, facts)
    refuse_empty_validation(graft_options(config), costed)
    chosen = chosen_recipes(config, facts, have.tuned)
    ladders = [_ladder(net, config.train.snapshots) for net in nets(config, facts, chosen)]
    wanted = wanted_pairs(config, ladders)
    hopeless = {key for ladder in ladders for key in _from_first(ladder, have.hopeless)}
    pools, hybrids = wanted_pools(config, ladders, hopeless), wanted_hybrids(config, ladders)
    missing = [pair for pair in wanted if pair.key not in have.grafts]
    open_pairs = [pair for pair in missing if not {pair.source.key, pair.target.key} & hopeless]
    open_pools = [pool for pool in pools if pool.key not in have.pools]
    missing_hybrids = [pair for pair in hybrids if pair.key not in have.hybrids]
    open_hybrids = [pair for pair in missing_hybrids if not {pair.source.key, pair.target.key} & hopeless]
    inputs = {snap.key for pair in (*open_pairs, *open_hybrids) for snap in (pair.source, pair.target)}
    inputs |= {snap.key for pool in open_pools for snap in pool.snapshots}
    chains = [chain for ladder in ladders if (chain := _chain(ladder, have, inputs, hopeless))]
    tasks = train_tasks(chains, choices or {}, costed, limits, where)
    tasks += graft_tasks(open_pairs, costed, limits, where)
    tasks += pool_tasks(open_pools, costed, limits, where)
    tasks += [hybrid_task(pair, costed, limits, where) for pair in open_hybrids]
    refuse_what_cannot_fit(tasks, limits)
    snapshots = [snap for ladder in ladders for snap in ladder]
    planned = {segment.snapshot.key for task in tasks for segment in segments_of(task.job.payload)}
    # A snapshot that is trained again for its checkpoint's sake counts when that is done, and once.
    trained = sum(has_rows(snap, have) and snap.key not in planned for snap in snapshots)
    counts = {
        "train": (trained, len(snapshots)),
        "graft": (len(wanted) - len(missing), len(wanted)),
        "pool": (len(pools) - len(open_pools), len(pools)),
        "hybrid": (len(hybrids) - len(missing_hybrids), len(hybrids)),
    }
    asked = {kind: count for kind, count in counts.items() if kind in ("train", "graft") or count[1]}
    return Plan(
        tuple(tasks),
        done={kind: done for kind, (done, _) in asked.items()},
        total={kind: total for kind, (_, total) in asked.items()},
        hopeless=tuple(sorted(hopeless)),
    )


def without(task: Task, lost: set[str], facts: DataFacts) -> Task | None:
    """A job without what needs a lost blob, or None if nothing is left (or it cannot be parted)."""
    tile, where = task.job.payload, task.job.where
    if isinstance(tile, GraftTile):
        pairs = [pair for pair in wanted_grafts(task) if not _blobs((pair.source, pair.target)) & lost]
        return graft_task(pairs, facts, where) if pairs else None
    if isinstance(tile, PoolTile):
        pools = [pool for pool in wanted_of(tile) if not _blobs(pool.snapshots) & lost]
        return pool_task(pools, facts, where) if pools else None
    return without_states(task, lost, facts) if isinstance(tile, TrainGroup) else None


def _blobs(snapshots: Sequence[Snapshot]) -> set[str]:
    return {blob_name(snap.key) for snap in snapshots}


def has_rows(snap: Snapshot, have: Have) -> bool:
    """Whether the rows that training writes for a snapshot are there."""
    return snap.key in have.snapshots and (snap.epoch == 0 or (snap.net_key, snap.epoch) in have.curves)


def _ladder(net: NetSpec, epochs: Sequence[int]) -> list[Snapshot]:
    key = net_key(net)
    return [snapshot(net, key, epoch) for epoch in epochs]


def _from_first(ladder: list[Snapshot], hopeless: frozenset[str]) -> list[str]:
    """Keys from the first snapshot on that can never be had: what lies after it cannot either."""
    keys = [snap.key for snap in ladder]
    first = next((index for index, key in enumerate(keys) if key in hopeless), len(keys))
    return keys[first:]


def _chain(ladder: list[Snapshot], have: Have, inputs: set[str], hopeless: set[str]) -> Chain:
    """The segments that bring a net's missing snapshots, from the last optimizer state before them."""
    needed = [
        snap
        for snap in ladder
        if snap.key not in hopeless
        and (not has_rows(snap, have) or (snap.key in inputs and blob_name(snap.key) not in have.blobs))
    ]
    if not needed:
        return []
    before = [snap for snap in ladder if snap.epoch < needed[0].epoch and state_name(snap.key) in have.blobs]
    starts = [before[-1] if before else None, *needed[:-1]]
    return [
        Rung(TrainSegment(snap, start.epoch if start else None, keep_state=snap is not needed[-1]), start)
        for snap, start in zip(needed, starts, strict=True)
    ]


def refuse_empty_validation(options: GraftOptions, facts: DataFacts) -> None:
    """Raise ConfigError if no image would be held back to choose a ridge, or none be left to fit on."""
    held = options.validation_images(facts.train)
    if options.ridges and not 0 < held < facts.train:
        raise ConfigError(
            f"graft.validation: {options.validation:g} of {facts.train} training images holds back {held} "
            f"and fits on {facts.train - held}: both need some, so use more images or another share"
        )


def refuse_what_cannot_fit(tasks: Sequence[Task], limits: Limits) -> None:
    """Raise ConfigError if a job needs more memory than a slot has; names the largest."""
    largest = max(tasks, key=lambda task: task.cost.memory, default=None)
    if largest is not None and largest.cost.memory > limits.memory:
        need, budget = largest.cost.memory / 2**30, limits.memory / 2**30
        raise ConfigError(
            f"run.memory_gib: '{largest.label}' needs {need:.2f} GiB in a slot{_widest(largest)}, "
            f"but a slot has {budget:.2f} GiB: use fewer slots, a larger machine, or smaller widths"
        )


def _widest(task: Task) -> str:
    """Of a tile whose Gram matrices ask for so much, how wide they are."""
    tile = task.job.payload
    if segments_of(tile):
        return ""
    dim = widest_reading(tile) if isinstance(tile, GraftTile) else widest_mixed(tile)
    square = 8 * dim**2
    if square < WORTH_TELLING * task.cost.memory:
        return ""
    return f" (a layer of it has {dim} patch dimensions: {square / 2**30:.2f} GiB for each of a few matrices)"
