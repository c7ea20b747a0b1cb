"""Exchangeability against known answers: one net's own graft, lstsq, channels that are independent draws."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from espalier.tasks.data.tensors import Data
from espalier.tasks.grafting.graft import graft
from espalier.tasks.grafting.gram import centre
from espalier.tasks.mixing.channel_groups import Fitter, deal
from espalier.tasks.mixing.channels import Channels, measure
from espalier.tasks.mixing.exchangeability import exchange
from espalier.tasks.mixing.group_grafts import draw, graft_rows
from espalier.tasks.networks.network import Network, initialise
from espalier.tasks.spec import (
    DataSpec,
    GraftOptions,
    GraftTile,
    Pair,
    Pool,
    PoolTile,
    Snapshot,
    TrainSegment,
)
from espalier.tasks.tables.marks import CONSTANT_TARGET
from espalier.tasks.tables.rows import table
from espalier.tasks.training.train import initial_state, train
from tests.tasks.conftest import make_data, make_net, make_snapshot
from tests.tasks.families import family_net, lively
from tests.tasks.grafting.test_graft import alive, numpy_patches

# float64 throughout: what is left is rounding times the conditioning of G.
EXACT = 1e-8
# float32 products of a wide conv: 1e-7 of the largest eigenvalue, in a held-out error that is a difference.
SINGLE = 1e-3


def pool_tile(null="pooled", nets=3, width=3, options=None, partitions=3, **net):
    """One target, `nets` others of its width and, for wider_subset, as many of twice that."""
    specs = [make_net(seed=seed, width=width, **net) for seed in range(nets + 1)]
    wide = nets if null == "wider_subset" else 0
    specs += [make_net(seed=100 + seed, width=2 * width, **net) for seed in range(wide)]
    pool = Pool("key", 0, tuple(range(1, nets + 1)), null, tuple(range(nets + 1, nets + 1 + wide)))
    snapshots = tuple(make_snapshot(spec) for spec in specs)
    return PoolTile(snapshots, (pool,), options or GraftOptions(), partitions)


def networks_of(tile):
    return [alive(initialise(snapshot.net)) for snapshot in tile.snapshots]


@torch.no_grad()
def fitter_of(tile, networks, data):
    channels = Channels(tile, networks)
    arms = list(channels.readings)
    return Fitter(channels, measure(channels, arms, data.x_train), measure(channels, arms, data.x_test))


def grafts_of(tile, networks, data):
    """The ordinary grafts of a pool's sources into its target."""
    pairs = tuple(Pair(f"{net}", net, tile.pools[0].target) for net in tile.pools[0].sources)
    options = replace(tile.options, statistics=("target",))
    return graft(GraftTile(tile.snapshots, pairs, options), networks, data)


def same(row, other, tolerance, without):
    """Whether two rows agree, numbers up to a relative tolerance."""
    assert row.keys() == other.keys()
    for column in row.keys() - without:
        value = row[column]
        wanted = pytest.approx(other[column], rel=tolerance) if isinstance(value, float) else other[column]
        assert value == wanted, column


def geometric_mean(values):
    return math.exp(np.mean(np.log(values)))


@pytest.mark.parametrize(("width", "tolerance"), [(3, EXACT), (32, SINGLE)])
def test_a_whole_net_as_a_group_has_the_fvu_of_its_exact_graft(width, tolerance):
    data = make_data(train=600)
    tile = pool_tile(nets=2, width=width, entries=(1, 1, "pool"), partitions=1)
    networks = networks_of(tile)
    grafts = grafts_of(tile, networks, data).grafts
    for row in exchange(tile, networks, data).exchangeability:
        fvus = [graft["fvu_test"] for graft in grafts if graft["layer"] == row["layer"]]
        assert row["fvu_one"] == pytest.approx(geometric_mean(fvus), rel=tolerance)
        assert row["products"] == grafts[row["layer"] - 2]["products"]


