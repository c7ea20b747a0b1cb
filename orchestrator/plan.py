"""The plan: which jobs are missing, as a pure function of the config and of what is there.

Training is keyed by net and epoch, grafting by pair; what is missing is a set difference over keys. How
missing pairs are put together into tiles changes no row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cluster.pool import Job
from orchestrator.config import ConfigError, SweepConfig
from orchestrator.cost import Cost, graft_cost, train_cost
from orchestrator.identity import graft_key, net_key, snapshot, tile_key
from orchestrator.nets import nets, used
from tasks.images import DataFacts
from tasks.spec import METHODS, STATISTICS, GraftOptions, GraftTile, NetSpec, Pair, Snapshot, TrainSegment


@dataclass(frozen=True)
class Have:
    """What a sweep's folder holds.

    Attributes:
        snapshots: Keys in table `nets`.
        curves: (net key, epoch) in table `curves`.
        grafts: Keys whose rows are in every table that a graft writes.
        blobs: Names of checkpoints.
        hopeless: Keys of snapshots that can never be had, since training diverged.
    """

    snapshots: frozenset[str] = frozenset()
    curves: frozenset[tuple[str, int]] = frozenset()
    grafts: frozenset[str] = frozenset()
    blobs: frozenset[str] = frozenset()
    hopeless: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Task:
    """A job with what the driver needs to know of it.

    Attributes:
        produces: Names of the blobs it gives.
        size: Snapshots (train) or pairs (graft) in it, for progress.
    """

    job: Job
    cost: Cost
    label: str
    produces: tuple[str, ...] = ()
    size: int = 1


@dataclass(frozen=True)
class WantedPair:
    """One ordered pair of the sweep."""

    key: str
    source: Snapshot
    target: Snapshot
    null: str


@dataclass(frozen=True)
class Limits:
    """What bounds a tile: bytes of memory of one slot, and how many slots want work."""

    memory: int
    slots: int


@dataclass(frozen=True)
class Plan:
    """What is to be done, and how much of the sweep is done already, in snapshots and pairs."""

    tasks: tuple[Task, ...]
    done: dict[str, int]
    total: dict[str, int]
    hopeless: tuple[str, ...] = field(default=())


def graft_options(config: SweepConfig) -> GraftOptions:
    """What `[graft]` says of the method.

    The order of a list, BN where there is none, and fields of what is not used change no key.
    """
    chosen = config.graft.bn if config.network.batch_norm else STATISTICS
    graft = config.graft
    options = GraftOptions(
        ridge=graft.ridge,
        products=graft.products,
        methods=tuple(method for method in METHODS if method in graft.methods),
        statistics=tuple(which for which in STATISTICS if which in chosen),
    )
    if graft.ridges:
        options = replace(options, ridges=graft.ridges, validation=graft.validation)
    if "adam" in options.methods:
        schedule = {"adam_epochs": graft.adam_epochs, "adam_batches": graft.adam_batches}
        options = replace(options, adam_lr=graft.adam_lr, **schedule)
    return options


def refuse_empty_validation(options: GraftOptions, facts: DataFacts) -> None:
    """Raise ConfigError if no image would be held back to choose a ridge, or none be left to fit on."""
    held = options.validation_images(facts.train)
    if options.ridges and not 0 < held < facts.train:
        raise ConfigError(
            f"graft.validation: {options.validation:g} of {facts.train} training images holds back {held} "
            f"and fits on {facts.train - held}: both need some, so use more images or another share"
        )


def blob_name(key: str) -> str:
    """File of a snapshot."""
    return f"{key}.safetensors"


def state_name(key: str) -> str:
    """File of the optimizer's state at a snapshot."""
    return f"{key}.resume.safetensors"


