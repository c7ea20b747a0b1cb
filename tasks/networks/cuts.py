"""Where and how a net can be grafted, from its description alone (plain Python).

Legend: h_j the activation of layer j (h_0 the image); l the first layer that is the target's own, or fitted.

A cut at l parts the layers below l from the rest. What crosses it is every h_j with j < l that layer l or a
shortcut above still reads. Where h_{l-1} alone crosses, the cut is *plain*: each linear map that reads it
(layer l itself, and any shortcut) can be fitted to what the target's gives, which is the exact graft. In a
residual block an older activation crosses too, and must arrive in the target's own coordinates: the exact
graft is not defined there. `stitch` maps everything that crosses, each h_j by a 1x1 conv to the target's h_j.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from math import prod
from typing import Literal, NamedTuple

from espalier.tasks.networks.architectures import Shape, output_size, patch_dim, shapes_of, shortcut_map
from espalier.tasks.spec import Architecture, Layer, Method, Shortcut

ADAM_BATCH = 64
"""Images of one of Adam's batches, as in Gu et al. 2020."""


class Arm(NamedTuple):
    """One linear map that a graft fits: it reads `h_reads` of the source and gives one output of the target.

    `gives` is `z` (of layer `into`: `reads` + 1 but in a skip graft), `shortcut` (the projection into layer
    `into`, before its BN) or `h` (h_reads itself: a stitch, or what an identity shortcut becomes).
    """

    reads: int
    gives: Literal["z", "shortcut", "h"]
    into: int


class Cut(NamedTuple):
    """A graft at `layer` by `method`: the arms to fit, the main path's first; `skip` layers are left out."""

    layer: int
    method: Method
    arms: tuple[Arm, ...]
    skip: int = 0

    @property
    def by_adam(self) -> bool:
        """Whether the arms are fitted by Adam rather than by least squares."""
        return self.method == "adam"


def shortcuts_past(architecture: Architecture, layer: int) -> dict[int, Shortcut]:
    """Every shortcut into `layer` or above that starts below it, by the layer that it goes into."""
    described = enumerate(architecture.layers, start=1)
    into = {n: entry.shortcut for n, entry in described if entry.shortcut is not None and n >= layer}
    return {number: shortcut for number, shortcut in into.items() if shortcut.reads < layer}


def crossing(architecture: Architecture, layer: int) -> list[int]:
    """The j of every h_j that crosses the cut below `layer`, the highest, layer - 1, first."""
    reads = {shortcut.reads for shortcut in shortcuts_past(architecture, layer).values()}
    return sorted(reads | {layer - 1}, reverse=True)


def is_plain(architecture: Architecture, layer: int) -> bool:
    """Whether an exact graft at `layer` is defined.

    >>> from espalier.tasks.networks.families.resnet import resnet
    >>> net = resnet("resnet20", width=1, image=(3, 8, 8), classes=10)
    >>> [layer for layer in range(2, net.depth + 1) if is_plain(net, layer)]
    [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    """
    return crossing(architecture, layer) == [layer - 1]


def cuts(
    architecture: Architecture, methods: Sequence[Method] = ("exact",), skips: Sequence[int] = (0,)
) -> list[Cut]:
    """All cuts of layers 2 to L, methods and then skips in the given order, where each is defined."""
    found = [
        _cut(architecture, layer, method, skip)
        for layer in range(2, architecture.depth + 1)
        for method in methods
        for skip in skips
    ]
    return [cut for cut in found if cut is not None]


def _cut(architecture: Architecture, layer: int, method: Method, skip: int) -> Cut | None:
    if skip:
        defined = method == "exact" and can_skip(architecture, layer, skip)
        return Cut(layer, method, (Arm(layer - 1 - skip, "z", layer),), skip) if defined else None
    if method == "stitch":
        return Cut(layer, method, stitch_arms(architecture, layer))
    return Cut(layer, method, exact_arms(architecture, layer)) if is_plain(architecture, layer) else None


def can_skip(architecture: Architecture, layer: int, skip: int) -> bool:
    """Whether layer `layer` can be fitted on what lies `skip` layers lower, the pooling between them kept.

    What is left out must be a plain chain of layers, and a conv must find the map of the size that it reads.
    """
    reads = layer - 1 - skip
    if reads < 1 or not is_plain(architecture, layer) or len(exact_arms(architecture, layer)) > 1:
        return False
    left_out = architecture.layers[reads : layer - 1]
    if any(entry.shortcut is not None or entry.global_pool for entry in left_out):
        return False
    shapes, dense = shapes_of(architecture), architecture.layers[layer - 1].kind == "dense"
    given = pooled(shapes[reads], pool_between(architecture, reads, layer))
    return dense or given[1:] == shapes[layer - 1][1:]


