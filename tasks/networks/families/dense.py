"""Dense nets: hidden layers of width multiples, as in the one-dimensional regression of Gu et al. 2020."""

from __future__ import annotations

from collections.abc import Sequence

from espalier.tasks.networks.architectures import ArchitectureError, Shape, checked
from espalier.tasks.networks.families.family import Family, Fields, Values
from espalier.tasks.spec import Activation, Architecture, Layer


def dense(
    entries: Sequence[int],
    width: int,
    image: Shape,
    outputs: int,
    activation: Activation = "tanh",
    dropout: float = 0.0,
) -> Architecture:
    """The family `dense`: hidden layers of m x width units for each entry m, then a linear output layer.

    `dropout` acts on every hidden layer's output.

    >>> [layer.out for layer in dense([1, 2], width=5, image=(1, 1, 1), outputs=1).layers]
    [5, 10, 1]
    """
    if not entries:
        raise ArchitectureError("[] has no hidden layer: give at least one width multiple, as in [1, 1, 1]")
    hidden = [Layer("dense", entry * width, activation=activation, dropout=dropout) for entry in entries]
    return checked(image, [*hidden, Layer("dense", outputs, activation="none")])


def _build(fields: Fields, width: int, image: Shape, outputs: int) -> Architecture:
    hidden = [entry for entry in fields.layers if entry != "pool"]
    return dense(hidden, width, image, outputs, fields.activation, fields.dropout)


def _fault(fields: Fields) -> str:
    if "pool" not in fields.layers:
        return ""
    return f"layers of family 'dense' are width multiples alone, found {list(fields.layers)}"


DENSE = Family("dense", _build, usual=Values(layers=(1, 1, 1), dropout=0.0, activation="tanh"), fault=_fault)
"""Hidden layers of listed width multiples."""
