"""The regression of Gu et al. 2020's synthetic study: y = cos 4x on [-2 pi, 2 pi], without noise.

`cosine` has few points, on a grid, as they are. `cosine-draws` is the study's own draw: many points at
random, standardised.

Letters of shapes: N points.
"""

from __future__ import annotations

import numpy as np

from espalier.tasks.data.raw_images import Arrays, DataFacts, Folder
from espalier.tasks.data.sources.source import whole

POINTS, TRAIN = 1250, 1000
SPLIT_RULE = "1250 grid points of [-2 pi, 2 pi], permuted 80/20 seed 0"
FACTS = DataFacts("cosine", f"cosine;cos 4x;{SPLIT_RULE}", 1, 1, 1, 1, TRAIN, POINTS - TRAIN, regression=True)


def read(folder: Folder = None) -> Arrays:
    """x [N, 1, 1, 1] and y [N, 1] in float32, of both splits.

    >>> [array.shape for array in read()]
    [(1000, 1, 1, 1), (1000, 1), (250, 1, 1, 1), (250, 1)]
    """
    del folder
    grid_N = np.linspace(-2 * np.pi, 2 * np.pi, POINTS)
    # RandomState, since NumPy promises its stream for ever (NEP 19).
    x_N = grid_N[np.random.RandomState(0).permutation(POINTS)]
    x, y = x_N.astype(np.float32).reshape(-1, 1, 1, 1), np.cos(4 * x_N).astype(np.float32)[:, None]
    return x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:]


DRAWN, DRAWN_TEST = 100_000, 1000
DRAW_RULE = "101000 uniform draws of [-2 pi, 2 pi] seed 0, the last 1000 for test, standardised by train"
DRAW_FACTS = DataFacts(
    "cosine-draws", f"cosine-draws;cos 4x;{DRAW_RULE}", 1, 1, 1, 1, DRAWN, DRAWN_TEST, regression=True
)


def read_draws(folder: Folder = None) -> Arrays:
    """As `read`; y is the cosine of what was drawn, x what the net is shown.

    >>> [array.shape for array in read_draws()]
    [(100000, 1, 1, 1), (100000, 1), (1000, 1, 1, 1), (1000, 1)]
    """
    del folder
    drawn_N = np.random.RandomState(0).uniform(-2 * np.pi, 2 * np.pi, DRAWN + DRAWN_TEST)
    shown_N = (drawn_N - drawn_N[:DRAWN].mean()) / drawn_N[:DRAWN].std()
    x, y = shown_N.astype(np.float32).reshape(-1, 1, 1, 1), np.cos(4 * drawn_N).astype(np.float32)[:, None]
    return x[:DRAWN], y[:DRAWN], x[DRAWN:], y[DRAWN:]


COSINE = whole(FACTS, read, SPLIT_RULE)
COSINE_DRAWS = whole(DRAW_FACTS, read_draws, DRAW_RULE)
