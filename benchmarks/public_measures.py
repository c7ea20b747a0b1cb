"""Measures of two nets' layers by public implementations, one pair at a time, with the nulls that rows have.

What a user would do once for a pair (a matrix of distances, directions, centred rows) is done once for all of
its permutations. Features are given, in float32: making them is not counted.

Legend: N images, P positions, C channels, M rows (images x positions); n permutations.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial import procrustes
from torch import Tensor

from espalier.tasks.measures.layer_matrices import LayerMatrices
from espalier.tasks.measures.sliced_distance import projections

Array = np.ndarray[Any, Any]
Null = Callable[[int], object]


class Public(NamedTuple):
    """How a measure is made elsewhere.

    Attributes:
        package: What is installed.
        call: What is called, in words.
        null: From a layer of two nets to a function of n that gives the value and n permuted ones.
    """

    package: str
    call: str
    null: Callable[[LayerMatrices], Null]

    def installed(self) -> str | None:
        """The package's version, or None."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return None


def _cka(layer: LayerMatrices) -> Null:
    calibrate = import_module("calibrated_similarity").calibrate
    x, y = (rows.flatten(1) for rows in layer.rows)
    return lambda count: calibrate(x, y, debiased_cka, K=count)


def debiased_cka(x_NF: Tensor, y_NF: Tensor) -> Tensor:
    """The similarity that the package is given: it has none of its own."""
    centred = []
    for values in (x_NF, y_NF):
        kernel_NN = values @ values.T
        kernel_NN.fill_diagonal_(0.0)
        count, row_N = len(kernel_NN), kernel_NN.sum(0)
        kernel_NN -= (row_N[:, None] + row_N) / (count - 2) - row_N.sum() / ((count - 1) * (count - 2))
        centred.append(kernel_NN.fill_diagonal_(0.0))
    k, m = centred
    return (k * m).sum() / (k.norm() * m.norm())


def _rsa(layer: LayerMatrices) -> Null:
    rsatoolbox = import_module("rsatoolbox")

    def distances(rows_NPC: Tensor) -> Any:
        return rsatoolbox.rdm.calc_rdm(
            rsatoolbox.data.Dataset(rows_NPC.flatten(1).numpy()), method="euclidean"
        )

    def values(count: int) -> None:
        one, other = map(distances, layer.rows)
        for _ in range(1 + count):  # to permute the distances is not counted
            rsatoolbox.rdm.compare_spearman(one, other)

    return values


def _energy(layer: LayerMatrices) -> Null:
    return _by_hyppo(layer, "Energy")


def _mmd(layer: LayerMatrices) -> Null:
    return _by_hyppo(layer, "MMD")


def _by_hyppo(layer: LayerMatrices, name: str) -> Null:
    test = getattr(import_module("hyppo.ksample"), name)()
    x, y = _points(layer)

    def values(count: int) -> None:
        with warnings.catch_warnings(action="ignore"):  # of few permutations
            test.test(x, y, reps=count, auto=False)

    return values


def _points(layer: LayerMatrices) -> list[Array]:
    """Channels as points (C, M)."""
    return [np.ascontiguousarray(rows.flatten(0, 1).T.numpy()) for rows in layer.rows]


def _sliced(layer: LayerMatrices) -> Null:
    ot = import_module("ot")
    both_BD = projections(layer.gram.pair(0, 1)).numpy()
    count_x = layer.gram.channels[0]
    generator = np.random.default_rng(0)

    def values(count: int) -> None:
        for _ in range(1 + count):
            order = generator.permutation(len(both_BD))
            ot.wasserstein_1d(both_BD[order[:count_x]], both_BD[order[count_x:]], p=2)

    return values


def _match(layer: LayerMatrices) -> Null:
    generator = np.random.default_rng(0)

    def values(count: int) -> None:
        x_NPC, y_NPC = (_standardised(rows) for rows in layer.rows)
        for _ in range(1 + count):
            y_MC = y_NPC[generator.permutation(len(y_NPC))].reshape(-1, y_NPC.shape[2])
            correlation_CC = x_NPC.reshape(len(y_MC), -1).T @ y_MC
            correlation_CC[linear_sum_assignment(correlation_CC, maximize=True)].mean()

    return values


def _standardised(rows_NPC: Tensor) -> Array:
    centred = rows_NPC - rows_NPC.mean((0, 1))
    return (centred / centred.norm(dim=(0, 1)).clamp_min(1e-12)).numpy()


def _procrustes(layer: LayerMatrices) -> Null:
    generator = np.random.default_rng(0)
    x_NPC, y_NPC = (rows.numpy() for rows in layer.rows)

    def values(count: int) -> None:
        for _ in range(1 + count):
            y_MC = y_NPC[generator.permutation(len(y_NPC))].reshape(-1, y_NPC.shape[2])
            procrustes(x_NPC.reshape(len(y_MC), -1), y_MC)

    return values


PUBLIC = {
    "cka": Public("calibrated-similarity", "calibrate, of debiased CKA written in PyTorch", _cka),
    "rsa": Public("rsatoolbox", "calc_rdm, compare_spearman", _rsa),
    "procrustes": Public("scipy", "spatial.procrustes", _procrustes),
    "match": Public("scipy", "optimize.linear_sum_assignment of a product by NumPy", _match),
    "energy": Public("hyppo", "ksample.Energy", _energy),
    "mmd": Public("hyppo", "ksample.MMD, one bandwidth instead of five", _mmd),
    "sliced_w2": Public("POT", "wasserstein_1d of given projections", _sliced),
}
"""By measure the implementation that it is compared with; the others have none with their definition."""


@torch.no_grad()
def pair_seconds(null: Null, permutations: int, few: tuple[int, int], clock: Callable[[], float]) -> float:
    """Time of one pair with all permutations, from the times of two smaller numbers of them."""
    times = []
    for count in few:
        start = clock()
        null(count)
        times.append(clock() - start)
    each = max(0.0, (times[1] - times[0]) / (few[1] - few[0]))
    return times[0] + each * (permutations - few[0])