def pool_between(architecture: Architecture, reads: int, layer: int) -> int:
    """Side of the one max-pool that the max-pools of layers `reads` + 1 to `layer` - 1 amount to."""
    return prod(entry.pool for entry in architecture.layers[reads : layer - 1])


def pooled(shape: Shape, pool: int) -> Shape:
    """The shape (channels, height, width) after a max-pool of `pool` x `pool`."""
    return shape[0], shape[1] // pool, shape[2] // pool


def exact_arms(architecture: Architecture, layer: int) -> tuple[Arm, ...]:
    """Layer l's own map and every shortcut that starts with it at h_{l-1}; identities share one arm."""
    past = shortcuts_past(architecture, layer)
    others = dict.fromkeys(shortcut_arm(number, shortcut) for number, shortcut in past.items())
    return (Arm(layer - 1, "z", layer), *others)


def stitch_arms(architecture: Architecture, layer: int) -> tuple[Arm, ...]:
    """A map from h_j of the source to h_j of the target for every h_j that crosses the cut."""
    return tuple(Arm(reads, "h", reads) for reads in crossing(architecture, layer))


def shortcut_arm(number: int, shortcut: Shortcut) -> Arm:
    """What stands for the shortcut into layer `number` in an exact graft: an identity becomes a 1x1 conv."""
    if shortcut.projection:
        return Arm(shortcut.reads, "shortcut", number)
    return Arm(shortcut.reads, "h", shortcut.reads)


def arm_map(architecture: Architecture, arm: Arm) -> Layer:
    """The linear map that is fitted."""
    layers = architecture.layers
    if arm.gives == "z":
        return layers[arm.into - 1]
    if arm.gives == "shortcut":
        return shortcut_map(layers[arm.into - 1])
    flat = arm.reads > 0 and layers[arm.reads - 1].kind == "dense"
    return Layer("dense" if flat else "conv", shapes_of(architecture)[arm.reads][0], activation="none")


class Reading(NamedTuple):
    """What determines the patches that an arm reads: arms with the same reading share a Gram matrix."""

    reads: int
    kind: Literal["conv", "dense"]
    kernel: int
    padding: int
    stride: int
    pool: int = 1


def reading(architecture: Architecture, arm: Arm) -> Reading:
    """The reading of an arm; `pool` is that of the layers which a skip graft leaves out."""
    layer = arm_map(architecture, arm)
    pool = pool_between(architecture, arm.reads, arm.into) if arm.gives == "z" else 1
    return Reading(arm.reads, layer.kind, layer.kernel, layer.padding, layer.stride, pool)


class ArmSizes(NamedTuple):
    """An arm's map, the shape that it reads, d, its outputs and its positions."""

    map: Layer
    shape: Shape
    dim: int
    out: int
    positions: int


@cache
def arm_sizes(source: Architecture, target: Architecture, arm: Arm) -> ArmSizes:
    """Sizes of an arm's fit; the two nets may differ in their channels."""
    layer = arm_map(target, arm)
    shape = pooled(shapes_of(source)[arm.reads], reading(target, arm).pool)
    height, width = output_size(layer, shape)
    return ArmSizes(layer, shape, patch_dim(layer, shape), layer.out, height * width)


def graftable(source: Architecture, target: Architecture) -> bool:
    """Whether every cut of the target finds in the source the maps that it reads: only channels differ."""
    if source.depth != target.depth or source.input != target.input:
        return False
    shapes = zip(shapes_of(source)[:-1], shapes_of(target)[:-1], strict=True)
    if any(one[1:] != other[1:] for one, other in shapes):
        return False
    layers = zip(source.layers, target.layers, strict=True)
    return all(_frame(one) == _frame(other) for one, other in layers)


def _frame(layer: Layer) -> Layer:
    """A layer without what a source and its target may differ in."""
    shortcut = layer.shortcut and replace(layer.shortcut, batch_norm=False)
    return replace(layer, out=1, activation="none", batch_norm=False, dropout=0.0, shortcut=shortcut)


def all_arms(cuts_made: Sequence[Cut]) -> list[Arm]:
    """Every arm once, in the order in which a forward pass can fit them."""
    return sorted({arm for cut in cuts_made for arm in cut.arms})


def norms_from(architecture: Architecture, layer: int) -> dict[str, int]:
    """The channels of every BN of `layer` and above, by its name: those of shortcuts into these included."""
    found: dict[str, int] = {}
    for number, above in enumerate(architecture.layers, start=1):
        if number >= layer and above.batch_norm:
            found[f"layers.{number}.bn"] = above.out
        if number >= layer and above.shortcut is not None and above.shortcut.batch_norm:
            found[f"layers.{number}.shortcut.bn"] = above.out
    return found