def make_plan(
    config: SweepConfig, facts: DataFacts, have: Have, limits: Limits, where: Mapping[str, Any] | None = None
) -> Plan:
    """All missing jobs of a sweep.

    `facts` are of the whole data set; `where` goes into each job and changes no key.

    Raises:
        ConfigError: The layer list makes no network, no image would be held back to choose a ridge, or one
            job alone exceeds a slot's memory.
    """
    where, costed = dict(where or {}), used(config, facts)
    refuse_empty_validation(graft_options(config), costed)
    ladders = {(net.width, net.seed): _ladder(net, config.train.snapshots) for net in nets(config, facts)}
    wanted = list(_wanted_pairs(config, ladders))
    hopeless = {
        key
        for ladder in ladders.values()
        for key in _from_first(ladder, have.hopeless)
    }  # fmt: skip
    missing = [pair for pair in wanted if pair.key not in have.grafts]
    open_pairs = [pair for pair in missing if not {pair.source.key, pair.target.key} & hopeless]
    inputs = {snap.key for pair in open_pairs for snap in (pair.source, pair.target)}
    tasks = [
        task
        for ladder in ladders.values()
        for task in _train_tasks(ladder, have, inputs, hopeless, costed, where)
    ]
    tasks += graft_tasks(open_pairs, graft_options(config), costed, limits, where)
    refuse_what_cannot_fit(tasks, limits)
    snapshots = [snap for ladder in ladders.values() for snap in ladder]
    planned = {task.job.key for task in tasks}
    # A snapshot that is trained again for its checkpoint's sake counts when that is done, and once.
    trained = sum(has_rows(snap, have) and snap.key not in planned for snap in snapshots)
    return Plan(
        tuple(tasks),
        done={"train": trained, "graft": len(wanted) - len(missing)},
        total={"train": len(snapshots), "graft": len(wanted)},
        hopeless=tuple(sorted(hopeless)),
    )


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


def _wanted_pairs(
    config: SweepConfig, ladders: dict[tuple[int, int], list[Snapshot]]
) -> Iterator[WantedPair]:
    """All ordered pairs of the seeds of a width at every snapshot, and the nulls of each."""
    options = graft_options(config)
    for width in config.sweep.widths:
        for position in range(len(config.train.snapshots)):
            for target_seed in config.sweep.seeds:
                for source_seed in config.sweep.seeds:
                    ladder = ladders[width, source_seed]
                    target = ladders[width, target_seed][position]
                    for null, source in _sources(config, ladder, position, source_seed == target_seed):
                        yield WantedPair(graft_key(source, target, null, options), source, target, null)


def _sources(
    config: SweepConfig, ladder: list[Snapshot], position: int, same: bool
) -> Iterator[tuple[str, Snapshot]]:
    """What is grafted from one net into a target: the net itself at that epoch, and its nulls."""
    here, nulls = ladder[position], config.graft.nulls
    if same:
        yield from ((null, here) for null in ("self", "permuted") if null in nulls)
        return
    yield "none", here
    if "shuffled_images" in nulls:
        yield "shuffled_images", here
    # At epoch 0 the real graft is the untrained one.
    if "untrained" in nulls and here.epoch > 0 and ladder[0].epoch == 0:
        yield "untrained", ladder[0]


def _train_tasks(
    ladder: list[Snapshot],
    have: Have,
    inputs: set[str],
    hopeless: set[str],
    facts: DataFacts,
    where: dict[str, Any],
) -> Iterator[Task]:
    """The segments that bring a net's missing snapshots, from the last optimizer state before them."""
    needed = [
        snap
        for snap in ladder
        if snap.key not in hopeless
        and (not has_rows(snap, have) or (snap.key in inputs and blob_name(snap.key) not in have.blobs))
    ]
    if not needed:
        return
    before = [snap for snap in ladder if snap.epoch < needed[0].epoch and state_name(snap.key) in have.blobs]
    start = before[-1] if before else None
    for number, snap in enumerate(needed, start=1):
        segment = TrainSegment(snap, start.epoch if start else None, keep_state=number < len(needed))
        yield _train_task(segment, start, facts, where)
        start = snap


