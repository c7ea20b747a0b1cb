"""Hybrid nets as rows: accuracy against the share p of net A's channels (docs/method.md, section 2).

At each hidden layer a share p of the channels is A's and the rest B's. A new net is fitted to that mixture
layer by layer, each layer reading the hybrid's own layer below; then its classifier is fitted anew. Gu et
al. 2020 match what follows the ReLU, by gradient descent. Before it the map is linear, so that the fit is
exact; and where z matches, so does what follows from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from espalier.tasks.data.tensors import Data
from espalier.tasks.grafting.fvu import fraction_unexplained
from espalier.tasks.grafting.gram import ChannelMoments, add_to, channel_sums
from espalier.tasks.grafting.tile_nets import given
from espalier.tasks.grafting.tile_parts import groups
from espalier.tasks.mixing.classifier import refit
from espalier.tasks.mixing.hybrid_fit import Hybrid, Parents, fit_hidden, maps_at, mixture, unfitted
from espalier.tasks.mixing.mixture import Masks
from espalier.tasks.networks.architectures import images_per_batch, input_shapes, patch_dim
from espalier.tasks.networks.cuts import Arm
from espalier.tasks.networks.network import LayerFeatures, Network
from espalier.tasks.spec import HybridTile, Pair, Recipe, layer_name
from espalier.tasks.tables.axes import net_axes
from espalier.tasks.tables.marks import CONSTANT_TARGET
from espalier.tasks.training.evaluation import evaluate

Features = Sequence[LayerFeatures]
"""One net's features of a batch, layers 1 to L."""


@torch.no_grad()
def hybrids(tile: HybridTile, networks: list[Network], data: Data, at_once: int = 0) -> list[dict[str, Any]]:
    """Rows of table `hybrids`: for each pair of the tile one at every share.

    Args:
        tile: The pairs (source = A, target = B); their indices point into its snapshots.
        networks: The networks of the tile's snapshots, in their order.
        data: Images and labels.
        at_once: Shares that are fitted together, each of which holds a Gram matrix of 8 D^2 bytes; 0 for all.
            It changes no row.
    """
    return [row for pair in tile.pairs for row in _pair_rows(tile, pair, networks, data, at_once)]


def _pair_rows(
    tile: HybridTile, pair: Pair, networks: list[Network], data: Data, at_once: int
) -> list[dict[str, Any]]:
    a, b = tile.snapshots[pair.source], tile.snapshots[pair.target]
    parents, recipe = Parents(networks[pair.source], networks[pair.target]), b.net.recipe
    made = make(tile, pair, networks, data, at_once)
    axes = {"key": pair.key, **net_axes(a, "source_"), **net_axes(b, "target_")}
    shared = {
        "source_accuracy_test": evaluate(parents.a, data.x_test, data.y_test, recipe.loss)[1],
        "target_accuracy_test": evaluate(parents.b, data.x_test, data.y_test, recipe.loss)[1],
        "ridge": tile.options.ridge,
        "images_train": len(data.y_train),
        "images_test": len(data.y_test),
    }
    errors = unexplained(parents, made, data.x_test)
    return [
        axes | shared | {"share": share} | _scores(hybrid, fvus, recipe, data)
        for share, hybrid, fvus in zip(tile.shares, made, errors, strict=True)
    ]


def make(tile: HybridTile, pair: Pair, networks: list[Network], data: Data, at_once: int = 0) -> list[Hybrid]:
    """The hybrids of a pair, one for each share of the tile.

    The choice of channels is named by the two snapshots alone: it is the same whatever the other shares.
    """
    names = (tile.snapshots[pair.source].key, tile.snapshots[pair.target].key)
    parents = Parents(networks[pair.source], networks[pair.target])
    bare = [unfitted(parents, share, *names) for share in tile.shares]
    recipe = tile.snapshots[pair.target].net.recipe
    together = groups(bare, at_once or len(bare))
    hidden = [one for some in together for one in fit_hidden(parents, some, data.x_train, tile.options)]
    return [_classified(hybrid, recipe, data, tile.options.ridge) for hybrid in hidden]


