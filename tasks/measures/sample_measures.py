"""Measures that compare images: `cka`, `cka_channels` and `rsa` (docs/method.md, section 6).

Legend: N images, S nets (K of them sound), n permutations.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from espalier.tasks.measures.debiased_hsic import (
    cka_of,
    hsic_of_centred,
    hsic_of_channels,
    hsic_of_features,
    u_centred,
    u_centred_coarse,
)
from espalier.tasks.measures.found import Found, name_in, nothing
from espalier.tasks.measures.layer_matrices import LayerMatrices
from espalier.tasks.measures.permuted_forms import permuted_forms
from espalier.tasks.measures.sample_kernels import own_hsic

NO_SPREAD = "the images of {} are not told apart (its product with itself is not positive)"

ONE_CHANNEL = "{} has 1 channel"
NOTHING_SHARED = "what different channels of {} share is not positive"


def cka(layer: LayerMatrices) -> Found:
    """Debiased linear CKA with images as samples (Song 2012; Kornblith 2019; Nguyen 2021).

    The ratio of `HSIC_1`: 0 on average for independent nets at any width, 1 for a net and itself or any
    orthogonal map of it. `extra` has `corrected`: HSIC of a net with itself leaves out what each channel
    has with itself and counts the other pairs for all (Chun et al. 2025, arXiv 2502.15104). Without
    it, nets of few channels that are drawn from one population fall short of that population's CKA.
    """
    if not layer.sound:
        return nothing("similarity", "images", layer.nets)
    forms = [u_centred(kernel_NN) for kernel_NN in layer.kernels]
    hsic_KK, count = hsic_of_centred(forms).cpu(), layer.images
    found = _with_null(layer, hsic_KK, permuted_forms(forms, layer.orders).cpu() / (count * (count - 3)))
    own = [own_hsic(layer.rows[net] / layer.unit(net), layer.type_of(net)) for net in layer.sound]
    _correct(layer, found, hsic_KK, torch.stack(own).cpu())
    return found


def cka_channels(layer: LayerMatrices) -> Found:
    """Debiased linear CKA with (image, position) as samples, one position of every image in each draw.

    Positions of one image are not independent, so a draw takes one random position of each (the same for
    all nets, and for all images of a group within which the null permutes them). `HSIC_1` is averaged over
    8 draws before the ratio. `extra` as for `cka`.
    """
    if not layer.sound:
        return nothing("similarity", "images", layer.nets)
    draws, orders = range(len(layer.draws)), layer.drawn_orders
    hsic_KK = torch.zeros(len(layer.sound), len(layer.sound), dtype=torch.float64)
    own_K = torch.zeros(len(layer.sound), dtype=torch.float64)
    null_nKK = torch.zeros(len(orders.chosen_n2), *hsic_KK.shape, dtype=torch.float64)
    for draw in draws:
        rows = [layer.drawn(net, draw) for net in layer.sound]
        centred = [net - net.mean(0) for net in rows]
        forms = [u_centred_coarse(net @ net.T) for net in centred]
        hsic_KK += hsic_of_features(rows).cpu() / len(draws)
        own_K += torch.stack([hsic_of_channels(net).sum() for net in rows]).cpu() / len(draws)
        null_nKK += permuted_forms(forms, orders).cpu() / len(draws)
    found = _with_null(layer, hsic_KK, null_nKK / (orders.images * (orders.images - 3)))
    _correct(layer, found, hsic_KK, own_K)
    return found


def rsa(layer: LayerMatrices) -> Found:
    """Spearman correlation of the two nets' distances between images (Kriegeskorte 2008).

    Distances are Euclidean, of flattened maps; equal ones share their mean rank.
    """
    if not layer.sound:
        return nothing("similarity", "images", layer.nets)
    forms = [distance_ranks(kernel_NN) for kernel_NN in layer.kernels]
    flat = torch.stack([form.flatten() for form in forms])
    return _with_null(layer, (flat @ flat.T).cpu(), permuted_forms(forms, layer.orders).cpu())


def distance_ranks(kernel_NN: Tensor) -> Tensor:
    """Ranks of the distances of a kernel's samples, centred and of length 1 over the matrix (N, N).

    The product of two, summed, is Spearman's correlation of the upper triangles. All 0 where all distances
    are equal.
    """
    kernel = kernel_NN.double()
    count = len(kernel)
    square = kernel.diagonal()[:, None] + kernel.diagonal() - 2 * kernel
    upper = torch.triu_indices(count, count, 1)
    distances = square[upper[0], upper[1]].cpu().numpy()
    ranks = torch.from_numpy(mean_ranks(distances)).to(kernel.device)
    centred = ranks - ranks.mean()
    length = (2 * centred.square().sum()).sqrt()
    form = torch.zeros_like(kernel)
    form[upper[0], upper[1]] = centred / length if length > 0 else 0.0
    return form + form.T


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 of numbers (n,); equal ones share their mean rank, as `scipy.stats.rankdata` gives.

    SciPy's sort keeps the order of equal numbers, which the mean rank does not need, and takes six times as
    long.
    """
    order = np.argsort(values)
    ordered = values[order]
    changes, ranks = ordered[1:] != ordered[:-1], np.empty(len(values))
    if changes.all():
        ranks[order] = np.arange(1, 1 + len(values))
        return ranks
    starts = np.flatnonzero(np.concatenate([[True], changes]))
    ends = np.append(starts[1:], len(values))
    ranks[order] = np.repeat((starts + 1 + ends) / 2, ends - starts)
    return ranks


def _with_null(layer: LayerMatrices, product_KK: Tensor, null_nKK: Tensor) -> Found:
    """Ratios of products to those of the nets with themselves, and the same of permuted ones."""
    found = nothing("similarity", "images", layer.nets, best=1.0)
    own_K = product_KK.diagonal()
    value_KK = cka_of(product_KK)
    place = {net: number for number, net in enumerate(layer.sound)}
    for left, right in [*layer.selves, *layer.pairs]:
        x, y = place[left], place[right]
        net = next((net for net in (left, right) if not own_K[place[net]] > 0), None)
        if net is not None:
            found.reasons[left, right] = NO_SPREAD.format(name_in((left, right), net))
            continue
        found.put(left, right, value_KK[x, y].item())
        if left != right:
            found.nulls[left, right] = null_nKK[:, x, y] / (own_K[x] * own_K[y]).sqrt()
    return found


def _correct(layer: LayerMatrices, found: Found, hsic_KK: Tensor, own_K: Tensor) -> None:
    """Put `corrected` among the further values, or why there is none; it needs two channels or more."""
    count_K = torch.tensor([layer.gram.channels[net] for net in layer.sound], dtype=torch.float64)
    others_K = (hsic_KK.diagonal() - own_K) * count_K / (count_K - 1)
    others_K = others_K.where((count_K > 1) & (others_K > 0), torch.nan)
    corrected_SS = torch.full_like(found.value_SS, torch.nan)
    place = torch.tensor(layer.sound, dtype=torch.long)
    corrected_SS[place[:, None], place] = hsic_KK / torch.outer(others_K, others_K).sqrt()
    found.extra["corrected"] = corrected_SS
    known = dict(zip(layer.sound, others_K.isfinite().tolist(), strict=True))
    for pair in layer.pairs:
        net = next((net for net in pair if not known[net]), None)
        if net is not None and pair not in found.reasons:
            why = ONE_CHANNEL if layer.gram.channels[net] == 1 else NOTHING_SHARED
            found.notes[pair] = f"not corrected: {why.format(name_in(pair, net))}"