@pytest.mark.parametrize("family", ["conv-bn", "resnet20", "dense"])
def test_a_whole_net_as_a_group_has_every_column_of_its_exact_graft(family):
    """With BN, and with the other maps that read a residual net's cut."""
    specs = [family_net(family, seed) for seed in range(3)]
    tile = PoolTile(
        tuple(make_snapshot(spec) for spec in specs), (Pool("key", 0, (1, 2), "pooled"),), GraftOptions(), 1
    )
    networks, data = [lively(spec) for spec in specs], make_data(image=specs[0].architecture.input, train=150)
    fitter, wanted = fitter_of(tile, networks, data), grafts_of(tile, networks, data)
    whole = [
        draw(fitter, tile.pools[0], cut, 0, (net,), group, data)
        for cut in fitter.channels.cuts
        for net, group in zip((1, 2), deal(fitter.channels, tile.pools[0], cut.layer).real, strict=True)
    ]
    with torch.no_grad():
        found = graft_rows(fitter.channels, whole, data)
    for name in ("grafts", "downstream"):
        place = ("source_net", "graft_layer", "layer")
        rows = [
            sorted(getattr(made, name), key=lambda row: [str(row.get(column)) for column in place])
            for made in (found, wanted)
        ]
        assert len(rows[0]) == len(rows[1]) > 0
        for one, other in zip(*rows, strict=True):
            same(one, other, 1e-6, without={"key", "null"})


@pytest.mark.parametrize(
    ("width", "entries", "tolerance"), [(3, (1, "pool", 2), EXACT), (32, (1, 1, "pool"), SINGLE)]
)
@pytest.mark.parametrize("null", ["pooled", "wider_subset"])
def test_the_error_from_moments_is_that_of_a_forward_pass(null, width, entries, tolerance):
    data = make_data(train=600)
    tile = pool_tile(null, nets=2, width=width, entries=entries, partitions=1)
    networks = networks_of(tile)
    rows, fitter = exchange(tile, networks, data), fitter_of(tile, networks, data)
    pool = tile.pools[0]
    for cut in fitter.channels.cuts:
        groups = deal(fitter.channels, pool, cut.layer)
        chosen = groups.dealt[0] if null == "pooled" else groups.real[2:]
        direct = [row["fvu_test"] for row in rows.grafts if row["layer"] == cut.layer]
        moments = [fitter.trial(0, cut.arms[0], group).fvu for group in chosen]
        assert moments == pytest.approx(direct, rel=tolerance)


def test_a_random_group_is_fitted_as_float64_lstsq_fits_it():
    data, tile = make_data(train=600), pool_tile(nets=2)
    networks = networks_of(tile)
    fitter = fitter_of(tile, networks, data)
    layer = networks[0].architecture.layers[1]

    def rows(x):
        h = torch.cat([network.prefix(2, x) for network in networks[1:]], 1).numpy()
        u = numpy_patches(h[:, group], layer.kernel, layer.padding)
        z = networks[0].layer(2, networks[0].prefix(2, x)).numpy().astype(np.float64)
        u = u.reshape(-1, u.shape[-1])
        return np.c_[u, np.ones(len(u))], z.transpose(0, 2, 3, 1).reshape(-1, z.shape[1])

    for group in deal(fitter.channels, tile.pools[0], 2).dealt[0]:
        (u, z), (u_test, z_test) = rows(data.x_train), rows(data.x_test)
        error = u_test @ np.linalg.lstsq(u, z, rcond=None)[0] - z_test
        expected = (error**2).mean(0).sum() / z_test.var(0).sum()
        assert fitter.trial(0, fitter.channels.cuts[0].arms[0], group).fvu == pytest.approx(expected, 1e-6)


@pytest.mark.parametrize("entries", [(1, 1, "pool"), (1, "pool")])
def test_a_ridge_is_solved_without_a_spectrum_as_with_one(entries):
    """Up to rounding. Of dealt groups after the first partition's it is not known what the images show."""
    data, tile = make_data(train=600), pool_tile(nets=2, entries=entries, options=GraftOptions(ridge=1e-6))
    fitter = fitter_of(tile, networks_of(tile), data)
    for cut in fitter.channels.cuts:
        arm = cut.arms[0]
        for group in deal(fitter.channels, tile.pools[0], cut.layer).dealt[1]:
            factor = fitter.factor(arm, group)
            fitted = fitter.fit(0, arm, group, factor)
            held = fitter.sums(fitter.test, 0, arm, group, centre(fitter.patches(fitter.test, arm, group)))
            found = fitter.trial(0, arm, group)
            assert found.fvu == pytest.approx(held.unexplained(fitted.weight_DC, fitted.bias_C), rel=1e-8)
            assert found.kept is None
            assert fitter.trial(0, arm, group, spectrum=True).kept == len(factor.values_K)


