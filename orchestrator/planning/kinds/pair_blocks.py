"""Ordered pairs in blocks of columns, as the pairings make them, and how they become `WantedPairs`.

Shapes: P pairs, N nets of one setting and width, E epochs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from espalier.orchestrator.planning.identity import KEY_DIGITS, content_key, pair_keys
from espalier.orchestrator.planning.kind import Ladder
from espalier.orchestrator.planning.kinds.wanted_pairs import WantedPairs
from espalier.orchestrator.planning.tile_load import Census
from espalier.orchestrator.planning.units import Mask
from espalier.tasks.grafting.pair_table import PairTable, null_names
from espalier.tasks.spec import STATISTICS, Architecture, GraftOptions, NetSpec, Snapshot, blob_name
from espalier.tasks.tables.axes import setting

GRAFT_SCHEMA = 2
"""Bumped when the rows of a graft change their meaning."""

Numbers = NDArray[np.int32]

Group = list[Ladder]
"""The ladders of one setting and width: its seeds."""

Groups = dict[tuple[NetSpec, int], Group]
"""All ladders, by setting and width."""


def ladder_groups(ladders: Sequence[Ladder]) -> Groups:
    """The ladders by setting and width."""
    groups: Groups = defaultdict(list)
    for ladder in ladders:
        groups[setting(ladder[0].net), ladder[0].net.width].append(ladder)
    return groups


def alive(group: Group, position: int, hopeless: Collection[str]) -> list[Snapshot]:
    """By seed the snapshots of a group at one position of its ladders, but those that can never be had."""
    there = [ladder[position] for ladder in group if ladder[position].key not in hopeless]
    return sorted(there, key=lambda snap: snap.net.seed)


class NumberedNets:
    """The snapshots of a sweep by number.

    Attributes:
        groups: Their ladders, by setting and width.
        numbers: Of each group the numbers (N, E) of its snapshots.
        snapshots: By number.
        place: The number of a snapshot, by its key.
    """

    def __init__(self, ladders: Sequence[Ladder]) -> None:
        self.groups = ladder_groups(ladders)
        self.snapshots = tuple(snap for group in self.groups.values() for ladder in group for snap in ladder)
        self.place = {snap.key: number for number, snap in enumerate(self.snapshots)}
        self.numbers: dict[tuple[NetSpec, int], Numbers] = {}
        start = 0
        for name, group in self.groups.items():
            count, epochs = len(group), len(group[0])
            found = np.arange(start, start + count * epochs, dtype=np.int32)
            self.numbers[name] = found.reshape(count, epochs)
            start += count * epochs

    @cached_property
    def census(self) -> Census:
        """Their architectures."""
        return Census(self.snapshots)

    def whose(self, holds: Callable[[Architecture], bool]) -> Mask:
        """Of each snapshot whether something holds of its architecture."""
        return np.array([holds(net) for net in self.census.kinds], np.bool_)[self.census.numbers]


class Block(NamedTuple):
    """Pairs (P) that are fitted alike; of what stands twice in several blocks the first counts.

    Attributes:
        sources: Numbers of snapshots (P), as are `targets`.
        nulls: Indices (P) into `null_names()`, or the one of all.
    """

    sources: Numbers
    targets: Numbers
    options: GraftOptions
    nulls: Numbers | int = 0


def each_once(blocks: Iterable[Block], nets: NumberedNets) -> WantedPairs:
    """The pairs of all blocks in order, each once, with their keys."""
    some = list(blocks)
    codes: dict[GraftOptions, int] = {}
    normed = nets.whose(lambda net: any(layer.batch_norm for layer in net.layers))
    chosen = _joined([_codes(block, normed, codes) for block in some], np.int16)
    sources = _joined([block.sources for block in some], np.int32)
    targets = _joined([block.targets for block in some], np.int32)
    nulls = _joined([np.broadcast_to(block.nulls, len(block.sources)) for block in some], np.int8)
    names, options = null_names(), tuple(codes)
    alike = nulls.astype(np.int64) * max(1, len(options)) + chosen
    pairs = sources.astype(np.int64) * len(nets.snapshots) + targets
    _, first = np.unique(pairs * len(names) * max(1, len(options)) + alike, return_index=True)
    kept = np.sort(first)
    columns = sources[kept], targets[kept], nulls[kept]
    keys = _keys(nets.snapshots, *columns, chosen[kept], options)
    blobs = [blob_name(snap.key) for snap in nets.snapshots]
    return WantedPairs(PairTable(keys, *columns, names), chosen[kept], nets.snapshots, blobs, options)


def _joined(columns: Sequence[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.empty(0, kind), *columns]).astype(kind, copy=False)


def _codes(block: Block, normed: Mask, codes: dict[GraftOptions, int]) -> NDArray[np.int16]:
    """The number (P) of each pair's options: statistics of BN are no part of a key where no BN is."""
    plain = replace(block.options, statistics=STATISTICS)
    with_bn = normed[block.targets]
    found = np.empty(len(with_bn), np.int16)
    for options, some in ((block.options, with_bn), (plain, ~with_bn)):
        if some.any():
            found[some] = codes.setdefault(options, len(codes))
    return found


def graft_key(source: Snapshot, target: Snapshot, null: str, options: GraftOptions) -> str:
    """Key of all rows of one ordered pair."""
    return content_key("graft", _parameters(null, options), [source.key, target.key], GRAFT_SCHEMA)


def _parameters(null: str, options: GraftOptions) -> dict[str, Any]:
    return {"null": null, "options": options}


def _keys(
    snapshots: Sequence[Snapshot],
    sources: Numbers,
    targets: Numbers,
    nulls: NDArray[np.int8],
    chosen: NDArray[np.int16],
    options: Sequence[GraftOptions],
) -> NDArray[np.bytes_]:
    """`graft_key` of all pairs (P)."""
    names, inputs = null_names(), [snap.key for snap in snapshots]
    alike = nulls.astype(np.int64) * max(1, len(options)) + chosen
    keys = np.empty(len(sources), f"S{KEY_DIGITS}")
    for code in np.unique(alike).tolist():
        null, which = divmod(code, len(options))
        some, parameters = np.flatnonzero(alike == code), _parameters(names[null], options[which])
        keys[some] = pair_keys("graft", parameters, inputs, sources[some], targets[some], GRAFT_SCHEMA)
    return keys
