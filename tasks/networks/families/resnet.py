"""ResNet-18 and ResNet-20 with a width multiplier, in their CIFAR forms (He, Zhang, Ren & Sun, CVPR 2016)."""

from __future__ import annotations

from dataclasses import replace

from espalier.tasks.networks.architectures import Shape, checked
from espalier.tasks.networks.families.family import Family, Fields, Values
from espalier.tasks.spec import Architecture, Layer, Shortcut

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet20": (3, 3, 3)}
"""Blocks of two 3x3 convs in each stage; after the first, a stage halves the map and doubles the channels."""

STANDARD_WIDTH = {"resnet18": 64, "resnet20": 16}
"""The width of the published net."""


def resnet(family: str, width: int, image: Shape, classes: int) -> Architecture:
    """A 3x3 conv, blocks of two 3x3 convs with BN, the mean over positions, a dense classifier.

    Shortcuts are identities, or where the shape changes a 1x1 conv of stride 2 with BN. They belong to the
    second conv of their block and are no layers of their own. Convs keep their (redundant) bias.

    >>> resnet("resnet20", width=16, image=(3, 32, 32), classes=10).depth
    20
    """
    layers = [_conv(width)]
    for stage, blocks in enumerate(BLOCKS[family]):
        for block in range(blocks):
            stride, reads = (2 if stage and not block else 1), len(layers)
            shortcut = Shortcut(reads, projection=True, stride=2, batch_norm=True)
            layers += [
                _conv(width * 2**stage, stride),
                replace(_conv(width * 2**stage), shortcut=shortcut if stride == 2 else Shortcut(reads)),
            ]
    layers[-1] = replace(layers[-1], global_pool=True)
    return checked(image, [*layers, Layer("dense", classes, activation="none")])


def _conv(out: int, stride: int = 1) -> Layer:
    return Layer("conv", out, kernel=3, padding=1, stride=stride, batch_norm=True)


def _family(name: str) -> Family:
    def build(fields: Fields, width: int, image: Shape, outputs: int) -> Architecture:
        del fields  # a residual net has none that is free
        return resnet(name, width, image, outputs)

    return Family(name, build, always=Values(batch_norm=True))


RESNET18, RESNET20 = _family("resnet18"), _family("resnet20")
"""The nets with four and with three stages."""