def test_a_ridge_that_rounding_may_outdo_asks_for_the_spectrum():
    for ridge in (0.0, 1e-10):
        tile = pool_tile(nets=2, options=GraftOptions(ridge=ridge))
        fitter = fitter_of(tile, networks_of(tile), make_data(train=600))
        (group, *_) = deal(fitter.channels, tile.pools[0], 2).dealt[0]
        assert fitter.trial(0, fitter.channels.cuts[0].arms[0], group).kept == 27


def independent_pools(null, pools, nets):
    """Rows of many pools that share no net, all untrained: channels of layer 1 are independent draws."""
    data = make_data(train=120, test=60, image=(2, 4, 4))
    for number in range(pools):
        tile = pool_tile(null, nets, partitions=19, entries=(1, "pool"), image=(2, 4, 4))
        snapshots = tuple(
            make_snapshot(replace(snapshot.net, seed=1000 * number + snapshot.net.seed))
            for snapshot in tile.snapshots
        )
        pool = replace(tile.pools[0], key=f"{null}-{number}")
        fresh = replace(tile, snapshots=snapshots, pools=(pool,))
        yield exchange(fresh, [initialise(snapshot.net) for snapshot in snapshots], data).exchangeability[0]


@pytest.mark.parametrize(("null", "nets"), [("pooled", 3), ("wider_subset", 2)])
def test_independent_channels_are_exchangeable(null, nets):
    rows = list(independent_pools(null, 100, nets))
    log_ratios = np.log([row["ratio"] for row in rows])
    assert abs(log_ratios.mean()) < 3 * log_ratios.std(ddof=1) / math.sqrt(len(rows))
    within = np.mean([row["ratio_low"] <= row["ratio"] <= row["ratio_high"] for row in rows])
    assert within == pytest.approx(0.9, abs=0.09)  # three standard errors of a share of 100
    for column in ("p_value", "p_spread"):
        # A rank among 20 is uniform on 1/20..1; less a uniform share of a step it is uniform on 0..1.
        step = np.random.RandomState(0).uniform(0, 1 / 20, len(rows))
        p_values = np.array([row[column] for row in rows])
        assert stats.kstest(p_values - step, "uniform").pvalue > 0.05, column


WORLD = make_data(train=300, test=150)
"""Images of two channels; in world A (or B) the second (or first) is black."""


def world(name):
    seen = torch.tensor({"A": [1.0, 0.0], "B": [0.0, 1.0], "both": [1.0, 1.0]}[name]).reshape(1, 2, 1, 1)
    return Data(WORLD.x_train * seen, WORLD.y_train, WORLD.x_test * seen, WORLD.y_test)


def trained(name, seed, width):
    """A net of a world; the regularizer takes away what it does not need."""
    net = make_net(seed=seed, width=width, entries=(1, "pool"), lr=0.01)
    recipe = replace(net.recipe, reg_weight=0.05)
    net = replace(net, recipe=recipe, data=DataSpec(name, name))
    snapshot = Snapshot(f"{name}-{seed}-{width}", f"{name}-{seed}-{width}", net, 12)
    result = train(TrainSegment(snapshot, None, False), initial_state(net), world(name))
    assert result.net_row["accuracy_test"] > 0.6
    return snapshot, result.network


@pytest.fixture(scope="module")
def worlds():
    """Nets of 8 channels by world, and of 16."""
    counts = {("both", 8): 6, ("A", 8): 2, ("B", 8): 2, ("A", 16): 3, ("both", 16): 3}
    return {
        (name, width): [trained(name, seed, width) for seed in range(count)]
        for (name, width), count in counts.items()
    }


