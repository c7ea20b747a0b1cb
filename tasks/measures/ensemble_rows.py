"""Rows of tables `kernel_spread` and `ensembles`: the nets of one width together, beside the widest ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from espalier.tasks.data.tensors import Data
from espalier.tasks.measures.seed_spread import Outputs, SeedSpread, feature_kernel
from espalier.tasks.measures.streamed_layers import chosen, layers_of
from espalier.tasks.networks.network import Network
from espalier.tasks.spec import Measurement, Snapshot, layer_name
from espalier.tasks.tables.axes import net_axes
from espalier.tasks.tables.ensemble_columns import WIDTH_AXES

FEWEST = 4
"""Images, as for measures of two nets."""

Row = dict[str, Any]


def of_width(snapshots: Sequence[Snapshot]) -> tuple[list[int], list[int]]:
    """Which snapshots have the width of the first, and which are the wider nets of reference: none of these
    where the width is itself the widest."""
    width = snapshots[0].net.width
    here = [number for number, snap in enumerate(snapshots) if snap.net.width == width]
    return here, [number for number in range(len(snapshots)) if number not in here]


class _Seen(NamedTuple):
    """Nets of one width: at each layer their kernels, and (channels, positions); the outputs."""

    kernels: list[SeedSpread]
    sizes: list[tuple[int, int]]
    outputs: Outputs
    faults: list[str]


@torch.no_grad()
def ensembles(asked: Measurement, networks: Sequence[Network], data: Data) -> dict[str, list[Row]]:
    """Rows of both tables, by table.

    Nets go over the images one after another, so that of each layer two mean kernels are held, and the
    features of one net.

    Args:
        asked: Snapshots of one width, then those of the widest if that is another; `images` of its settings
            is how many held-out images are looked at.
        networks: The networks of these snapshots, in their order.
        data: Images and labels.

    Raises:
        ValueError: There are fewer than 4 held-out images.
    """
    which = chosen(data.y_test, int(asked.settings["images"]))
    if len(which) < FEWEST:
        raise ValueError(f"found {len(which)} held-out images, but ensembles need {FEWEST} or more")
    x, y = data.x_test[which], data.y_test[which]
    own, wider = of_width(asked.snapshots)

    def seen(some: Sequence[int]) -> _Seen:
        return _see([networks[n] for n in some], [asked.snapshots[n] for n in some], x)

    here, wide = seen(own), seen(wider) if wider else None
    there, first = wide or here, asked.snapshots[0]
    axes = net_axes(first)
    shared = {
        "key": asked.key,
        **{name: axes[name] for name, _, _ in WIDTH_AXES},
        "nets": here.outputs.spread.nets,
        "widest": asked.snapshots[-1].net.width,
        "widest_nets": there.outputs.spread.nets,
        "images": len(which),
        "warning": _reason(here, wide),
    }
    return {
        "kernel_spread": [
            shared
            | {"layer": number, "layer_name": layer_name(first.net.architecture, number)}
            | _kernel_values(here, wide, number - 1)
            for number in range(1, first.net.architecture.depth + 1)
        ],
        "ensembles": [shared | one for one in _ensemble_values(here, wide, y)],
    }


def _see(networks: Sequence[Network], snapshots: Sequence[Snapshot], x: Tensor) -> _Seen:
    depth = networks[0].architecture.depth
    kernels, sizes = [SeedSpread() for _ in range(depth)], [(0, 0)] * depth
    outputs, faults = list[Tensor](), list[str]()
    for network, snap in zip(networks, snapshots, strict=True):
        finite = True
        for number, batches in layers_of([network], x):
            features = torch.cat([some[0] for some in batches])
            kernel_NN = feature_kernel(features)
            finite = finite and bool(kernel_NN.isfinite().all())
            kernels[number - 1].add(kernel_NN)
            sizes[number - 1] = features.shape[1], math.prod(features.shape[2:])
            if number == depth:
                outputs.append(features)
        if not finite:
            faults.append(f"features of width {snap.net.width} seed {snap.net.seed} are not finite")
    return _Seen(kernels, sizes, Outputs(outputs, snapshots[0].net.recipe.loss), faults)


def _reason(here: _Seen, wide: _Seen | None) -> str:
    """Why a value is missing, or empty."""
    reasons = [*here.faults, *(wide.faults if wide else [])]
    if here.outputs.spread.nets == 1:
        reasons.append("a single net has no variance over seeds")
    if wide and wide.outputs.spread.nets == 1:
        reasons.append("of a single widest net the sampling error is not known")
    return "; ".join(reasons)


def _kernel_values(here: _Seen, wide: _Seen | None, layer: int) -> Row:
    spread, (channels, positions) = here.kernels[layer], here.sizes[layer]
    bias = math.nan
    if wide and (square := wide.kernels[layer].square) > 0:
        bias = spread.squared_distance(wide.kernels[layer]) / square
    found = {
        "kernel_square": spread.square,
        "kernel_variance": spread.relative_variance(),
        "kernel_bias": bias,
    }
    return {"channels": channels, "positions": positions} | _with_nulls(found)


def _ensemble_values(here: _Seen, wide: _Seen | None, y: Tensor) -> list[Row]:
    of_all = {"output_square": here.outputs.spread.square}
    for name, spread, there in (
        ("output", here.outputs.spread, wide and wide.outputs.spread),
        ("probability", here.outputs.probabilities, wide and wide.outputs.probabilities),
    ):
        of_all[f"{name}_variance"] = spread.variance if spread else math.nan
        of_all[f"{name}_bias"] = spread.squared_distance(there) if spread and there else math.nan
    scores = here.outputs.scores(y, wide and wide.outputs)
    return [_with_nulls(one._asdict() | of_all) for one in scores]


def _with_nulls(values: Mapping[str, float]) -> Row:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
