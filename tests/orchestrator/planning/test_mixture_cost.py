"""The model of pools and hybrids against PyTorch's own count of operations."""

import pytest

from espalier.orchestrator.planning.kinds.mixture_cost import hybrid_cost, pool_cost
from espalier.tasks.mixing.exchangeability import exchange
from espalier.tasks.mixing.hybrid import hybrids
from espalier.tasks.networks.network import initialise
from espalier.tasks.spec import GraftOptions, HybridTile, Pair, Pool, PoolTile
from tests.orchestrator.planning.flop_counting import counted
from tests.orchestrator.planning.test_cost import facts_of
from tests.tasks.conftest import make_data, make_net, make_snapshot

NET = {"entries": (1, "pool", 2, 2, "pool"), "image": (2, 8, 8)}


def per_image(work, model):
    """Model over count of what more images cost: PyTorch's counter does not see factorisations."""
    found, told = [], []
    for images in (600, 700):  # more than patch dimensions, so that sums are of one kind
        data = make_data(train=images, test=images, image=NET["image"])
        found.append(counted(lambda data=data: work(data)))
        told.append(model(facts_of(data)).flops)
    return (told[1] - told[0]) / (found[1] - found[0])


def snapshots_of(seeds, width=4):
    return [make_snapshot(make_net(seed=seed, width=width, **NET)) for seed in range(seeds)]


@pytest.mark.parametrize("null", ["pooled", "wider_subset"])
def test_operations_of_pools_per_image_are_within_a_tenth_of_pytorchs_count(null):
    narrow, wide = snapshots_of(4), snapshots_of(2, width=6)
    wider = (4, 5) if null == "wider_subset" else ()
    others = [tuple(n for n in range(4) if n != target)[:2] for target in range(4)]
    pools = tuple(Pool(f"{t}", t, others[t], null, wider) for t in range(4))
    tile = PoolTile((*narrow, *wide), pools, GraftOptions(), partitions=2)
    networks = [initialise(snapshot.net) for snapshot in tile.snapshots]
    ratio = per_image(lambda data: exchange(tile, networks, data), lambda facts: pool_cost(tile, facts))
    assert 0.9 < ratio < 1.1, f"model / counted = {ratio:.3f}"


def test_operations_of_hybrids_per_image_are_within_a_quarter_of_pytorchs_count():
    """The steps of the classifier's optimizer are not known beforehand."""
    tile = HybridTile(tuple(snapshots_of(2)), (Pair("a", 0, 1),), (0.0, 0.5, 1.0), GraftOptions())
    networks = [initialise(snapshot.net) for snapshot in tile.snapshots]
    ratio = per_image(lambda data: hybrids(tile, networks, data), lambda facts: hybrid_cost(tile, facts))
    assert 0.75 < ratio < 1.25, f"model / counted = {ratio:.3f}"


def test_a_ridge_spares_all_partitions_but_two_their_spectrum():
    pools, facts = (Pool("a", 0, (1, 2), "pooled"),), facts_of(make_data(train=600, image=NET["image"]))
    costs = [
        pool_cost(PoolTile(tuple(snapshots_of(3)), pools, GraftOptions(ridge=ridge), partitions), facts).flops
        for ridge in (0.0, 1e-6)
        for partitions in (9, 39)
    ]
    assert (costs[3] - costs[2]) < 0.3 * (costs[1] - costs[0])


def test_one_factorisation_for_each_group_of_each_partition_is_counted():
    narrow = snapshots_of(3)
    pools = (Pool("a", 0, (1, 2), "pooled"),)
    costs = []
    for partitions in (9, 19, 29):
        tile = PoolTile(tuple(narrow), pools, GraftOptions(), partitions)
        costs.append(pool_cost(tile, facts_of(make_data(image=NET["image"]))))
    assert costs[2].flops - costs[1].flops == pytest.approx(costs[1].flops - costs[0].flops)
    assert costs[0].memory == costs[2].memory
