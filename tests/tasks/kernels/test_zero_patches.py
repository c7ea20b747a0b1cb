"""Of a patch of zeros a conv is exactly its bias, as PyTorch's is: a ReLU of it decides as PyTorch's."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from espalier.tasks.data.tensors import Data
from espalier.tasks.kernels import winograd
from espalier.tasks.kernels.compiled_network import compiled
from espalier.tasks.networks.architectures import is_trained
from espalier.tasks.networks.batch_norm import Training
from espalier.tasks.networks.families.conv import conv
from espalier.tasks.networks.families.vgg import vgg
from espalier.tasks.networks.network import Network, initialise
from espalier.tasks.spec import COMPILED, TrainMode, TrainSegment
from espalier.tasks.training.train import initial_state, train_group
from tests.tasks.conftest import make_net, make_snapshot
from tests.tasks.kernels.test_winograd import close, plain, with_gradients


def content(*shape, seed=3):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def bordered(shape, inside=3):
    """A square of numbers in each image, at another place in each; zeros around it, of either sign."""
    h = torch.zeros(shape)
    for number, image in enumerate(h):
        y, x = (number * step % max(1, side - inside + 1) for step, side in ((1, shape[2]), (2, shape[3])))
        image[:, y : y + inside, x : x + inside] = content(shape[1], inside, inside)[
            :, : shape[2] - y, : shape[3] - x
        ]
    h[1::2] = torch.where(h[1::2] == 0, -0.0, h[1::2])
    return h


def one_channel(shape):
    """Pixels far from one another, of a single channel each."""
    h = torch.zeros(shape)
    for number, image in enumerate(h):
        image[(5 * number) % shape[1], number % shape[2], (3 * number) % shape[3]] = 1.0 + number
    return h


def columns(shape):
    """Every fifth column, and nothing at all in the first image."""
    h = content(*shape)
    h[..., [x for x in range(shape[3]) if x % 5 != 2]] = 0.0
    h[0] = 0.0
    return h


def negative(shape):
    """Numbers that a ReLU takes away, around some that it does not."""
    h = -content(*shape).abs() - 0.1
    h[:, :, :2, :2] *= -1.0
    return h


def constant(shape):
    """One number for each channel, in half of the images up to a column, beyond which there are zeros."""
    h = content(1, shape[1], 1, 1).expand(shape).clone()
    h[::2, :, :, shape[3] // 2 :] = 0.0
    return h


FULL_OF_ZEROS = (bordered, one_channel, columns, negative, constant, torch.zeros)


@pytest.mark.parametrize("offset", [0.0, 0.3], ids=["no-bias", "bias"])
@pytest.mark.parametrize("size", [(28, 28), (14, 9), (2, 7), (6, 250)], ids=str)
@pytest.mark.parametrize("made", FULL_OF_ZEROS)
def test_of_a_patch_of_zeros_z_is_the_bias_exactly(made, size, offset):
    """With 48 channels written and 32 read, of more tiles than are in work at once, and of fewer."""
    images, rectified = (2 if size[1] > 28 else 5), made is negative
    h = made((images, 32, *size))
    weight, bias = content(48, 32, 3, 3) / 17, offset * content(48, seed=4)
    seen = (h.relu() if rectified else h).abs().amax(1, keepdim=True)
    nothing = (F.max_pool2d(seen, 3, 1, 1) == 0).expand(-1, 48, -1, -1)
    z = winograd.conv(h, weight, bias, rectified=rectified)
    assert nothing.any()
    assert torch.equal(z[nothing], bias[None, :, None, None].expand_as(z)[nothing])
    assert close(z, plain(rectified, False)(h.double(), weight.double(), bias.double()))


@pytest.mark.parametrize("rectified", [False, True], ids=["", "rectified"])
@pytest.mark.parametrize("offset", [0.0, 0.3], ids=["no-bias", "bias"])
@pytest.mark.parametrize("made", FULL_OF_ZEROS)
def test_pooled_gradients_are_pytorchs_where_there_are_zeros(made, offset, rectified):
    """Where numbers of a square are equal but for rounding any may win: of weights that changes nothing."""
    h = made((5, 16, 14, 14))
    weight, bias = content(32, 16, 3, 3) / 12, offset * content(32, seed=4)
    g = content(5, 32, 7, 7, seed=5)
    wide = [value.double() for value in (h, weight, bias)]
    expected = with_gradients(plain(rectified, True), wide, g)
    found = with_gradients(
        lambda *leaves: winograd.conv(*leaves, rectified=rectified, pooled=True), (h, weight, bias), g
    )
    ties = made is constant
    for name, mine, theirs in zip(("z", "h", "weight", "bias"), found, expected, strict=True):
        if not (ties and name == "h"):
            assert (mine - theirs).norm() <= 1e-5 * theirs.norm(), name


def test_taps_that_read_the_border_alone_have_no_gradient_as_in_pytorch():
    """Adam would make whole steps of rounding."""
    for size, outside in (((1, 1), [0, 1, 2, 3, 5, 6, 7, 8]), ((1, 5), [0, 1, 2, 6, 7, 8])):
        h, weight, bias = content(3, 32, *size), content(16, 32, 3, 3), torch.zeros(16)
        _, _, g_weight, _ = with_gradients(winograd.conv, (h, weight, bias), content(3, 16, *size))
        assert not g_weight.flatten(2)[:, :, outside].any()
        assert g_weight.any()


def crops(count, channels=1, side=20, inside=9):
    """Images on a black ground."""
    x = bordered((count, channels, side, side), inside)
    return x.abs(), torch.arange(count) % 5


def on_grey(count, channels=1, side=20):
    """The same on a ground of one shade."""
    x, y = crops(count, channels, side)
    return torch.where(x == 0, -0.42, x), y


NETS = {
    "conv": (conv([1, 1, "pool", 2, 2, "pool"], 16, (1, 20, 20), 5), 20),
    "conv-bn": (conv([1, "pool", 2, 2], 16, (1, 20, 20), 5, batch_norm=True), 20),
    "vgg16": (vgg("vgg16", 16, (1, 32, 32), 5), 32),
}


def gradients(network, x, y):
    leaves = {name: v.requires_grad_() for name, v in network.parameters.items() if is_trained(name)}
    logits = network.logits(x.to(next(iter(leaves.values())).dtype))
    return dict(zip(leaves, torch.autograd.grad(F.cross_entropy(logits, y), leaves.values()), strict=True))


@pytest.mark.parametrize("images", [crops, on_grey])
@pytest.mark.parametrize("name", NETS)
def test_the_first_steps_gradients_are_pytorchs(name, images):
    """Zero borders, zero biases. Of each tensor, biases above all, to 1e-5 of its norm."""
    architecture, side = NETS[name]
    start = initialise(replace(make_net(), architecture=architecture)).parameters
    x, y = images(16, side=side)

    def of(dtype, wrap):
        parameters = {key: value.detach().clone().to(dtype) for key, value in start.items()}
        return gradients(wrap(Network(architecture, parameters, Training(0))), x, y)

    expected, found = of(torch.float64, lambda net: net), of(torch.float32, compiled)
    theirs = of(torch.float32, lambda net: net)
    for key, exact in expected.items():
        off, usual = ((some[key] - exact).norm() / exact.norm() for some in (found, theirs))
        if exact.norm() > 1e-9:  # a bias before BN has none
            assert off <= max(1e-5, 2 * usual), (key, off, usual)


def test_three_epochs_stay_close_to_pytorchs():
    net = replace(make_net(lr=0.05), architecture=NETS["conv"][0])
    x, y = crops(48)
    data = Data(x, y, x[:16], y[:16])
    ends = []
    for mode in (TrainMode(False, "channels_last"), COMPILED):
        segment = TrainSegment(make_snapshot(net, 3), None, keep_state=True)
        (trained,) = train_group([segment], [initial_state(net)], data, mode)
        ends.append(trained.state.parameters)
    for key, theirs in ends[0].items():
        assert (ends[1][key] - theirs).norm() <= 1e-4 * theirs.norm(), key
