"""Which snapshots are grafted into which: the pairings and nulls of `[graft]` (docs/method.md, section 2).

A *ladder* is a net's snapshots in order of their epochs. Shapes: N and M nets, E epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.planning.kind import Ladder
from espalier.orchestrator.planning.kinds.pair_blocks import Block, NumberedNets, Numbers, each_once
from espalier.orchestrator.planning.kinds.wanted_pairs import WantedPairs
from espalier.orchestrator.planning.partners import Mates
from espalier.orchestrator.planning.tile_load import Census
from espalier.orchestrator.planning.units import Mask
from espalier.tasks.grafting.nulls.known_nulls import NULLS
from espalier.tasks.grafting.pair_table import null_names
from espalier.tasks.networks.cuts import cuts, graftable
from espalier.tasks.spec import METHODS, PAIRINGS, STATISTICS, GraftOptions, Snapshot


def graft_options(config: SweepConfig) -> GraftOptions:
    """What `[graft]` says of the method; the order of a list and fields of what is not used change no key."""
    graft = config.graft
    options = GraftOptions(
        ridge=graft.ridge,
        products=graft.products,
        methods=tuple(method for method in METHODS if method in graft.methods),
        statistics=tuple(which for which in STATISTICS if which in graft.bn),
        augment=graft.augment,
        error_blocks=graft.error_blocks,
    )
    if graft.ridges:
        options = replace(options, ridges=graft.ridges, validation=graft.validation)
    if "adam" in options.methods:
        schedule = {"adam_epochs": graft.adam_epochs, "adam_batches": graft.adam_batches}
        options = replace(options, adam_lr=graft.adam_lr, **schedule)
    return options


def mixture_options(config: SweepConfig, ridge: float | None) -> GraftOptions:
    """What counts for pools or hybrids: their own ridge or that of `[graft]`, and the products.

    There is no choice among ridges: a group's and a net's fits are to be of one kind.
    """
    chosen = config.graft.ridge if ridge is None else ridge
    return GraftOptions(ridge=chosen, products=config.graft.products)


def wanted_pairs(config: SweepConfig, ladders: Sequence[Ladder]) -> WantedPairs:
    """Every pair that a pairing of the config asks for, once.

    Raises:
        ConfigError: Skip grafts are asked for, and no layer can be left out.
    """
    nets = NumberedNets(ladders)
    names = [name for name in PAIRINGS if name in config.graft.pairings]
    return each_once((block for name in names for block in _MAKERS[name](config, nets)), nets)


class _Offer(NamedTuple):
    """What the nets of a group give to any target, one net's after the other's.

    Attributes:
        sources: Numbers (K) of snapshots.
        positions: Where (K) on its ladder the target stands.
        nulls: Indices (K) into `null_names()`.
        starts: Where (N + 1) the offer of each net begins, and the end.
    """

    sources: Numbers
    positions: Numbers
    nulls: Numbers
    starts: list[int]


def _same_width(config: SweepConfig, nets: NumberedNets) -> Iterator[Block]:
    """Ordered pairs of partners among the seeds of a width at every snapshot, and the nulls of each."""
    options = graft_options(config)
    for name, group in nets.groups.items():
        others, own = (_offer(config, group, nets, same) for same in (False, True))
        mates = Mates(config, group)
        for place, target_E in enumerate(nets.numbers[name]):
            offer = _spliced(others, own, place, mates.sources(group[place]))
            yield Block(offer.sources, target_E[offer.positions], options, offer.nulls)


def _offer(config: SweepConfig, group: Sequence[Ladder], nets: NumberedNets, same: bool) -> _Offer:
    """The sources for a target of another net, or for one of the same net."""
    codes = {name: code for code, name in enumerate(null_names())}
    found = [
        [
            (nets.place[source.key], position, codes[null])
            for position in range(len(ladder))
            for null, source in _sources(config, ladder, position, same)
        ]
        for ladder in group
    ]
    columns = np.array([one for some in found for one in some], np.int32).reshape(-1, 3).T
    starts = list(accumulate((len(some) for some in found), initial=0))
    return _Offer(columns[0], columns[1], columns[2], starts)


def _spliced(others: _Offer, own: _Offer, place: int, mates: Sequence[int] | None) -> _Offer:
    """The offers to the net at `place` of its mates, or of all nets; its own stands among them."""
    before, after = (0, place), (place + 1, len(own.starts) - 1)
    runs = [before, after] if mates is None else [(mate, mate + 1) for mate in mates if mate != place]
    cuts = [slice(others.starts[first], others.starts[last]) for first, last in runs]
    here = sum(first < place for first, _ in runs)
    mine = slice(own.starts[place], own.starts[place + 1])

    def spliced(theirs: Numbers, its: Numbers) -> Numbers:
        pieces = [theirs[cut] for cut in cuts]
        return np.concatenate([*pieces[:here], its[mine], *pieces[here:]])

    sources, positions = spliced(others.sources, own.sources), spliced(others.positions, own.positions)
    return _Offer(sources, positions, spliced(others.nulls, own.nulls), [0, len(sources)])


def _sources(
    config: SweepConfig, ladder: Ladder, position: int, same: bool
) -> Iterator[tuple[str, Snapshot]]:
    """What is grafted from one net into a target: the net itself at that epoch, and its nulls."""
    here = ladder[position]
    found, asked = [] if same else [("none", here)], config.graft.nulls_at(here.epoch)
    for name, null in NULLS.items():
        if name in asked:
            found += [(name, source) for source in null.sources(ladder, position, same)]
    # Those of the target's own epoch first: the order of pairs is part of a job's key.
    yield from sorted(found, key=lambda one: one[1] is not here)


def _every(sources_NE: Numbers, targets_ME: Numbers) -> tuple[Numbers, Numbers]:
    """Each net with each, epoch by epoch: sources and targets, both (N, M, E)."""
    sources, targets = np.broadcast_arrays(sources_NE[:, None], targets_ME[None])
    return sources, targets


def _cross_width(config: SweepConfig, nets: NumberedNets) -> Iterator[Block]:
    """Every width into the widest, and back; a seed at two widths is two independent draws."""
    options = graft_options(config)
    for (kind, width), narrow in nets.numbers.items():
        widest = max(other for other_kind, other in nets.groups if other_kind == kind)
        if width < widest:
            wide, group = Mates(config, nets.groups[kind, widest]), nets.groups[kind, width]
            one, other = _every(narrow, nets.numbers[kind, widest])
            kept = (_at_each(some, one) for some in (wide.are_targets(group), wide.are_sources(group)))
            both = _woven(*kept)
            yield Block(_woven(one, other)[both], _woven(other, one)[both], options)


def _at_each(some: Mask, like: Numbers) -> Mask:
    """What holds of nets (N, M), of their snapshots (N, M, E)."""
    return np.broadcast_to(some[:, :, None], like.shape)


def _woven(*columns: NDArray[Any]) -> NDArray[Any]:
    """The first of every column, then the second of every one, and so on."""
    return np.stack(columns, axis=-1).ravel()


def _cross_epoch(config: SweepConfig, nets: NumberedNets) -> Iterator[Block]:
    """A at each epoch into B at the last one, and back, and each epoch into itself (the diagonal)."""
    options = graft_options(config)
    for name, numbers in nets.numbers.items():
        group = nets.groups[name]
        different = ~np.eye(len(numbers), dtype=np.bool_) & Mates(config, group).are_targets(group)
        one, other = (some[different] for some in _every(numbers, numbers))
        last_source, last_target = (np.broadcast_to(some[:, -1:], some.shape) for some in (one, other))
        yield Block(_woven(one, last_source, one), _woven(last_target, other, other), options)


def _cross_setting(config: SweepConfig, nets: NumberedNets) -> Iterator[Block]:
    """Every setting into every other one at each width and epoch, between nets of different seeds.

    Nets of one seed may share their initial weights and the order of their images.
    """
    options = graft_options(config)
    for (kind, width), sources in nets.groups.items():
        for (other_kind, other_width), targets in nets.groups.items():
            if width != other_width or kind == other_kind:
                continue
            fit = _fit([ladder[0] for ladder in sources], [ladder[0] for ladder in targets])
            fit &= Mates(config, targets).are_targets(sources)
            one, other = _every(nets.numbers[kind, width], nets.numbers[other_kind, width])
            yield Block(one[fit].ravel(), other[fit].ravel(), options)


def _fit(sources: Sequence[Snapshot], targets: Sequence[Snapshot]) -> Mask:
    """Which source goes with which target (N, M): of another seed, and of an architecture that fits."""
    one, other = Census(sources), Census(targets)
    fits = np.array([[graftable(net, top) for top in other.kinds] for net in one.kinds], np.bool_)
    seeds = [np.array([snap.net.seed for snap in some]) for some in (sources, targets)]
    return fits[one.numbers[:, None], other.numbers[None]] & (seeds[0][:, None] != seeds[1][None])


def _skip(config: SweepConfig, nets: NumberedNets) -> Iterator[Block]:
    """The real pairs of `same_width` with layers left out, where a layer can be; a key for each number."""
    plain = config.graft.model_copy(update={"nulls": (), "methods": ("exact",)})
    without_nulls = config.model_copy(update={"graft": plain})
    blocks, found = list(_same_width(without_nulls, nets)), False
    for skip in sorted(set(plain.skips)):
        options = replace(graft_options(without_nulls), skips=(skip,))
        can = nets.whose(lambda net, skip=skip: bool(cuts(net, ("exact",), (skip,))))
        for block in blocks:
            kept = can[block.targets]
            found = found or bool(kept.any())
            yield Block(block.sources[kept], block.targets[kept], options)
    if not found:
        raise ConfigError(
            f"graft.skips: found {list(plain.skips)}, but no layer of these nets can be fitted with so many "
            "left out below it: a skip graft needs a plain chain of layers, and layer 1 stays the source's"
        )


_MAKERS: dict[str, Callable[[SweepConfig, NumberedNets], Iterator[Block]]] = {
    "same_width": _same_width,
    "cross_width": _cross_width,
    "cross_epoch": _cross_epoch,
    "cross_setting": _cross_setting,
    "skip": _skip,
}
"""The pairs that each pairing asks for."""
