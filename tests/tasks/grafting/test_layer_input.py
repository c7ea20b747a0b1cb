"""Every product of a layer's input against the patches written apart, in both types of products."""

import numpy as np
import pytest
import torch

from espalier.tasks.grafting.layer_input import LayerInput, channel_rows
from espalier.tasks.spec import WIDE, Layer
from tests.tasks.grafting.test_graft import numpy_patches

# One float32 product of 400 rows: 1e-5 relative to the largest entry leaves an order of magnitude.
CASES = [
    (Layer("conv", 5, kernel=kernel, padding=padding), products, tolerance)
    for kernel, padding in ((1, 0), (3, 1), (3, 0), (5, 2))
    for products, tolerance in (("float64", 1e-12), ("float32", 1e-5))
]


def close(found, expected, tolerance):
    assert found.shape == expected.shape
    assert np.abs(found.numpy() - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize(("layer", "products", "tolerance"), CASES)
def test_products_of_a_conv_are_those_of_its_patches(layer, products, tolerance):
    generator = torch.Generator().manual_seed(1)
    h = torch.randn(8, WIDE, 7, 6, generator=generator).relu()
    u = numpy_patches(h.numpy(), layer.kernel, layer.padding)
    outputs = (7 + 2 * layer.padding - layer.kernel + 1, 6 + 2 * layer.padding - layer.kernel + 1)
    u = u.reshape(-1, u.shape[-1])
    z = torch.randn(8, 5, *outputs, generator=generator)
    inputs = LayerInput(layer, h, products)
    assert inputs.rows == len(u)
    close(inputs.sum_D(), u.sum(0), 1e-12)
    close(inputs.gram_DD(), u.T @ u, tolerance)
    close(inputs.cross_CD(z), channel_rows(z).numpy().T @ u, tolerance)
    weight = torch.randn(u.shape[1], 5, generator=generator, dtype=torch.float64)
    bias = torch.randn(5, generator=generator, dtype=torch.float64)
    predicted = inputs.predict(weight, bias)
    assert predicted.shape == z.shape
    close(channel_rows(predicted), u @ weight.numpy() + bias.numpy(), tolerance)


@pytest.mark.parametrize("products", ["float64", "float32"])
def test_a_dense_layer_reads_the_flattened_map_in_float64(products):
    h = torch.randn(9, 2, 3, 3, generator=torch.Generator().manual_seed(2))
    u = h.flatten(1).double().numpy()
    z = torch.randn(9, 4, generator=torch.Generator().manual_seed(3))
    inputs = LayerInput(Layer("dense", 4, activation="none"), h, products)
    assert inputs.rows == 9
    close(inputs.sum_D(), u.sum(0), 1e-12)
    close(inputs.gram_DD(), u.T @ u, 1e-12)
    close(inputs.cross_CD(z), z.double().numpy().T @ u, 1e-12)
