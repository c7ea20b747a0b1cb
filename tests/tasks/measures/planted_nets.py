"""Small nets' features whose relations are known, for the tests of measures."""

import torch

from espalier.tasks.measures.layer_matrices import LayerMatrices


def noise(*shape, seed=0):
    """Standard normal numbers in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer_of(*features, permutations=19, products="float64", batch=7):
    """The layer of nets with these features (N, C, H, W) or (N, C), added in batches of images."""
    layer = LayerMatrices([h.shape[1] for h in features], permutations, products)
    for parts in zip(*(h.split(batch) for h in features), strict=True):
        layer.add(parts)
    return layer


def mixed(features, map_CC, shift=0.0):
    """Features (N, C, H, W) with each position's channels mapped by a matrix, and shifted."""
    return torch.einsum("nchw,cd->ndhw", features, map_CC) + shift


def turned(channels, seed=9):
    """A random orthogonal matrix."""
    return torch.linalg.qr(noise(channels, channels, seed=seed)).Q
