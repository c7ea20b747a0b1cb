"""The kernels' time of a net is that of its layers, as often as training and judging it calls them."""

import pytest

from benchmarks import kernels
from benchmarks.kernels import Kernels, Map, kernel_seconds
from espalier.tasks.data.images import facts
from espalier.tasks.networks.architectures import evaluation_batch, input_shapes
from espalier.tasks.spec import ALONE, COMPILED, TrainMode
from tests.tasks.conftest import make_net

LAST = TrainMode(layout="channels_last")


def test_every_layer_counts_once_a_step_and_once_a_batch_of_evaluation(monkeypatch):
    net, images, epochs = make_net(batch_size=50), facts("digits"), 3
    layers = net.architecture.depth
    steps = epochs * images.train / 50
    batches = (epochs * images.test + images.train) / evaluation_batch(net.architecture)
    monkeypatch.setattr(kernels, "_fastest", lambda work, device: 1.0)
    assert kernel_seconds(Kernels(net, epochs, images), "cpu") == pytest.approx(layers * (steps + batches))
    # a step of four nets together that takes as long as one's is four steps
    together = kernel_seconds(Kernels(net, epochs, images, (1, 4)), "cpu")
    assert together == pytest.approx(layers * (steps / 4 + batches))


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize(("nets", "mode"), [(1, ALONE), (1, LAST), (2, LAST), (1, COMPILED)])
def test_a_step_gives_the_gradients_of_the_parameters_and_of_what_is_read_unless_it_is_the_image(
    nets, mode, image
):
    architecture = make_net(width=32, image=(32, 6, 6)).architecture
    layer, shape = architecture.layers[0], input_shapes(architecture)[0]
    found = Map(layer, shape, nets, mode, "cpu", image).step(4)()
    sizes = [tuple(gradient.shape) for gradient in found]
    expected = [(nets * layer.out, shape[0], 3, 3), (nets * layer.out,)]
    assert sizes == [(4, nets * shape[0], *shape[1:])] * (not image) + expected
