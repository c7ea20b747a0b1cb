"""Nulls that are made from a trained source: their moments, and what a graft of them must give."""

from dataclasses import replace

import pytest
import torch

from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.planning.kind import Have
from espalier.orchestrator.planning.plan import make_plan
from espalier.orchestrator.planning.task import Limits
from espalier.tasks.data.images import facts
from espalier.tasks.grafting.graft import graft
from espalier.tasks.grafting.nulls.class_noise import ClassNoise, clusters
from espalier.tasks.grafting.nulls.known_nulls import NULLS
from espalier.tasks.grafting.nulls.matched_scale import at_the_scale_of
from espalier.tasks.grafting.nulls.null import Seen
from espalier.tasks.grafting.nulls.rainbow_draw import draw, drawn_anew, rotation
from espalier.tasks.grafting.nulls.sample_walk import SAMPLE, Walk, channels_CR, chosen
from espalier.tasks.networks.batch_norm import batch_norm
from espalier.tasks.networks.network import Network, initialise, permute_channels
from espalier.tasks.seeds import stream
from espalier.tasks.spec import AtOnce, GraftOptions, GraftTile, Pair
from tests.tasks.conftest import make_data, make_net, make_snapshot
from tests.tasks.families import ARCHITECTURES, family_net

PLAIN, WHOLE = GraftOptions(), AtOnce()
MADE = ("untrained_scaled", "resampled", "clustered_noise")


def as_if_trained(net, seed=7):
    """Another draw of every parameter, with biases and statistics that no initial net has."""
    generator = stream("as if trained", seed)

    def value(name, start):
        noise = torch.randn(start.shape, generator=generator)
        return start.abs() + noise.abs() if name.endswith("running_var") else 0.7 * start + 0.3 * noise

    start = initialise(net)
    return Network(net.architecture, {name: value(name, one) for name, one in start.parameters.items()})


def images_of(net, count=200, classes=5):
    return make_data(train=count, test=40, image=net.architecture.input, classes=classes)


def before_the_relu(network, x):
    """What each layer gives after its BN, by layer."""
    found = {}
    for entry in network.features(x):
        normed = network.architecture.layers[entry.layer - 1].batch_norm
        name = f"layers.{entry.layer}.bn"
        found[entry.layer] = batch_norm(name, entry.z, network.parameters) if normed else entry.z
    return found


