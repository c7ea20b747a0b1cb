"""Which snapshots are grafted into which: the pairings and nulls of `[graft]` (docs/method.md, section 2).

A *ladder* is a net's snapshots in order of their epochs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.planning.identity import content_key
from espalier.orchestrator.planning.kind import Ladder
from espalier.orchestrator.planning.partners import Mates
from espalier.tasks.grafting.nulls.known_nulls import NULLS
from espalier.tasks.networks.cuts import cuts, graftable
from espalier.tasks.spec import METHODS, PAIRINGS, STATISTICS, GraftOptions, NetSpec, Snapshot
from espalier.tasks.tables.axes import setting

GRAFT_SCHEMA = 2
"""Bumped when the rows of a graft change their meaning."""

Group = list[Ladder]
"""The ladders of one setting and width: its seeds."""

Groups = dict[tuple[NetSpec, int], Group]
"""All ladders, by setting and width."""


@dataclass(frozen=True)
class WantedPair:
    """One ordered pair of the sweep."""

    key: str
    source: Snapshot
    target: Snapshot
    null: str
    options: GraftOptions

    @property
    def reads(self) -> tuple[Snapshot, ...]:
        """The two nets."""
        return self.source, self.target


def graft_key(source: Snapshot, target: Snapshot, null: str, options: GraftOptions) -> str:
    """Key of all rows of one ordered pair."""
    parameters = {"null": null, "options": options}
    return content_key("graft", parameters, [source.key, target.key], GRAFT_SCHEMA)


def graft_options(config: SweepConfig) -> GraftOptions:
    """What `[graft]` says of the method; the order of a list and fields of what is not used change no key."""
    graft = config.graft
    options = GraftOptions(
        ridge=graft.ridge,
        products=graft.products,
        methods=tuple(method for method in METHODS if method in graft.methods),
        statistics=tuple(which for which in STATISTICS if which in graft.bn),
        augment=graft.augment,
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


def ladder_groups(ladders: Sequence[Ladder]) -> Groups:
    """The ladders by setting and width."""
    groups: Groups = defaultdict(list)
    for ladder in ladders:
        groups[setting(ladder[0].net), ladder[0].net.width].append(ladder)
    return groups


def wanted_pairs(config: SweepConfig, ladders: Sequence[Ladder]) -> list[WantedPair]:
    """Every pair that a pairing of the config asks for, once.

    Raises:
        ConfigError: Skip grafts are asked for, and no layer can be left out.
    """
    groups, found = ladder_groups(ladders), dict[str, WantedPair]()
    for name in PAIRINGS:
        if name in config.graft.pairings:
            for pair in _MAKERS[name](config, groups):
                found.setdefault(pair.key, pair)
    return list(found.values())


def _pair(source: Snapshot, target: Snapshot, options: GraftOptions, null: str = "none") -> WantedPair:
    if not any(layer.batch_norm for layer in target.net.architecture.layers):
        options = replace(options, statistics=STATISTICS)  # no matter where no BN is, so no part of the key
    return WantedPair(graft_key(source, target, null, options), source, target, null, options)


def _same_width(config: SweepConfig, groups: Groups) -> Iterator[WantedPair]:
    """Ordered pairs of partners among the seeds of a width at every snapshot, and the nulls of each."""
    options = graft_options(config)
    for group in groups.values():
        mates = Mates(config, group)
        for target_ladder in group:
            for source_ladder in mates.sources(target_ladder):
                same = source_ladder is target_ladder
                for position, target in enumerate(target_ladder):
                    for null, source in _sources(config, source_ladder, position, same):
                        yield _pair(source, target, options, null)


def _sources(
    config: SweepConfig, ladder: Ladder, position: int, same: bool
) -> Iterator[tuple[str, Snapshot]]:
    """What is grafted from one net into a target: the net itself at that epoch, and its nulls."""
    here = ladder[position]
    found = [] if same else [("none", here)]
    for name, null in NULLS.items():
        if name in config.graft.nulls:
            found += [(name, source) for source in null.sources(ladder, position, same)]
    # Those of the target's own epoch first: the order of pairs is part of a job's key.
    yield from sorted(found, key=lambda one: one[1] is not here)


def _cross_width(config: SweepConfig, groups: Groups) -> Iterator[WantedPair]:
    """Every width into the widest, and back; a seed at two widths is two independent draws."""
    options = graft_options(config)
    for (kind, width), group in groups.items():
        widest = max(other for other_kind, other in groups if other_kind == kind)
        mates = Mates(config, groups[kind, widest])
        for narrow in group if width < widest else ():
            for wide in mates.targets(narrow):
                for one, other in zip(narrow, wide, strict=True):
                    yield _pair(one, other, options)
            for wide in mates.sources(narrow):
                for one, other in zip(narrow, wide, strict=True):
                    yield _pair(other, one, options)


def _cross_epoch(config: SweepConfig, groups: Groups) -> Iterator[WantedPair]:
    """A at each epoch into B at the last one, and back, and each epoch into itself (the diagonal)."""
    options = graft_options(config)
    for group in groups.values():
        mates = Mates(config, group)
        for source in group:
            for target in mates.targets(source):
                if source is target:
                    continue
                for one, other in zip(source, target, strict=True):
                    yield _pair(one, target[-1], options)
                    yield _pair(source[-1], other, options)
                    yield _pair(one, other, options)


def _cross_setting(config: SweepConfig, groups: Groups) -> Iterator[WantedPair]:
    """Every setting into every other one at each width and epoch, between nets of different seeds.

    Nets of one seed may share their initial weights and the order of their images.
    """
    options = graft_options(config)
    for (kind, width), sources in groups.items():
        for (other_kind, other_width), targets in groups.items():
            if width != other_width or kind == other_kind:
                continue
            mates = Mates(config, targets)
            for source in sources:
                for target in mates.targets(source):
                    if source[0].net.seed != target[0].net.seed and _fit(source, target):
                        for one, other in zip(source, target, strict=True):
                            yield _pair(one, other, options)


def _fit(source: Ladder, target: Ladder) -> bool:
    return graftable(source[0].net.architecture, target[0].net.architecture)


def _skip(config: SweepConfig, groups: Groups) -> Iterator[WantedPair]:
    """The real pairs of `same_width` with layers left out, where a layer can be; a key for each number."""
    plain = config.graft.model_copy(update={"nulls": (), "methods": ("exact",)})
    without_nulls = config.model_copy(update={"graft": plain})
    pairs, options = list(_same_width(without_nulls, groups)), graft_options(without_nulls)
    found = [
        _pair(pair.source, pair.target, replace(options, skips=(skip,)))
        for skip in sorted(set(plain.skips))
        for pair in pairs
        if cuts(pair.target.net.architecture, ("exact",), (skip,))
    ]
    if not found:
        raise ConfigError(
            f"graft.skips: found {list(plain.skips)}, but no layer of these nets can be fitted with so many "
            "left out below it: a skip graft needs a plain chain of layers, and layer 1 stays the source's"
        )
    yield from found


_MAKERS: dict[str, Callable[[SweepConfig, Groups], Iterator[WantedPair]]] = {
    "same_width": _same_width,
    "cross_width": _cross_width,
    "cross_epoch": _cross_epoch,
    "cross_setting": _cross_setting,
    "skip": _skip,
}
"""The pairs that each pairing asks for."""
