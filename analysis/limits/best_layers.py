"""Of each pair of nets the layer with the best value, against the best layer under each permutation."""

from __future__ import annotations

import numpy as np
import pandas as pd

from espalier.analysis.limits.selection import where

COLUMNS = ("best_p_value", "best_calibrated")


def best_layers(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of table `similarity` that are the best layer of their pair and measure, one for each.

    `best_p_value` and `best_calibrated` compare the best of all layers with the best of all layers under each
    permutation (docs/method.md, section 6). Measures whose null deals channels anew have none: no two layers
    share its draws.

    Args:
        frame: Rows such as `load(folder).similarity`, all layers of each pair.

    Raises:
        ValueError: A column is missing.
    """
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise ValueError(f"no column {missing} in the frame: give rows of table `similarity`")
    return where(frame, np.isfinite(frame["best_p_value"].to_numpy(dtype=np.float64)))