def _classified(hybrid: Hybrid, recipe: Recipe, data: Data, ridge: float) -> Hybrid:
    """The hybrid with its last layer. Its features of all images are held for one hybrid at a time."""
    network, depth = hybrid.network, hybrid.network.architecture.depth
    h_ND = _last_features(network, data.x_train)
    last = refit(h_ND, data.y_train, network.architecture.layers[-1].out, recipe, ridge)
    tensors = {"weight": last.weight_CD.float(), "bias": last.bias_C.float()}
    added = {f"layers.{depth}.{name}": value for name, value in tensors.items()}
    said = (f"classifier: {last.warning}",) if last.warning else ()
    whole = replace(network, parameters={**network.parameters, **added})
    return replace(hybrid, network=whole, warnings=(*hybrid.warnings, *said))


def _last_features(network: Network, x: Tensor) -> Tensor:
    """h_{L-1} (N, D) of images `x`, in float32: D is small where pooling leaves few positions."""
    architecture, size = network.architecture, images_per_batch(network.architecture)
    dim = patch_dim(architecture.layers[-1], input_shapes(architecture)[-1])
    h_ND = torch.empty(len(x), dim, device=x.device)
    for rows, images in zip(h_ND.split(size), x.split(size), strict=True):
        rows.copy_(network.prefix(architecture.depth, images).flatten(1))
    return h_ND


class _Errors:
    """One hybrid's squared error against the mixture at each fitted map, summed over images and positions."""

    def __init__(self, of_a: Masks, arms: Sequence[Arm]) -> None:
        self._of_a = of_a
        self._outputs = {arm: ChannelMoments(len(of_a[arm.into])) for arm in arms}
        self._errors_C: dict[Arm, Tensor] = {}

    def add(self, own: Features, a: Features, b: Features) -> None:
        """Add a batch: the features of the hybrid and of its parents at all layers."""
        for arm, output in self._outputs.items():
            wanted = mixture(self._of_a, arm, a[arm.reads], b[arm.reads])
            output.add(wanted)
            missed = (given(arm, own[arm.reads]) - wanted).double().square()
            add_to(self._errors_C, arm, channel_sums(missed))

    def fvus(self) -> dict[Arm, float | None]:
        """FVU of every map, None where the mixture is constant."""
        return {
            arm: fraction_unexplained(self._errors_C[arm] / output.rows, output.variance_C)
            for arm, output in self._outputs.items()
        }


def unexplained(parents: Parents, made: Sequence[Hybrid], x: Tensor) -> list[dict[Arm, float | None]]:
    """For each hybrid the FVU of every fitted map against the mixture, on images `x` (N, C, H, W)."""
    architecture = parents.a.architecture
    arms = [entry.arm for layer in range(1, architecture.depth) for entry in maps_at(architecture, layer)]
    errors = [_Errors(hybrid.of_a, arms) for hybrid in made]
    for images in x.split(images_per_batch(architecture)):
        a, b = (list(net.features(images)) for net in (parents.a, parents.b))
        for hybrid, entry in zip(made, errors, strict=True):
            entry.add(list(hybrid.network.features(images)), a, b)
    return [entry.fvus() for entry in errors]


def _scores(hybrid: Hybrid, fvus: dict[Arm, float | None], recipe: Recipe, data: Data) -> dict[str, Any]:
    network, last = hybrid.network, hybrid.network.architecture.depth - 1
    loss_train, accuracy_train = evaluate(network, data.x_train, data.y_train, recipe.loss)
    loss_test, accuracy_test = evaluate(network, data.x_test, data.y_test, recipe.loss)
    known = [fvu for fvu in fvus.values() if fvu is not None]
    constant = [
        f"{layer_name(network.architecture, arm.into)}: {CONSTANT_TARGET}"
        for arm, fvu in fvus.items()
        if fvu is None
    ]
    return {
        "loss_train": loss_train,
        "accuracy_train": accuracy_train,
        "loss_test": loss_test,
        "accuracy_test": accuracy_test,
        "fvu_last": fvus[Arm(last - 1, "z", last)],
        "fvu_largest": max(known) if known else None,
        "warning": "; ".join([*hybrid.warnings, *constant]),
    }
