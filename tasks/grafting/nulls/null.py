"""What a null tells of itself: which snapshots it takes for sources, and how it changes them.

A *ladder* is a net's snapshots in order of their epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.tasks.spec import NetSpec, Snapshot

if TYPE_CHECKING:
    from torch import Tensor

    from espalier.tasks.networks.network import Network

Ladder = Sequence[Snapshot]


@dataclass(frozen=True)
class Variant:
    """How a source differs from its snapshot. What is None changes nothing.

    Attributes:
        network: The source's net, from the snapshot's and its spec.
        look: What the net is given in place of a batch of images (N, C, H, W).
        order: Which image the source sees in place of each, a permutation of so many images of a split.
        positions: For the images of these indices (N) a permutation (N, P) of the P positions of a map: the
            source's position p is held against the target's position order[p].
    """

    network: Callable[[Network, NetSpec], Network] | None = None
    look: Callable[[Tensor], Tensor] | None = None
    order: Callable[[int, str], Tensor] | None = None
    positions: Callable[[Tensor, int], Tensor] | None = None

    @property
    def plain_sums(self) -> bool:
        """Whether a sum over all images of a split is that of the snapshot as it is."""
        return self.network is None and self.look is None


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
    """

    name: str
    sources: Callable[[Ladder, int, bool], Iterator[Snapshot]]
    variant: Variant = PLAIN
    by_default: bool = False


def itself(ladder: Ladder, position: int, same: bool) -> Iterator[Snapshot]:
    """The target itself."""
    if same:
        yield ladder[position]


def another(ladder: Ladder, position: int, same: bool) -> Iterator[Snapshot]:
    """Another net at the target's epoch, as the real graft has it."""
    if not same:
        yield ladder[position]
