"""Grafts fitted on crops and flips: the fit sees them, the scores do not, Adam sees new ones each epoch."""

from dataclasses import replace

import pytest
import torch

from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.planning.kinds.pair_blocks import graft_key
from espalier.orchestrator.planning.kinds.pairings import graft_options
from espalier.orchestrator.planning.kinds.pools import pool_options
from espalier.orchestrator.planning.nets import nets
from espalier.tasks.data.augment import view
from espalier.tasks.data.images import facts
from espalier.tasks.grafting.adam import adam_maps
from espalier.tasks.grafting.graft import graft
from espalier.tasks.grafting.tile_nets import Bottoms, TileNets
from espalier.tasks.networks.network import initialise
from espalier.tasks.spec import GraftOptions
from tests.tasks.conftest import make_snapshot
from tests.tasks.grafting.test_graft import make_tile

AUGMENTED = GraftOptions(augment="crop_flip")


def networks(tile):
    return [initialise(snapshot.net) for snapshot in tile.snapshots]


@pytest.mark.parametrize("options", [AUGMENTED, replace(AUGMENTED, ridges=(0.0, 1e-3))], ids=["one", "path"])
def test_an_exact_fit_is_that_of_the_crops_and_scores_are_of_plain_images(data, options):
    tile = make_tile(nulls=("none", "shuffled_images"), options=options)
    found = graft(tile, networks(tile), data)
    plain = replace(tile, options=replace(options, augment="none"))
    cropped = data._replace(x_train=view(data.x_train, "crop_flip"))
    assert found == graft(plain, networks(tile), cropped)
    assert found != graft(plain, networks(tile), data)


def test_a_view_is_the_same_every_time_another_for_another_number_and_nothing_by_default(data):
    x = data.x_train
    assert view(x, "none") is x
    assert torch.equal(view(x, "crop_flip", 1), view(x, "crop_flip", 1))
    assert not torch.equal(view(x, "crop_flip", 1), view(x, "crop_flip", 2))
    assert view(x, "crop_flip").shape == x.shape


def test_adam_is_shown_a_view_for_each_epoch(data):
    options = replace(AUGMENTED, methods=("adam",), adam_epochs=3, adam_batches=2)
    tile, asked = make_tile(options=options), []

    def views(epoch):
        asked.append(epoch)
        return view(data.x_train, "crop_flip", epoch)

    with torch.no_grad():
        nets = TileNets(tile, networks(tile), Bottoms(tile, networks(tile), data))
        moved = adam_maps(nets, len(data.x_train), views)
        still = adam_maps(nets, len(data.x_train), lambda _: data.x_train)
    assert asked == [1, 2, 3]
    assert all(not torch.equal(moved[place].weight, still[place].weight) for place in moved)


def test_the_option_reaches_the_keys_of_grafts_and_pools_and_no_others():
    plain, cropped = (SweepConfig.parse({"graft": {"augment": augment}}) for augment in ("none", "crop_flip"))
    assert graft_options(plain) == GraftOptions()
    assert graft_options(cropped) == pool_options(cropped) == AUGMENTED
    assert pool_options(plain) == GraftOptions()
    one, two = (make_snapshot(net) for net in nets(plain, facts("digits"))[:2])
    keys = [graft_key(one, two, "none", graft_options(config)) for config in (plain, cropped)]
    assert keys[0] != keys[1]
    assert nets(plain, facts("digits")) == nets(cropped, facts("digits"))


def test_a_regression_has_no_images_to_shift():
    sections = {
        "data": {"dataset": "cosine"},
        "network": {"family": "dense"},
        "graft": {"augment": "crop_flip"},
    }
    with pytest.raises(ConfigError, match=r"graft.augment: found 'crop_flip', but cosine is a regression"):
        nets(SweepConfig.parse(sections), facts("cosine"))