def _train_task(
    segment: TrainSegment, start: Snapshot | None, facts: DataFacts, where: dict[str, Any]
) -> Task:
    snap = segment.snapshot
    produces = (blob_name(snap.key), state_name(snap.key)) if segment.keep_state else (blob_name(snap.key),)
    job = Job(snap.key, "train", segment, (state_name(start.key),) if start else (), where)
    label = f"train width {snap.net.width} seed {snap.net.seed} to epoch {snap.epoch}"
    return Task(job, train_cost(segment, facts), label, produces)


def graft_tasks(
    pairs: Sequence[WantedPair],
    options: GraftOptions,
    facts: DataFacts,
    limits: Limits,
    where: dict[str, Any],
) -> list[Task]:
    """Tiles of pairs: per width and epoch, a block of source seeds by a block of target seeds.

    The blocks are the largest that fit a slot's memory and still leave work for every slot.
    """
    groups: dict[tuple[int, int], list[WantedPair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.target.net.width, pair.target.epoch].append(pair)
    tasks: list[Task] = []
    for group in groups.values():
        seeds = sorted({snap.net.seed for pair in group for snap in (pair.source, pair.target)})
        for block in range(len(seeds), 0, -1):
            tiles = [graft_task(tile, options, facts, where) for tile in _blocks(group, seeds, block)]
            fits = all(task.cost.memory <= limits.memory for task in tiles)
            if block == 1 or (fits and len(tiles) * len(groups) >= limits.slots):
                tasks += tiles
                break
    return tasks


def _blocks(group: Sequence[WantedPair], seeds: list[int], block: int) -> list[list[WantedPair]]:
    place = {seed: index // block for index, seed in enumerate(seeds)}
    tiles: dict[tuple[int, int], list[WantedPair]] = defaultdict(list)
    for pair in group:
        tiles[place[pair.source.net.seed], place[pair.target.net.seed]].append(pair)
    return list(tiles.values())


def graft_task(
    pairs: Sequence[WantedPair], options: GraftOptions, facts: DataFacts, where: dict[str, Any]
) -> Task:
    """One tile as a task."""
    snapshots = list({snap.key: snap for pair in pairs for snap in (pair.source, pair.target)}.values())
    index = {snap.key: number for number, snap in enumerate(snapshots)}
    plain = tuple(Pair(p.key, index[p.source.key], index[p.target.key], p.null) for p in pairs)
    tile = GraftTile(tuple(snapshots), plain, options)
    job = Job(
        tile_key([pair.key for pair in plain]),
        "graft",
        tile,
        tuple(blob_name(snap.key) for snap in snapshots),
        where,
    )
    target = pairs[0].target
    label = f"graft width {target.net.width} epoch {target.epoch}, {len(pairs)} pairs"
    return Task(job, graft_cost(tile, facts), label, size=len(pairs))


def without(task: Task, lost: set[str], facts: DataFacts) -> Task | None:
    """A tile without the pairs that need a lost blob, or None if no pair is left (or it is no tile)."""
    if not isinstance(task.job.payload, GraftTile):
        return None
    tile = task.job.payload
    kept = [
        WantedPair(pair.key, tile.snapshots[pair.source], tile.snapshots[pair.target], pair.null)
        for pair in tile.pairs
        if not {blob_name(tile.snapshots[index].key) for index in (pair.source, pair.target)} & lost
    ]
    return graft_task(kept, tile.options, facts, dict(task.job.where)) if kept else None


def refuse_what_cannot_fit(tasks: Sequence[Task], limits: Limits) -> None:
    """Raise ConfigError if a job needs more memory than a slot has; names the largest."""
    largest = max(tasks, key=lambda task: task.cost.memory, default=None)
    if largest is not None and largest.cost.memory > limits.memory:
        need, budget = largest.cost.memory / 2**30, limits.memory / 2**30
        raise ConfigError(
            f"run.memory_gib: '{largest.label}' needs {need:.1f} GiB in a slot, "
            f"but a slot has {budget:.1f} GiB: use fewer slots, a larger machine, or smaller widths"
        )
