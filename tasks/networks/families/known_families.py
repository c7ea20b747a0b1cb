"""The families that there are, by the name that `network.family` gives them: a new one is one entry here."""

from __future__ import annotations

from espalier.tasks.networks.families.conv import CONV
from espalier.tasks.networks.families.dense import DENSE
from espalier.tasks.networks.families.family import Family
from espalier.tasks.networks.families.resnet import RESNET18, RESNET20
from espalier.tasks.networks.families.vgg import VGG16, VGG19

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        CONV,
        VGG16,
        VGG19,
        RESNET18,
        RESNET20,
        DENSE,
    )
}
"""In the order in which messages list them."""


def having(field: str) -> list[str]:
    """Names of the families that read a field of `[network]`.

    >>> having("activation")
    ['conv', 'dense']
    """
    return [name for name, family in FAMILIES.items() if field in family.usual]