def judged(nets, pools):
    """The rows of pools given by (target, sources, wide) as positions in `nets`."""
    named = [
        Pool(f"{target}{sources}{wide}", target, sources, "wider_subset" if wide else "pooled", wide)
        for target, sources, wide in pools
    ]
    tile = PoolTile(tuple(snapshot for snapshot, _ in nets), tuple(named), GraftOptions(ridge=1e-6))
    return exchange(tile, [network for _, network in nets], world("both")).exchangeability


LEAST = 1 / 20
"""The least p-value that 19 partitions can give."""


def test_nets_that_each_see_half_of_the_world_are_worse_than_their_pool(worlds):
    nets = worlds["both", 8][:3] + worlds["A", 8] + worlds["B", 8]
    rows = judged(nets, [(target, (3, 4, 5, 6), ()) for target in range(3)])
    assert [row["p_value"] for row in rows] == [LEAST] * 3
    assert all(row["ratio"] > row["ratio_high"] > 1 for row in rows)


def test_nets_of_another_world_among_the_sources_show_in_the_spread(worlds):
    nets = worlds["both", 8][:5] + worlds["A", 8]
    others = [(1, 2), (2, 3), (3, 4), (4, 0), (0, 1)]
    rows = judged(nets, [(target, (*both, 5, 6), ()) for target, both in enumerate(others)])
    assert np.median([row["p_spread"] for row in rows]) <= 2 * LEAST


def test_wide_nets_of_another_world_are_told_from_wide_nets_of_the_same(worlds):
    nets = worlds["both", 8] + worlds["A", 16] + worlds["both", 16]
    other = judged(nets, [(target, (3, 4, 5), (6, 7, 8)) for target in range(3)])
    same = judged(nets, [(target, (3, 4, 5), (9, 10, 11)) for target in range(3)])
    assert [row["p_value"] for row in other] == [LEAST] * 3
    assert all(row["ratio"] < row["ratio_low"] for row in other)
    far, near = (np.mean(np.log([row["ratio"] for row in rows])) for rows in (other, same))
    assert abs(near) < abs(far) / 2
    assert {(row["one_width"], row["null_width"], row["nets"]) for row in same} == {(8, 16, 3)}


def test_every_row_fits_its_table_and_says_what_its_source_is(data):
    for null in ("pooled", "wider_subset"):
        tile = pool_tile(null)
        rows = exchange(tile, networks_of(tile), data)
        for name in ("exchangeability", "grafts", "downstream"):
            table(name, getattr(rows, name))
        places = {(row["layer"], row["draw"]) for row in rows.grafts}
        assert places == {(layer, number) for layer in (2, 3) for number in (1, 2, 3)}
        assert len(rows.grafts) == len(places)
        sources = {(row["source_width"], row["source_seed"], row["source_nets"]) for row in rows.grafts}
        if null == "pooled":
            assert sources == {(3, None, 3)}
            assert {row["source_net"] for row in rows.grafts} == {None}
            assert {row["source_accuracy_test"] for row in rows.grafts} == {None}
        else:
            assert sources == {(6, 100, 1), (6, 101, 1), (6, 102, 1)}
            assert all(0 <= row["source_accuracy_test"] <= 1 for row in rows.grafts)


@pytest.mark.parametrize("ridge", [0.0, 1e-6])
def test_dead_and_constant_channels_give_finite_rows_and_say_so(ridge, data):
    for null in ("pooled", "wider_subset"):
        tile = pool_tile(null, options=GraftOptions(ridge=ridge))
        networks = networks_of(tile)
        dead = {name: value.clone() for name, value in networks[1].parameters.items()}
        dead["layers.1.bias"][0] = -100.0  # ReLU gives 0
        dead["layers.1.weight"][1], dead["layers.1.bias"][1] = 0.0, 1.0
        constant = dict(networks[2].parameters)
        constant["layers.1.bias"] = torch.full_like(constant["layers.1.bias"], -100.0)
        networks[1] = Network(networks[1].architecture, dead)
        networks[2] = Network(networks[2].architecture, constant)
        assert all_finite(exchange(tile, networks, data))
        first = exchange(tile, networks, data).exchangeability[0]
        assert first["warning"].endswith("of 27 patch directions (almost) do not occur in the fitting images")


