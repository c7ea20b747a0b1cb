"""Data from which nothing can follow is refused; test images that were trained on are counted."""

import numpy as np
import pytest

from espalier.tasks.data.raw_images import DataError, RawImages
from espalier.tasks.data.soundness import refuse_unsound, warnings_about


def raw(**changes):
    x = np.random.default_rng(0).integers(0, 256, (12, 3, 2, 2), dtype=np.uint8)
    parts = {"x_train": x[:8], "y_train": np.arange(8) % 2, "x_test": x[8:], "y_test": np.arange(4) % 2}
    return RawImages(**(parts | changes), split="as told")


def flat(channels, dtype=np.uint8):
    x = np.arange(8 * 3 * 4, dtype=dtype).reshape(8, 3, 2, 2) * 2
    for channel in channels:
        x[:, channel] = 7
    return x


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [(0,), (1, 2), (0, 1, 2)])
def test_a_channel_without_variance_is_refused_by_its_number_and_value(channels, dtype):
    wanted = rf"toy: channel {channels[0] + 1} of 3 is 7 in all pixels of all 8 training images.*: "
    with pytest.raises(DataError, match=wanted):
        refuse_unsound(raw(x_train=flat(channels, dtype)), "toy")


def test_channels_that_differ_between_images_or_positions_alone_are_taken():
    between = np.zeros((8, 3, 2, 2), np.uint8)
    between[3] = 1
    within = np.zeros((8, 3, 2, 2), np.uint8)
    within[..., 0] = 1
    within[3, 0] = 2
    for x in (between, within, flat(())):
        refuse_unsound(raw(x_train=x), "toy")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_images_that_are_all_alike_are_refused_whatever_they_show(dtype):
    one = np.arange(12, dtype=dtype).reshape(1, 3, 2, 2)
    with pytest.raises(DataError, match=r"toy: all 8 training images are alike.*: "):
        refuse_unsound(raw(x_train=one.repeat(8, 0)), "toy")


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (np.zeros(8, np.int64), "label is 0"),
        (np.full(8, 3), "label is 3"),
        (np.full((8, 1), 0.5, np.float32), "target is 0.5"),
    ],
)
def test_one_class_or_one_target_is_refused(labels, found):
    with pytest.raises(DataError, match=f"toy: every {found} in all 8 training images: "):
        refuse_unsound(raw(y_train=labels), "toy")


def test_test_images_that_equal_training_images_are_counted():
    assert warnings_about(raw(), "toy") == []
    whole = raw()
    x_test = np.concatenate([whole.x_test, whole.x_train[:2], whole.x_train[:1]])
    (said,) = warnings_about(raw(x_test=x_test, y_test=np.zeros(7, np.int64)), "toy")
    assert said.startswith("toy: 3 of 7 test images equal training images")


def test_equal_numbers_of_a_regression_are_no_images():
    whole = raw(x_train=flat((), np.float32), x_test=flat((), np.float32))
    assert warnings_about(whole, "toy") == []
