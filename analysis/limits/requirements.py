"""What a width limit needs: options in their range, 4 widths, 3 nets at each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from espalier.analysis.limits.image_parts import MEASURE
from espalier.analysis.limits.resample import WidthMean

Plateau = Literal["auto"] | bool
MIN_WIDTHS, MIN_SEEDS = 4, 3


def check_fit(frame: pd.DataFrame, y: str, plateau: Plateau, bootstraps: int, images: bool) -> None:
    """Raise ValueError if an option is out of its range, or names no column of numbers."""
    if y not in frame.columns or not pd.api.types.is_numeric_dtype(frame[y]):
        raise ValueError(f"y must name a column of numbers, got '{y}'; the frame has {sorted(frame.columns)}")
    if plateau not in ("auto", True, False):
        raise ValueError(f'plateau must be "auto", True or False, got {plateau!r}')
    if bootstraps < 1:
        raise ValueError(f"bootstraps must be at least 1, got {bootstraps}")
    if images and y != MEASURE:
        raise ValueError(f"images: blocks of images are known of {MEASURE} alone, got y = '{y}'")


def too_few(means: Sequence[WidthMean]) -> str:
    """What a fit lacks, or nothing."""
    seeds = {m.width: m.seeds for m in means}
    if len(means) < MIN_WIDTHS:
        return f"a fit needs {MIN_WIDTHS} widths or more, found {len(means)}: {list(seeds)}"
    few = {width: count for width, count in seeds.items() if count < MIN_SEEDS}
    return f"a fit needs {MIN_SEEDS} seeds or more at each width, found {few} (width: seeds)" if few else ""


def refuse_few(name: str, means: Sequence[WidthMean]) -> None:
    """Raise ValueError if there are too few widths or nets, or one net has a part in all rows of a width."""
    if few := too_few(means):
        raise ValueError(f"{name}: {few}")
    stuck = [m.width for m in means if np.isfinite(m.mean) and not np.isfinite(m.variance)]
    if stuck:
        raise ValueError(
            f"{name}: one net has a part in every row at width {stuck}, so nets cannot be resampled; "
            "a fit needs rows of pairs that do not all share a net"
        )
