import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from espalier.tasks.data import images
from espalier.tasks.data.images import DataError
from espalier.tasks.data.tensors import Data, load, load_warned, load_with_normalization, measure, normalize

CIFAR_JPEG = Path(__file__).parents[3].parent / "shared" / "data" / "cifar10-jpeg"


def check_standard(data):
    x_train = data.x_train.double()
    assert x_train.mean((0, 2, 3)).tolist() == pytest.approx([0.0] * x_train.shape[1], abs=1e-5)
    assert x_train.std((0, 2, 3), correction=0).tolist() == pytest.approx([1.0] * x_train.shape[1], abs=1e-5)


@pytest.mark.parametrize(
    ("dataset", "train", "test", "side"), [("digits", 1437, 360, 8), ("mnist5k", 4000, 1000, 28)]
)
def test_load_gives_four_normalised_tensors(dataset, train, test, side):
    data = load(dataset)
    x_train, y_train, x_test, y_test = data
    assert x_train.shape == (train, 1, side, side)
    assert x_test.shape == (test, 1, side, side)
    assert (y_train.shape, y_test.shape) == ((train,), (test,))
    assert (x_train.dtype, x_test.dtype) == (torch.float32, torch.float32)
    assert (y_train.dtype, y_test.dtype) == (torch.int64, torch.int64)
    assert all(tensor.is_contiguous() for tensor in data)
    check_standard(data)


def test_test_images_are_normalised_with_the_statistics_of_train():
    data, normalization = load_with_normalization("digits")
    raw = images.read("digits")
    (mean,), (std,) = normalization.mean, normalization.std
    assert mean == pytest.approx(raw.x_train.mean(dtype=np.float64), rel=1e-14)
    assert std == pytest.approx(raw.x_train.std(dtype=np.float64), rel=1e-13)
    assert torch.equal(
        (data.x_test.double() * std + mean).round().to(torch.uint8), torch.from_numpy(raw.x_test)
    )
    assert abs(data.x_test.mean().item()) > 1e-4  # its own statistics differ


def test_a_limited_set_is_normalised_by_the_images_it_keeps():
    data, normalization = load_with_normalization("digits", limit_train=100, limit_test=30)
    assert (len(data.x_train), len(data.x_test)) == (100, 30)
    check_standard(data)
    assert normalization != load_with_normalization("digits")[1]
    assert normalization == load_with_normalization("digits", limit_train=100)[1]


def test_loading_twice_gives_the_same_bits():
    first, second = load("digits", limit_train=200), load("digits", limit_train=200)
    assert isinstance(first, Data)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_the_cache_holds_one_copy_of_each_of_two_sets():
    load_warned.cache_clear()
    data = load_warned("digits", 100, 50).data
    assert load_warned("digits", 100, 50).data is data
    assert torch.equal(data.x_train, load("digits", limit_train=100).x_train)
    for limit in (20, 30):
        load_warned("digits", limit, limit)
    assert load_warned.cache_info().currsize == 2
    load_warned.cache_clear()


def test_statistics_of_channels_by_hand():
    x_NCHW = np.array([[[[0, 2]], [[7, 7]]], [[[2, 4]], [[7, 7]]]], np.uint8)
    normalization = measure(x_NCHW)
    assert normalization.mean == (2.0, 7.0)
    assert normalization.std == (2**0.5, 1.0)  # the second channel is constant
    expected = torch.tensor([[[[-(2**0.5), 0]], [[0, 0]]], [[[0, 2**0.5]], [[0, 0]]]])
    torch.testing.assert_close(normalize(x_NCHW, normalization), expected)


def test_the_order_of_the_images_does_not_move_a_bit_of_the_statistics():
    rng = np.random.default_rng(0)
    x_NCHW = rng.integers(0, 256, (1500, 3, 4, 4), dtype=np.uint8)  # more than one chunk
    assert measure(x_NCHW) == measure(rng.permutation(x_NCHW))
    assert measure(x_NCHW).mean == pytest.approx(x_NCHW.mean((0, 2, 3)), rel=1e-14)
    assert measure(x_NCHW).std == pytest.approx(x_NCHW.std((0, 2, 3)), rel=1e-13)


def test_colour_parquet_is_normalised_channel_by_channel(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), dtype=np.uint8)
    contents = []
    for image in pixels:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="PNG")
        contents.append({"bytes": buffer.getvalue(), "path": None})
    table = pa.table({"img": contents, "label": [0, 1] * 4})
    for split in ("train", "test"):
        pq.write_table(table, tmp_path / f"{split}.parquet")
    data, normalization = load_with_normalization(f"parquet:{tmp_path.name}", folder=tmp_path.parent)
    check_standard(data)
    assert normalization.mean == pytest.approx(pixels.mean((0, 1, 2)))


def test_errors_of_the_images_come_through():
    with pytest.raises(DataError, match="limit_train on digits"):
        load("digits", limit_train=3)


@pytest.mark.slow
@pytest.mark.skipif(not CIFAR_JPEG.is_dir(), reason=f"{CIFAR_JPEG} is not on this machine")
def test_the_whole_of_cifar10_as_parquet():
    data, normalization = load_with_normalization(f"parquet:{CIFAR_JPEG}")
    assert data.x_train.shape == (50000, 3, 32, 32)
    assert data.y_test.bincount().tolist() == [1000] * 10
    assert normalization.mean == pytest.approx([125.3, 123.0, 113.9], abs=0.2)  # the known ones, before JPEG
    assert normalization.std == pytest.approx([63.0, 62.1, 66.7], abs=1.0)
    check_standard(data)
