"""The images that a graft loses, against outcomes that are known image by image."""

import numpy as np
import pytest
import torch

from espalier.tasks.grafting.answers import blocks, lost
from espalier.tasks.grafting.graft import graft
from espalier.tasks.networks.network import initialise
from espalier.tasks.tables.image_blocks import BLOCKS, COUNT, LOST, MOST_IMAGES, block_sizes
from tests.tasks.conftest import make_data
from tests.tasks.grafting.test_graft import lstsq_graft, make_tile


def by_block(row):
    return np.frombuffer(row["drop_by_block"], COUNT)


@pytest.mark.parametrize("images", [7, 32, 300])
def test_lost_and_gained_images_are_counted_each_in_its_block(images):
    target_N, graft_N = torch.rand(2, images, generator=torch.Generator().manual_seed(0)) < 0.6
    row, block_N = lost(target_N, graft_N), blocks(images).tolist()
    wanted = [0] * BLOCKS
    for image, (own, grafted) in enumerate(zip(target_N.tolist(), graft_N.tolist(), strict=True)):
        wanted[block_N[image]] += own - grafted
    assert by_block(row).tolist() == wanted
    assert row["lost_images"] == (target_N & ~graft_N).sum()
    assert row["gained_images"] == (graft_N & ~target_N).sum()


@pytest.mark.parametrize("images", [1, 31, 297, 10_000])
def test_blocks_are_even_the_same_for_all_rows_and_no_runs_of_neighbours(images):
    block_N = blocks(images)
    assert torch.bincount(block_N, minlength=BLOCKS).tolist() == block_sizes(images)
    blocks.cache_clear()
    assert torch.equal(block_N, blocks(images))
    if images > 1000:  # sorted by class, a block of neighbours, or every 32nd image, would be no sample
        for order_N in (torch.arange(images) // (images // BLOCKS), torch.arange(images) % BLOCKS):
            assert (block_N == order_N).double().mean() < 2 / BLOCKS


def test_rows_say_which_images_the_graft_of_the_last_layer_loses():
    """Against the answers of float64 least squares on features and patches written apart."""
    tile, data = make_tile(), make_data(train=600, test=300)
    nets = [initialise(snapshot.net) for snapshot in tile.snapshots]
    rows = graft(tile, nets, data).grafts
    for row in rows:
        drop = (row["lost_images"] - row["gained_images"]) / row["images_test"]
        assert row["accuracy_drop"] == pytest.approx(drop)
        assert by_block(row).sum() == row["lost_images"] - row["gained_images"]
    row = next(row for row in rows if (row["key"], row["layer"]) == ("none-0-1", 3))
    outputs, _, _ = lstsq_graft(nets[0], nets[1], 3, data.x_train, data.x_test)
    graft_N = torch.from_numpy(outputs.argmax(1)) == data.y_test
    target_N = nets[1].logits(data.x_test).argmax(1) == data.y_test
    wanted = lost(target_N, graft_N)
    assert min(wanted["lost_images"], wanted["gained_images"]) > 0
    assert {name: row[name] for name in wanted} == wanted


def test_without_classes_nothing_is_lost_and_a_count_always_fits_its_type():
    assert lost(None, None) == {name: None for name, _, _ in LOST}
    assert np.iinfo(COUNT).max >= max(block_sizes(MOST_IMAGES))
    assert np.iinfo(COUNT).max < max(block_sizes(MOST_IMAGES + 1))
