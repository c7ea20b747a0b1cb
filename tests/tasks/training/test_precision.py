"""Training in lower precision: what it changes, and what stays float32."""

import pytest
import torch

from espalier.tasks.spec import TrainMode, TrainSegment
from espalier.tasks.training.precision import tf32
from espalier.tasks.training.train import initial_state, train
from tests.tasks.conftest import make_data, make_net, make_snapshot
from tests.tasks.data.test_augment import with_recipe


def trained(precision, mode=None, epochs=2):
    net = with_recipe(make_net(), precision=precision)
    segment = TrainSegment(make_snapshot(net, epochs), None, keep_state=True)
    return train(segment, initial_state(net), make_data(), mode or TrainMode())


@pytest.mark.parametrize("grouped", [False, True])
def test_bfloat16_training_is_float32_training_to_two_digits(grouped):
    full, half = (trained(precision, TrainMode(grouped), epochs=1) for precision in ("float32", "bf16"))
    for name, value in half.state.parameters.items():
        assert value.dtype == torch.float32
        # Products have 8 bits, 0.4 %, and a few steps add up.
        wanted = full.state.parameters[name]
        moved = wanted - initial_state(with_recipe(make_net())).parameters[name]
        assert (value - wanted).norm() < 0.15 * moved.norm(), name
    assert half.net_row["loss_train"] == pytest.approx(full.net_row["loss_train"], rel=0.02)
    assert half.net_row["loss_train"] != full.net_row["loss_train"]


def test_tf32_is_switched_on_for_the_training_alone():
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with tf32("tf32"):
        assert torch.backends.cudnn.allow_tf32
        assert torch.backends.cuda.matmul.allow_tf32
    with tf32("float32"):
        assert not torch.backends.cudnn.allow_tf32
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before


def test_on_a_cpu_tf32_changes_no_bit():
    for name, value in trained("tf32").state.parameters.items():
        assert torch.equal(value, trained("float32").state.parameters[name])
