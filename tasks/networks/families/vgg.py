"""VGG16 and VGG19 (Simonyan & Zisserman, ICLR 2015) by width, in the CIFAR form of Gu et al. 2020."""

from __future__ import annotations

from dataclasses import replace

from espalier.tasks.networks.architectures import ArchitectureError, ConvEntry, Shape, checked
from espalier.tasks.networks.families.conv import conv_layers
from espalier.tasks.networks.families.family import Family, Fields, Values
from espalier.tasks.spec import Architecture, Layer

BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""3x3 convs in each block; a 2x2 max-pool ends it."""

MULTIPLES = (1, 2, 4, 8, 8)
DENSE_MULTIPLE = 64
SMALLEST_IMAGE = 32
DROPOUT = 0.5


def entries(family: str) -> list[ConvEntry]:
    """Width multiples of the convs and the pools, as the family `conv` has them.

    >>> entries("vgg16")[:6]
    [1, 1, 'pool', 2, 2, 'pool']
    """
    plan: list[ConvEntry] = []
    for convs, multiple in zip(BLOCKS[family], MULTIPLES, strict=True):
        plan += [*[multiple] * convs, "pool"]
    return plan


def vgg(
    family: str, width: int, image: Shape, classes: int, batch_norm: bool = False, dropout: float = DROPOUT
) -> Architecture:
    """Convs of 1, 2, 4, 8, 8 x width channels in five blocks, two dense layers of 64 x width, a classifier.

    Width 64 is the published net, width 8 its 1/8. `dropout` acts on the inputs of the two dense layers and
    of the classifier, as in the network of Gu et al. (docs/method.md, section 4).

    Raises:
        ArchitectureError: Images below 32x32, of which five pools leave nothing.
    """
    if min(image[1:]) < SMALLEST_IMAGE:
        raise ArchitectureError(
            f"{family} pools five times and needs images of {SMALLEST_IMAGE}x{SMALLEST_IMAGE} or more, "
            f"found {image[1]}x{image[2]}: use the family 'conv' with fewer pools"
        )
    convs = conv_layers(entries(family), width, batch_norm)
    convs[-1] = replace(convs[-1], dropout=dropout)
    hidden = Layer("dense", DENSE_MULTIPLE * width, dropout=dropout)
    return checked(image, [*convs, hidden, hidden, Layer("dense", classes, activation="none")])


def _family(name: str) -> Family:
    def build(fields: Fields, width: int, image: Shape, outputs: int) -> Architecture:
        return vgg(name, width, image, outputs, fields.batch_norm, fields.dropout)

    return Family(name, build, usual=Values(batch_norm=False, dropout=DROPOUT))


VGG16, VGG19 = _family("vgg16"), _family("vgg19")
"""The nets with 13 and with 16 convs."""