def test_fewer_images_than_patch_dimensions_give_finite_rows_and_a_warning():
    tile = pool_tile()
    rows = exchange(tile, networks_of(tile), make_data(train=12, test=12))
    assert all_finite(rows)
    assert all(row["warning"].startswith("few images: 12 < 2 x") for row in rows.exchangeability)


def test_of_a_target_without_variance_nothing_is_said_and_it_is_marked(data):
    tile = pool_tile()
    networks = networks_of(tile)
    still = {name: torch.zeros_like(value) for name, value in networks[0].parameters.items()}
    rows = exchange(tile, [Network(networks[0].architecture, still), *networks[1:]], data)
    undefined = {name for row in rows.exchangeability for name, value in row.items() if value is None}
    assert undefined == {"fvu_one", "fvu_null", "ratio", "ratio_low", "ratio_high", "p_value", "p_spread"}
    assert {row["fvu_test"] for row in [*rows.grafts, *rows.downstream]} == {None}
    assert all(row["warning"].endswith(CONSTANT_TARGET) for row in [*rows.exchangeability, *rows.grafts])


def all_finite(rows):
    return all(
        math.isfinite(value)
        for row in [*rows.exchangeability, *rows.grafts, *rows.downstream]
        for value in row.values()
        if isinstance(value, float)
    )


@pytest.mark.parametrize(
    ("width", "entries", "tolerance"), [(3, (1, "pool", 2), EXACT), (32, (1, 1, "pool"), SINGLE)]
)
def test_a_pools_rows_do_not_depend_on_the_rest_of_its_tile(width, entries, tolerance):
    """Up to rounding: the order in which a matrix product sums depends on how many channels it has."""
    snapshots = [make_snapshot(make_net(seed=seed, width=width, entries=entries)) for seed in range(4)]
    snapshots += [make_snapshot(make_net(seed=seed, width=width + 1, entries=entries)) for seed in range(2)]
    pools = (
        Pool("a", 3, (2, 0), "pooled"),
        Pool("b", 0, (1, 2, 3), "pooled"),
        Pool("c", 1, (3, 2), "wider_subset", (5, 4)),
    )
    tile = PoolTile(tuple(snapshots), pools, GraftOptions(), 3)
    networks, data = networks_of(tile), make_data(train=600)
    together = exchange(tile, networks, data)
    for pool in pools if width < 32 else pools[:1]:
        alone = exchange(replace(tile, pools=(pool,)), networks, data)
        for name in ("exchangeability", "grafts", "downstream"):
            rows = [row for row in getattr(together, name) if row["key"] == pool.key]
            for row, other in zip(rows, getattr(alone, name), strict=True):
                # Of products rounded to 1e-7 of the largest eigenvalue the least one has few digits.
                same(row, other, tolerance, {"condition_number"} if tolerance == SINGLE else set())


def test_the_subset_of_a_wide_net_is_the_same_for_every_target():
    tile = pool_tile("wider_subset")
    second = replace(tile.pools[0], key="other", target=1, sources=(0, 2, 3))
    networks = networks_of(tile)
    chosen = [
        Channels(replace(tile, pools=pools), networks).chosen
        for pools in (tile.pools, (second,), (second, *tile.pools))
    ]
    for place, channels in chosen[0].items():
        assert all(torch.equal(other[place], channels) for other in chosen[1:] if place in other)
    assert len(chosen[0][4, 1]) == 3
    assert int(chosen[0][4, 1].max()) < 6


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sources": (1,)}, "2 or more"),
        ({"sources": (0, 1)}, "2 or more"),
        ({"sources": (1, 4)}, "one width"),
        ({"wide": (4, 5)}, "2 wide nets to 3 sources"),
        ({"wide": (1, 2, 3)}, "wider than 3"),
    ],
)
def test_a_pool_that_the_nulls_are_not_defined_for_is_refused(change, named, data):
    tile = pool_tile("wider_subset")
    wrong = replace(tile, pools=(replace(tile.pools[0], **change),))
    with pytest.raises(ValueError, match=named):
        exchange(wrong, networks_of(tile), data)
