"""What a family of networks tells of itself: which fields of `[network]` it reads, and its list of layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypedDict

from espalier.tasks.networks.architectures import ConvEntry, Shape
from espalier.tasks.spec import Activation, Architecture


class Fields(Protocol):
    """The fields of `[network]` that say what the layers are."""

    @property
    def layers(self) -> tuple[ConvEntry, ...]:
        """The layer list, in multiples of the width."""
        ...

    @property
    def batch_norm(self) -> bool:
        """Whether BN follows the linear maps."""
        ...

    @property
    def dropout(self) -> float:
        """The share of units that dropout sets to zero in training."""
        ...

    @property
    def activation(self) -> Activation:
        """The nonlinearity."""
        ...


class Values(TypedDict, total=False):
    """Values of some of the `Fields`."""

    layers: tuple[ConvEntry, ...]
    batch_norm: bool
    dropout: float
    activation: Activation


_ABSENT = Values(layers=(), batch_norm=False, dropout=0.0, activation="relu")
"""What a field is in a family that does not read it."""


def _nothing(fields: Fields) -> str:
    del fields
    return ""


@dataclass(frozen=True)
class Family:
    """A family of networks.

    Attributes:
        name: What `network.family` says, and what labels in tables begin with.
        build: The layer list from the fields, the width, the image's shape and the number of outputs. It
            raises `ArchitectureError` where that makes no network.
        usual: The fields that the family reads, with their defaults. The others cannot be set.
        always: Of the fields that it does not read those that are not absent, such as a fixed `batch_norm`.
        fault: Why the fields describe no network of the family, whatever the images; empty if they do.
    """

    name: str
    build: Callable[[Fields, int, Shape, int], Architecture]
    usual: Values = field(default_factory=Values)
    always: Values = field(default_factory=Values)
    fault: Callable[[Fields], str] = _nothing

    @property
    def fixed(self) -> dict[str, object]:
        """The fields that cannot be set, with the values that they have."""
        return {name: value for name, value in (_ABSENT | self.always).items() if name not in self.usual}
