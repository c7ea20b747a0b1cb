"""How large a sweep may be: a slip of a finger is refused before anything of its size is made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

MOST_SEEDS = 10_000
MOST_SETTINGS = 1_000
MOST_NETS = 100_000
MOST_PAIRS = 10_000_000
"""Of ordered pairs at all snapshots, nulls included: a plan of so many takes half a minute and 2.5 GB."""


def refuse_many_seeds(count: int) -> None:
    """Refuse `seeds = count`.

    Raises:
        ValueError: They are more than `MOST_SEEDS`.
    """
    if count > MOST_SEEDS:
        raise ValueError(f"{_told(count)} seeds are asked for; at most {MOST_SEEDS:,} would do")


def refuse_many_settings(values: Sequence[int], listed: int) -> None:
    """Refuse settings that cross fields of so many values each, for each one that is listed.

    Raises:
        ValueError: They are more than `MOST_SETTINGS`.
    """
    count = math.prod(values) * listed
    if count > MOST_SETTINGS:
        raise ValueError(
            f"sweep: cross and settings make {_told(count)} settings; at most {MOST_SETTINGS:,} would do"
        )


def refuse_many_pairs(
    settings: int, widths: int, seeds: int, snapshots: int, nulls: int, partners: Literal["all"] | int = "all"
) -> None:
    """Refuse more nets, or pairs of nets of one width, than a sweep can plan.

    A net counts among its own partners, since some nulls are of one net alone; `nulls` is their number at all
    snapshots together.

    Raises:
        ValueError: They are more than `MOST_NETS` or `MOST_PAIRS`.
    """
    nets = settings * widths * seeds
    pairs = nets * (seeds if partners == "all" else min(seeds, partners + 1)) * (snapshots + nulls)
    if nets > MOST_NETS or pairs > MOST_PAIRS:
        raise ValueError(
            f"sweep: {settings:,} settings, {widths:,} widths and {seeds:,} seeds make {nets:,} nets, and "
            f"{snapshots:,} snapshots with {nulls} nulls of them about {pairs:,} pairs; at most "
            f"{MOST_NETS:,} nets and {MOST_PAIRS:,} pairs would do: take fewer, or give each net few "
            "partners (graft.partners) or nulls at few snapshots (graft.null_epochs)"
        )


def _told(count: int) -> str:
    return f"{count:,}" if count < 10**15 else "more than 1,000,000,000,000,000"