def test_the_sample_is_evenly_spaced_and_bounded():
    assert chosen(10).tolist() == list(range(10))
    spaced = chosen(10 * SAMPLE)
    assert len(spaced) == SAMPLE
    assert set(spaced.diff().tolist()) == {10}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_initial_net_gets_the_channel_moments_of_the_trained_one_at_every_layer(name):
    net = family_net(name)
    x, trained = images_of(net).x_train, as_if_trained(net)
    made = at_the_scale_of(trained, net, x)
    found, wanted = before_the_relu(made, x), before_the_relu(trained, x)
    for layer, theirs in wanted.items():
        mine, theirs = channels_CR(found[layer]), channels_CR(theirs)
        live = mine.var(1) > 0  # a channel that is constant at epoch 0 has the mean alone
        torch.testing.assert_close(mine.mean(1), theirs.mean(1), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(mine.std(1)[live], theirs.std(1)[live], rtol=1e-3, atol=1e-4)


def test_at_its_own_scale_an_initial_net_computes_what_it_did():
    net = make_net(width=6)
    x, start = images_of(net).x_train, initialise(net)
    torch.testing.assert_close(
        at_the_scale_of(start, net, x).logits(x), start.logits(x), rtol=1e-4, atol=1e-5
    )


def test_drawn_channels_have_the_mean_and_covariance_of_the_layers_channels():
    generator = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(4, 2, 3, 3, generator=generator).double() + 0.5, torch.arange(4.0).double()
    rows = torch.cat([weight.flatten(1), bias[:, None]], 1)
    drawn = [draw(weight, bias, torch.Generator().manual_seed(seed)) for seed in range(4000)]
    found = torch.cat([torch.cat([w.flatten(1), b[:, None]], 1) for w, b in drawn])
    spread = rows.std(0, correction=0).max()
    # 16,000 channels: the standard error of a mean is spread / 126, of a covariance about 1.1 % of spread^2
    torch.testing.assert_close(found.mean(0), rows.mean(0), rtol=0, atol=5 * float(spread) / 126)
    centred, theirs = found - rows.mean(0), rows - rows.mean(0)
    covariance, wanted = centred.T @ centred / len(found), theirs.T @ theirs / len(rows)
    torch.testing.assert_close(covariance, wanted, rtol=0, atol=0.06 * float(spread) ** 2)


def test_alignment_undoes_a_planted_rotation_exactly():
    generator = torch.Generator().manual_seed(2)
    h = torch.randn(300, 5, 3, 3, generator=generator).double()
    turn, _ = torch.linalg.qr(torch.randn(5, 5, generator=generator).double())
    there, here = Walk(h), Walk(torch.einsum("cd,nchw->ndhw", turn, h))
    torch.testing.assert_close(rotation(here, there), turn, rtol=1e-9, atol=1e-9)


def test_a_net_whose_channels_are_all_alike_is_drawn_as_itself():
    """Without covariance a draw is the mean: the drawn net computes what the trained one does."""
    net = make_net(width=3)
    start = as_if_trained(net).parameters
    alike = {name: value[:1].expand_as(value).clone() for name, value in start.items()}
    trained, x = Network(net.architecture, alike), images_of(net).x_train
    torch.testing.assert_close(drawn_anew(trained, x, 1).logits(x), trained.logits(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if "resnet" not in name])
def test_a_drawn_net_follows_from_its_name_alone(name):
    net = family_net(name)
    x, trained = images_of(net, 30).x_train, as_if_trained(net)
    made, again, other = (drawn_anew(trained, x, name).logits(x) for name in "aab")
    assert torch.equal(made, again)
    assert not torch.allclose(made, other)


def test_drawn_first_features_have_the_mean_square_of_the_trained_ones():
    net = make_net(width=16)
    x, trained = images_of(net, 60).x_train, as_if_trained(net)

    def size(network):
        return before_the_relu(network, x)[1].square().mean().item()

    sizes = [size(drawn_anew(trained, x, seed)) for seed in range(100)]
    assert sum(sizes) / 100 == pytest.approx(size(trained), rel=0.1)  # 1,600 channels: about 3 %


def test_a_source_drawn_from_a_permuted_net_has_the_same_distribution():
    """Mean and covariance of the channels know no order: first layers of both draw from one Gaussian."""
    net = make_net(width=4)
    trained = as_if_trained(net)
    first = [
        one.parameters["layers.1.weight"].double().flatten(1)
        for one in (trained, permute_channels(trained, 3))
    ]
    covariances = [torch.cov(rows.T, correction=0) for rows in first]
    torch.testing.assert_close(*covariances)


def test_class_maps_and_noise_have_the_mean_and_covariance_of_the_channels():
    generator = torch.Generator().manual_seed(3)
    mix = torch.randn(4, 4, generator=generator)
    h = torch.einsum("cd,ndhw->nchw", mix, torch.randn(500, 4, 2, 3, generator=generator)) + 1.0
    rows = channels_CR(h)
    wanted = torch.cov(rows, correction=0)
    found = clusters(h, 3, generator)
    root = found.root_CC.double()
    torch.testing.assert_close(root @ root.T, wanted, rtol=1e-5, atol=1e-5)
    maps = clusters(h, 4000, generator).centre_KCP
    assert maps.shape == (4000, 4, 6)
    drawn = maps.double().transpose(0, 1).flatten(1)  # 24,000 draws: a covariance to about 1 %
    size = float(wanted.diagonal().max())
    torch.testing.assert_close(drawn.mean(1), rows.mean(1), rtol=0, atol=0.03 * size**0.5)
    torch.testing.assert_close(torch.cov(drawn), wanted, rtol=0, atol=0.05 * size)
    places = maps.double().permute(2, 1, 0)  # two positions of one map have nothing in common
    across = (places[0] - places[0].mean(1, keepdim=True)) @ (places[5] - places[5].mean(1, keepdim=True)).T
    assert float(across.abs().max()) / 4000 < 0.1 * size


def test_an_image_has_the_same_noise_in_every_batch_and_no_other_images():
    net = make_net(width=3)
    data, network = images_of(net), as_if_trained(net)
    noise = ClassNoise(network, data.x_train, 0)

    def replaced(split, numbers):
        numbers = torch.tensor(numbers)
        layers = list(network.features(data.x_train[numbers]))
        return noise(layers, Seen(split, numbers, data.y_train[numbers]))[1].h_in

    some, others = replaced("train", [4, 9]), replaced("train", [9, 5])
    assert torch.equal(some[1], others[0])
    assert not torch.equal(some[0], others[1])
    assert not torch.equal(some, replaced("test", [4, 9]))


def test_a_class_that_no_fitting_image_has_gets_a_map_as_any_other():
    net = make_net(width=3)
    data, network = images_of(net), as_if_trained(net)
    data = data._replace(y_train=data.y_train.clamp(max=3))  # of classes 0 to 4
    noise = NULLS["clustered_noise"].variant.noise(network, net, data)
    assert (data.y_test == 4).any()
    found = noise(list(network.features(data.x_test)), Seen("test", torch.arange(40), data.y_test))
    assert found[1].h_in.isfinite().all()


def tile_of(nulls, options=PLAIN, **net):
    specs = [make_net(seed=seed, width=8, **net) for seed in (0, 1)]
    snapshots = tuple(make_snapshot(one, 3) for one in specs)
    pairs = [Pair(f"{null}-0-1", 0, 1, null) for null in nulls]
    return GraftTile(snapshots, pairs, options), [as_if_trained(one, one.seed) for one in specs]


def rows_of(tile, networks, data, at_once=WHOLE):
    return {(row["null"], row["layer"]): row for row in graft(tile, networks, data, at_once).grafts}


def test_class_noise_explains_no_more_than_the_class_and_the_place_in_the_map_do():
    """It can give means of z alone: of all images of a class at a position."""
    tile, networks = tile_of(("none", "clustered_noise"))
    data = make_data(train=600, test=300)
    rows = rows_of(tile, networks, data)
    for layer in (2, 3):
        z = list(networks[1].features(data.x_test))[layer - 1].z.double()
        means = torch.stack([z[data.y_test == k].mean(0) for k in range(5)])
        within = (z - means[data.y_test]).square().sum()
        within /= (channels_CR(z) - channels_CR(z).mean(1, keepdim=True)).square().sum()
        assert rows["clustered_noise", layer]["fvu_test"] > 0.97 * within
        assert rows["none", layer]["fvu_test"] < rows["clustered_noise", layer]["fvu_test"]


@pytest.mark.parametrize("ridges", [(), (1e-6, 1e-2)])
def test_the_rows_are_the_same_however_a_tile_is_parted(ridges):
    tile, networks = tile_of(("none", *MADE), GraftOptions(ridges=ridges))
    data = make_data()
    whole = rows_of(tile, networks, data)
    parted = rows_of(tile, networks, data, AtOnce(1, 1))
    assert whole.keys() == parted.keys()
    for place, row in whole.items():
        assert row["fvu_test"] == pytest.approx(parted[place]["fvu_test"], rel=1e-6)
        assert row["accuracy_test"] == parted[place]["accuracy_test"]
    alone = rows_of(replace(tile, pairs=tile.pairs[2:3]), networks, data)
    assert alone["resampled", 2]["fvu_test"] == pytest.approx(whole["resampled", 2]["fvu_test"], rel=1e-6)


def config(**parts):
    graft_section = {"nulls": list(MADE)}
    rest = {"train": {"epochs": 1, "snapshots": [0, 1]}, "sweep": {"widths": [4], "seeds": 2}}
    return SweepConfig.parse({"graft": graft_section, **rest, **parts})


def test_a_null_that_a_net_cannot_have_is_refused_before_anything_runs():
    roomy = Limits(2**40, 1)
    with pytest.raises(ConfigError, match=r"'resampled' cannot be made of a net of the family 'resnet20'"):
        make_plan(config(network={"family": "resnet20"}), facts("digits"), Have(), roomy)
    narrow = config(network={"layers": [1, 2]}, sweep={"widths": [1], "seeds": 2})
    with pytest.raises(ConfigError, match=r"'resampled' .* \(a layer of one channel has no covariance"):
        make_plan(narrow, facts("digits"), Have(), roomy)
    regression = config(data={"dataset": "cosine"}, network={"family": "dense", "layers": [1, 1]})
    with pytest.raises(ConfigError, match=r"'clustered_noise' .* \(a regression has no classes\)"):
        make_plan(regression, facts("cosine"), Have(), roomy)


def test_every_ordered_pair_has_each_of_them_at_every_epoch_after_the_first():
    made = make_plan(config(), facts("digits"), Have(), Limits(2**40, 1))
    nulls = [pair.null for task in made.tasks if task.job.kind == "graft" for pair in task.job.payload.pairs]
    # two ordered pairs; at epoch 0 the scaled initial net would be the initial net
    assert {null: nulls.count(null) for null in MADE} == {
        "untrained_scaled": 2,
        "resampled": 4,
        "clustered_noise": 4,
    }
