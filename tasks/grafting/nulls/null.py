"""What a null tells of itself: which snapshots it takes for sources, and how it changes them.

A *ladder* is a net's snapshots in order of their epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from espalier.tasks.spec import NetSpec, Snapshot

if TYPE_CHECKING:
    from torch import Tensor

    from espalier.tasks.data.tensors import Data
    from espalier.tasks.networks.network import LayerFeatures, Network

Ladder = Sequence[Snapshot]

SAMPLE = 1024
"""How many training images a changed source is made from, evenly spaced among all."""


class Seen(NamedTuple):
    """A batch of images: their numbers (N,) among all of a split, and what they are labelled (N, ...)."""

    split: str
    numbers_N: Tensor
    labels_N: Tensor


Noise = Callable[["list[LayerFeatures]", Seen], "list[LayerFeatures]"]
"""Features of layers 1 to L of a batch, replaced."""


def always_fit(net: NetSpec) -> str:  # noqa: ARG001
    """No reason against any net."""
    return ""


@dataclass(frozen=True)
class Variant:
    """How a source differs from its snapshot. What is None changes nothing.

    Attributes:
        network: The source's net, from the snapshot's, its spec, and the images.
        noise: From the same, what stands in the place of the source's features.
        look: What the net is given in place of a batch of images (N, C, H, W).
        order: Which image the source sees in place of each, a permutation of so many images of a split.
        walks: How many nets go forward on the sample of training images for `network` or `noise` to be made.
        positions: For the images of these indices (N) a permutation (N, P) of the P positions of a map: the
            source's position p is held against the target's position order[p].
    """

    network: Callable[[Network, NetSpec, Data], Network] | None = None
    noise: Callable[[Network, NetSpec, Data], Noise] | None = None
    walks: int = 0
    look: Callable[[Tensor], Tensor] | None = None
    order: Callable[[int, str], Tensor] | None = None
    positions: Callable[[Tensor, int], Tensor] | None = None

    @property
    def plain_sums(self) -> bool:
        """Whether a sum over all images of a split is that of the snapshot as it is."""
        return self.network is None and self.noise is None and self.look is None


PLAIN = Variant()
"""A snapshot as it is."""


@dataclass(frozen=True)
class Null:
    """A null or floor of docs/method.md, section 3, whose source is one snapshot.

    Attributes:
        name: What `graft.nulls` and the column `null` say.
        sources: Which snapshots of a ladder are grafted into a target that stands at a position of its own
            ladder; the last argument says whether the two ladders are one net's.
        variant: How the source is changed.
        by_default: Whether `graft.nulls` has it where nothing is said.
        unfit: Why it cannot be made of a net, or nothing.
    """

    name: str
    sources: Callable[[Ladder, int, bool], Iterator[Snapshot]]
    variant: Variant = PLAIN
    by_default: bool = False
    unfit: Callable[[NetSpec], str] = always_fit


def itself(ladder: Ladder, position: int, same: bool) -> Iterator[Snapshot]:
    """The target itself."""
    if same:
        yield ladder[position]


def another(ladder: Ladder, position: int, same: bool) -> Iterator[Snapshot]:
    """Another net at the target's epoch, as the real graft has it."""
    if not same:
        yield ladder[position]
