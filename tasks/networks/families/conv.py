"""The family `conv`: 3x3 convs of listed width multiples, max-pools, a dense classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from espalier.tasks.networks.architectures import ArchitectureError, ConvEntry, Shape, checked
from espalier.tasks.networks.families.family import Family, Fields, Values
from espalier.tasks.spec import Activation, Architecture, Layer


def conv_layers(
    entries: Sequence[ConvEntry], width: int, batch_norm: bool = False, activation: Activation = "relu"
) -> list[Layer]:
    """3x3 convs with bias and padding 1; `"pool"` gives the conv before it a 2x2 max-pool.

    Raises:
        ArchitectureError: No conv, or a pool with nothing to pool.
    """
    layers: list[Layer] = []
    for position, entry in enumerate(entries, start=1):
        if entry != "pool":
            layers.append(
                Layer(
                    "conv", entry * width, kernel=3, padding=1, activation=activation, batch_norm=batch_norm
                )
            )
        elif not layers or layers[-1].pool > 1:
            raise ArchitectureError(f"entry {position} of {list(entries)} is a pool that follows no conv")
        else:
            layers[-1] = replace(layers[-1], pool=2)
    if not layers:
        raise ArchitectureError(
            f"{list(entries)} has no conv: give at least one width multiple, as in [1, 'pool', 2]"
        )
    return layers


def conv(
    entries: Sequence[ConvEntry],
    width: int,
    image: Shape,
    classes: int,
    batch_norm: bool = False,
    dropout: float = 0.0,
    activation: Activation = "relu",
) -> Architecture:
    """The family `conv`: 3x3 convs with bias and padding 1, 2x2 max-pools, a dense classifier.

    Args:
        entries: Width multiples of the convs in order; `"pool"` pools the layer before it.
        width: A conv with entry m has m x width channels.
        image: Shape (channels, height, width) of the input.
        classes: Outputs of the classifier.
        batch_norm: BN after every conv.
        dropout: Dropout of the classifier's input.
        activation: After every conv.

    Raises:
        ArchitectureError: No conv, a pool with nothing to pool, or pooling below 1x1.

    >>> [layer.out for layer in conv([1, "pool", 2], width=4, image=(1, 8, 8), classes=10).layers]
    [4, 8, 10]
    """
    layers = conv_layers(entries, width, batch_norm, activation)
    layers[-1] = replace(layers[-1], dropout=dropout)
    return checked(image, [*layers, Layer("dense", classes, activation="none")])


def _build(fields: Fields, width: int, image: Shape, outputs: int) -> Architecture:
    return conv(fields.layers, width, image, outputs, fields.batch_norm, fields.dropout, fields.activation)


CONV = Family(
    "conv",
    _build,
    usual=Values(layers=(1, 1, "pool", 2, 2, "pool"), batch_norm=False, dropout=0.0, activation="relu"),
)
"""The family that `network.family` names by default."""
