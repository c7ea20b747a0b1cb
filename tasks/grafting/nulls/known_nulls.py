"""The nulls of one snapshot that there are, by name: a new one is one entry here."""

from __future__ import annotations

from espalier.tasks.grafting.nulls.clustered_noise import CLUSTERED_NOISE
from espalier.tasks.grafting.nulls.null import PLAIN, Null, Variant
from espalier.tasks.grafting.nulls.permuted import PERMUTED
from espalier.tasks.grafting.nulls.resampled import RESAMPLED
from espalier.tasks.grafting.nulls.self_graft import SELF
from espalier.tasks.grafting.nulls.shuffled_images import SHUFFLED_IMAGES
from espalier.tasks.grafting.nulls.untrained import UNTRAINED
from espalier.tasks.grafting.nulls.untrained_scaled import UNTRAINED_SCALED

NULLS: dict[str, Null] = {
    null.name: null
    for null in (
        SELF,
        UNTRAINED,
        SHUFFLED_IMAGES,
        PERMUTED,
        UNTRAINED_SCALED,
        RESAMPLED,
        CLUSTERED_NOISE,
    )
}
"""In the order in which the config lists them."""

DEFAULT_NULLS = tuple(name for name, null in NULLS.items() if null.by_default)
"""`graft.nulls` where nothing is said: one that is added later is asked for by its name."""

AS_IT_IS = "plain"
"""Variant of a source that is not changed."""


def variant_name(null: str) -> str:
    """Under which name a graft's source goes: that of its null, if the null changes it.

    >>> variant_name("none"), variant_name("self"), variant_name("permuted")
    ('plain', 'plain', 'permuted')

    Raises:
        ValueError: There is no such null.
    """
    if null != "none" and null not in NULLS:
        raise ValueError(f"no null of a graft is called '{null}': known here are none, {', '.join(NULLS)}")
    changed = null != "none" and NULLS[null].variant != PLAIN
    return null if changed else AS_IT_IS


def variant_of(name: str) -> Variant:
    """How a source of that variant's name is changed."""
    return PLAIN if name == AS_IT_IS else NULLS[name].variant
