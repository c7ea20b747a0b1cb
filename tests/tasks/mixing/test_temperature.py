"""The temperature chosen anew against a grid, and what it must undo."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from espalier.tasks.mixing.temperature import best_inverse_temperature, tempered_loss
from espalier.tasks.seeds import stream


def drawn(images=400, classes=5, signal=1.0):
    generator = stream("temperature", images, classes)
    labels = torch.randint(classes, (images,), generator=generator)
    noise = torch.randn(images, classes, generator=generator)
    return noise + signal * F.one_hot(labels, classes), labels


@pytest.mark.parametrize("factor", [1e-3, 0.5, 40.0])
def test_a_factor_of_all_logits_and_a_shift_of_each_image_are_undone(factor):
    logits, labels = drawn()
    logits = logits.double()
    b = best_inverse_temperature(logits, labels)
    moved = factor * logits + torch.randn(len(logits), 1, generator=stream("shift"), dtype=torch.float64)
    assert best_inverse_temperature(moved, labels) * factor == pytest.approx(b, rel=1e-9)
    assert tempered_loss(moved, labels, b / factor) == pytest.approx(
        tempered_loss(logits, labels, b), rel=1e-9
    )


def test_it_minimises_the_smoothed_loss_on_a_fine_grid():
    logits, labels = drawn()
    smoothing = 1 / (len(labels) + 1)

    def loss(b):
        return F.cross_entropy(b * logits.double(), labels, label_smoothing=smoothing).item()

    b = best_inverse_temperature(logits, labels)
    assert loss(b) <= min(loss(one) for one in np.linspace(0.0, 3.0, 301))
    assert 0.3 < b < 3.0


def test_logits_of_true_probabilities_keep_their_temperature():
    logits = 2 * torch.randn(40_000, 4, generator=stream("true"))
    labels = torch.multinomial(logits.softmax(1), 1, generator=stream("labels"))[:, 0]
    assert best_inverse_temperature(logits, labels) == pytest.approx(1.0, abs=0.03)


def test_images_that_are_all_right_leave_it_finite_and_as_sure_as_their_number_allows():
    labels = torch.arange(4).repeat(250)
    logits = F.one_hot(labels, 4).float()
    b = best_inverse_temperature(logits, labels)
    # The share that is smoothed away is what a softmax of these logits leaves to the wrong classes.
    left = 1 - (b * logits).softmax(1)[0, 0].item()
    assert left == pytest.approx(3 / 4 / 1001, rel=1e-3)


def test_what_has_no_temperature():
    logits, labels = drawn(signal=0.0)
    assert best_inverse_temperature(-F.one_hot(labels, 5).float(), labels) == 0.0
    assert best_inverse_temperature(torch.ones_like(logits), labels) == 1.0
    assert np.isnan(best_inverse_temperature(logits * float("nan"), labels))
