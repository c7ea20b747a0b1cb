"""What blocks of images add to an error, against predictions that are known image by image."""

import numpy as np
import pytest

from espalier.tasks.grafting.error_blocks import blocks
from espalier.tasks.grafting.graft import graft
from espalier.tasks.spec import AtOnce, GraftOptions
from espalier.tasks.tables.image_blocks import BLOCKS, SHARE
from tests.tasks.conftest import make_data
from tests.tasks.grafting.test_graft import make_tile, networks_of, numpy_patches


def rows_of(options, at_once=None):
    tile = make_tile(options=options)
    return graft(tile, networks_of(tile), make_data(), at_once or AtOnce()).grafts


@pytest.fixture(scope="module")
def kept():
    return rows_of(GraftOptions(error_blocks=True))


def test_blocks_are_the_first_order_terms_of_the_error(kept):
    """Of errors and variances image by image, from a fit by lstsq."""
    data, tile = make_data(), make_tile()
    nets = networks_of(tile)
    block_N = blocks(len(data.y_test)).numpy()
    row = next(row for row in kept if row["layer"] == 2 and row["target_seed"] == 1)
    layer = nets[1].architecture.layers[1]
    u, z = {}, {}
    for name, x in (("train", data.x_train), ("test", data.x_test)):
        u[name] = numpy_patches(nets[0].prefix(2, x).numpy(), layer.kernel, layer.padding)
        own = nets[1].layer(2, nets[1].prefix(2, x)).numpy().astype(np.float64)
        z[name] = own.reshape(*own.shape[:2], -1).transpose(0, 2, 1)
    one = {name: np.concatenate([part, np.ones((*part.shape[:2], 1))], axis=2) for name, part in u.items()}
    rows, values = one["train"].reshape(-1, one["train"].shape[2]), z["train"].reshape(-1, layer.out)
    weight = np.linalg.lstsq(rows, values, rcond=None)[0]
    error_N = ((one["test"] @ weight - z["test"]) ** 2).sum((1, 2))
    spread_N = ((z["test"] - z["test"].mean((0, 1))) ** 2).sum((1, 2))
    fvu = error_N.sum() / spread_N.sum()
    assert row["fvu_test"] == pytest.approx(fvu, rel=1e-4)
    wanted = np.bincount(block_N, error_N - fvu * spread_N, BLOCKS) / spread_N.sum()
    found = np.frombuffer(row["fvu_by_block"], SHARE)
    assert found == pytest.approx(wanted, abs=1e-4 * np.abs(wanted).max())
    assert found.sum() == pytest.approx(0, abs=1e-6)


def test_nothing_else_depends_on_them_and_without_the_option_there_are_none(kept):
    plain = rows_of(GraftOptions())
    assert [row | {"fvu_by_block": None} for row in kept] == plain
    assert all(row["fvu_by_block"] for row in kept)


def test_they_are_the_same_in_however_many_passes(kept):
    again = rows_of(GraftOptions(error_blocks=True), AtOnce(targets=1))
    for one, other in zip(kept, again, strict=True):
        assert np.frombuffer(one["fvu_by_block"], SHARE) == pytest.approx(
            np.frombuffer(other["fvu_by_block"], SHARE), rel=1e-5, abs=1e-9
        )
