"""Everything that a fit adds up stays where its images lie, checked without a GPU.

Tensors of PyTorch's device `meta` have a shape and a device, and no numbers: a sum that began on the CPU,
say, is still there after they were added to it.
"""

import pytest
import torch

from espalier.tasks.grafting.gram import ChannelMoments, PatchMoments
from espalier.tasks.grafting.lag_gram import LagSums
from espalier.tasks.grafting.layer_input import LayerInput
from espalier.tasks.mixing.activation_matching import correlations
from espalier.tasks.mixing.channels import Channels, Moments
from espalier.tasks.mixing.hybrid import unexplained
from espalier.tasks.mixing.hybrid_fit import Hybrid, Parents
from espalier.tasks.mixing.linear_path import between
from espalier.tasks.mixing.mixture import channels_of_a, mixed_norms
from espalier.tasks.mixing.repair import output_scales, reordered_scales, repaired
from espalier.tasks.networks.network import Network, free_streams, initialise, reordered
from espalier.tasks.spec import WIDE, Layer
from espalier.tasks.worker.devices import NoDevice, on, use
from tests.tasks.conftest import make_net
from tests.tasks.families import ARCHITECTURES, family_net
from tests.tasks.mixing.test_exchangeability import pool_tile

DEVICE = "meta"


def there(*shape, dtype=torch.float32):
    return torch.empty(shape, device=DEVICE, dtype=dtype)


def network_there(net):
    parameters = {name: there(*value.shape) for name, value in initialise(net).parameters.items()}
    return Network(net.architecture, parameters)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_net_goes_forward_where_its_images_lie(name):
    network = network_there(family_net(name))
    features = list(network.features(there(4, *ARCHITECTURES[name].input)))
    assert {entry.z.device.type for entry in features} == {DEVICE}
    entry = features[1]
    for _, z in network.suffix(entry.layer, entry.z, entry.shortcuts):
        assert z.device.type == DEVICE


@pytest.mark.parametrize("channels", [3, WIDE])
@pytest.mark.parametrize(
    "layer", [Layer("conv", 5, 3, 1), Layer("conv", 5, 3, 1, stride=2), Layer("dense", 5)]
)
def test_the_products_of_a_fit_stay_where_its_images_lie(layer, channels):
    inputs = LayerInput(layer, there(2, channels, 6, 6), "float32")
    dim = channels * (36 if layer.kind == "dense" else 9)
    predicted = inputs.predict(there(dim, 5, dtype=torch.float64), there(5, dtype=torch.float64))
    moments, output = PatchMoments(dim), ChannelMoments(5)
    moments.add(inputs)
    moments.add(inputs)
    output.add(predicted.float())
    for tensor in (
        predicted,
        inputs.cross_CD(predicted.float()),
        moments.gram_DD,
        moments.sum_D,
        output.sum_C,
    ):
        assert tensor.device.type == DEVICE


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_sums_by_lag_stay_where_their_maps_lie(kernel):
    sums = LagSums(kernel, kernel // 2)
    sums.add(there(2, 4, 7, 5))
    assert sums.gram_DD().device.type == DEVICE


def test_a_narrow_net_is_a_net_too():
    network = network_there(make_net())
    assert network.logits(there(4, 2, 6, 6)).device.type == DEVICE


@pytest.mark.parametrize("null", ["pooled", "wider_subset"])
def test_the_sums_of_pools_stay_where_their_images_lie(null):
    tile = pool_tile(null)
    networks = [network_there(snapshot.net) for snapshot in tile.snapshots]
    channels = Channels(tile, networks)
    moments = Moments(channels, channels.cuts[0].arms)
    for _, layers in channels.batches(there(40, *networks[0].architecture.input)):
        moments.add(layers)
        moments.add(layers)
    cross, patches = next(iter(moments.crosses.values())), next(iter(moments.patches.values()))
    group_c = channels.of(tile.pools[0].sources[:1], channels.cuts[0].layer - 1)
    chosen = patches.select(channels.dims(channels.cuts[0].arms[0], group_c))
    assert {cross.device.type, patches.sum_D.device.type, chosen.gram_DD.device.type} == {DEVICE}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_mixture_of_two_nets_stays_where_they_lie(name):
    network = network_there(family_net(name))
    of_a = channels_of_a(network.architecture, 0.5, "a", "b")
    for value in mixed_norms(network, network, of_a).values():
        assert value.device.type == DEVICE
    with pytest.raises(RuntimeError, match="meta"):  # the numbers are asked for at the very end
        unexplained(Parents(network, network), [Hybrid(of_a, network)], there(4, *network.architecture.input))


@pytest.mark.parametrize("name", ["vgg16-bn", "resnet20", "dense"])
@torch.no_grad()
def test_what_lies_between_two_nets_stays_where_they_lie(name):
    network, x = network_there(family_net(name)), there(4, *ARCHITECTURES[name].input)
    orders = {number: torch.arange(count) for number, count in free_streams(network.architecture).items()}
    moved = reordered(network, orders)
    scales = reordered_scales(network.architecture, output_scales(network, x), orders)
    set_right = repaired(between(network, moved, 0.5), scales, x)
    (found,) = correlations([network, moved], [(0, 1)], x).values()
    assert {value.device.type for value in (*set_right.parameters.values(), *found.values())} == {DEVICE}


def test_a_network_moves_whole():
    moved = on(initialise(make_net()), DEVICE)
    assert {value.device.type for value in moved.parameters.values()} == {DEVICE}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told_at_once():
    with pytest.raises(NoDevice, match="finds no GPU in this process; use device 'cpu'"):
        use("cuda")
