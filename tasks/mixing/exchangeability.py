"""Exchangeability of the channels of nets, as rows: the nulls `pooled` and `wider_subset` (docs/method.md).

If the channels of all nets are draws from one distribution, any c of a pool of nets serve a target as well
as the c of one net. Each layer of the target is fitted from every net, and from every group of random
partitions of the same channels; how the nets compare with the groups says how far they are from that.

Nets of a tile share one Gram matrix and one cross term per target, so the last bits of a row depend on which
nets share its tile: a matrix product's order of summation depends on its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from espalier.tasks.data.augment import view
from espalier.tasks.data.tensors import Data
from espalier.tasks.grafting.graft import joined, warning
from espalier.tasks.mixing.channel_groups import Fitter, Trial, deal
from espalier.tasks.mixing.channels import Channels, measure
from espalier.tasks.mixing.group_grafts import Draw, draw, graft_rows
from espalier.tasks.mixing.permutation import Verdict, pooled, wider_subset
from espalier.tasks.networks.cuts import Cut
from espalier.tasks.networks.network import Network
from espalier.tasks.spec import Pool, PoolTile, layer_name
from espalier.tasks.tables.axes import net_axes
from espalier.tasks.tables.marks import CONSTANT_TARGET


@dataclass(frozen=True)
class ExchangeRows:
    """Rows of the tables `exchangeability`, `grafts` and `downstream`."""

    exchangeability: list[dict[str, Any]]
    grafts: list[dict[str, Any]]
    downstream: list[dict[str, Any]]


@torch.no_grad()
def exchange(tile: PoolTile, networks: Sequence[Network], data: Data) -> ExchangeRows:
    """All pools of a tile at every plain cut: fitted on the training images, scored on the held-out ones.

    Args:
        tile: The pools; their indices point into its snapshots.
        networks: The networks of the tile's snapshots, in their order.
        data: Images and labels.

    Raises:
        ValueError: A pool of fewer than two nets, of widths that do not go together, or no partition.
    """
    check(tile)
    channels = Channels(tile, networks)
    data = data._replace(x_train=view(data.x_train, tile.options.augment))
    place = {pool.key: number for number, pool in enumerate(tile.pools)}
    rows: list[dict[str, Any]] = []
    draws: list[Draw] = []
    for cut in channels.cuts:  # one at a time, since the matrix of all channels is large
        train, test = (measure(channels, cut.arms, x) for x in (data.x_train, data.x_test))
        fitter = Fitter(channels, train, test)
        rows += [_row(fitter, pool, cut, data) for pool in tile.pools]
        draws += [made for pool in tile.pools for made in _draws(fitter, pool, cut, data)]
    grafts = graft_rows(channels, draws, data)
    for made in (rows, grafts.grafts, grafts.downstream):
        made.sort(key=lambda row: place[row["key"]])
    return ExchangeRows(rows, grafts.grafts, grafts.downstream)


def check(tile: PoolTile) -> None:
    """Refuse pools that the nulls are not defined for."""
    if tile.partitions < 1:
        raise ValueError(f"{tile.partitions} partitions: a p-value needs at least 1, and 19 to reach 0.05")
    widths = [snapshot.net.width for snapshot in tile.snapshots]
    for pool in tile.pools:
        nets, wanted = len(pool.sources), widths[tile.pools[0].target]
        if len({*pool.sources} - {pool.target}) < max(2, nets):
            raise ValueError(
                f"pool {pool.key} has sources {pool.sources}: give 2 or more other nets, each once"
            )
        if {widths[net] for net in (pool.target, *pool.sources)} != {wanted}:
            raise ValueError(f"pool {pool.key}: target and sources of a tile must have one width, {wanted}")
        if len(pool.wide) != (nets if pool.null == "wider_subset" else 0):
            raise ValueError(
                f"pool {pool.key} ({pool.null}) has {len(pool.wide)} wide nets to {nets} sources"
            )
        if any(widths[net] <= wanted for net in pool.wide):
            raise ValueError(f"pool {pool.key}: its wide nets must be wider than {wanted}")


def _row(fitter: Fitter, pool: Pool, cut: Cut, data: Data) -> dict[str, Any]:
    """One row of table `exchangeability`."""
    channels, groups = fitter.channels, deal(fitter.channels, pool, cut.layer)
    trial = partial(fitter.trial, pool.target, cut.arms[0])
    real = [trial(group_c, spectrum=True) for group_c in groups.real]
    dealt = [
        [trial(group_c, spectrum=not number) for group_c in partition]
        for number, partition in enumerate(groups.dealt)
    ]
    trials = [*real, *(one for partition in dealt for one in partition)]
    known = [(one.kept, one.dim) for one in trials if one.kept is not None]
    said = next((text for sizes in known if (text := warning(*sizes, len(data.y_train)))), "")
    verdict = _verdict(pool, real, dealt)
    snapshots = channels.tile.snapshots
    return {
        "key": pool.key,
        **net_axes(snapshots[pool.target], "target_"),
        "null": pool.null,
        "layer": cut.layer,
        "layer_name": layer_name(channels.architecture, cut.layer),
        "nets": len(pool.sources),
        "one_width": snapshots[pool.sources[0]].net.width,
        "null_width": snapshots[(pool.wide or pool.sources)[0]].net.width,
        "partitions": channels.tile.partitions,
        **verdict,
        "ridge": channels.tile.options.ridge,
        "products": fitter.train.patches[channels.readings[cut.arms[0]]].products,
        "patch_dim": real[0].dim,
        "images_train": len(data.y_train),
        "images_test": len(data.y_test),
        "warning": joined(said, CONSTANT_TARGET if verdict["fvu_one"] is None else ""),
    }


def _verdict(pool: Pool, real: Sequence[Trial], dealt: Sequence[Sequence[Trial]]) -> dict[str, float | None]:
    """Statistics and p-values; all of them are None where the target is constant."""
    judge = pooled if pool.null == "pooled" else wider_subset
    known = [one.fvu for one in real if one.fvu is not None]
    if len(known) < len(real):
        return dict.fromkeys(Verdict._fields)
    partitions = [[one.fvu for one in partition if one.fvu is not None] for partition in dealt]
    return judge(known, partitions)._asdict()


def _draws(fitter: Fitter, pool: Pool, cut: Cut, data: Data) -> list[Draw]:
    """The draws with rows in the graft tables: the first random partition's groups, or wide nets' subsets."""
    groups = deal(fitter.channels, pool, cut.layer)
    if pool.null == "pooled":
        chosen = [(pool.sources, group_c) for group_c in groups.dealt[0]]
    else:
        chosen = [
            ((net,), group_c)
            for net, group_c in zip(pool.wide, groups.real[len(pool.sources) :], strict=True)
        ]
    return [
        draw(fitter, pool, cut, number, nets, group_c, data)
        for number, (nets, group_c) in enumerate(chosen, start=1)
    ]
