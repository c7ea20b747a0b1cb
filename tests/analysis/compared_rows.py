"""Rows of table `similarity` with known values: unordered pairs of nets, by width, epochs and measure."""

from itertools import combinations, product

import numpy as np

from espalier.orchestrator.planning.kinds.registry import know_tables
from espalier.tasks.tables.rows import table
from tests.analysis.conftest import net_axes

WIDTHS, SEEDS, LAYERS, EPOCHS = (4, 8, 16, 32), (0, 1, 2, 3), (1, 2), (0, 20)
KIND = {
    "cka": ("similarity", "images"),
    "match": ("similarity", "images"),
    "procrustes": ("distance", "images"),
}
KIND |= {"energy": ("distance", "labels"), "mmd": ("distance", "labels")}


def compared_row(source, target, layer, measure, value, **columns):
    """One row; its null is 0.1 +- 0.02 of similarities, 1.4 of distances, 0 of channels dealt anew."""
    kind, null = KIND[measure]
    same = source["source_width"] == target["target_width"]
    crossed = source["source_epoch"] != target["target_epoch"]
    mean = {"similarity": 0.1, "distance": 1.4 if null == "images" else 0.0}[kind]
    return {
        "key": f"{measure}{layer}{sorted(source.items())}{sorted(target.items())}",
        **source,
        **target,
        "pairing": "cross_epoch" if same and crossed else "same_width" if same else "cross_width",
        "layer": layer,
        "layer_name": f"conv{layer}",
        "measure": measure,
        "kind": kind,
        "value": value,
        "self_value": 1.0 if kind == "similarity" else 0.0,
        "corrected": None,
        "null": null,
        "null_mean": mean,
        "null_sd": 0.02,
        "p_value": 0.01,
        "calibrated": 0.5,
        "permutations": 99,
        "scale_ratio": 1.0,
        "images": 200,
        "positions": 16,
        "source_channels": source["source_width"],
        "target_channels": target["target_width"],
        "best_p_value": None,
        "best_calibrated": None,
        "warning": "" if value is not None else "no value",
    } | columns


def compared_rows(
    value, measures=("cka",), widths=WIDTHS, seeds=SEEDS, layers=LAYERS, epochs=EPOCHS, **columns
):
    """All unordered pairs of seeds at equal epochs; `value(measure, width, layer, epoch, pair)`."""
    return [
        compared_row(
            net_axes(width, a, epoch, "source_"),
            net_axes(width, b, epoch, "target_"),
            layer,
            measure,
            value(measure, width, layer, epoch, (a, b)),
            **columns,
        )
        for measure, width, layer, epoch in product(measures, widths, layers, epochs)
        for a, b in combinations(seeds, 2)
    ]


def epoch_rows(value, measure="cka", width=32, seeds=SEEDS, layers=(1,), epochs=(0, 1, 20)):
    """All pairs of seeds at two epochs, the earlier one the source; `value(epoch, later epoch, pair)`."""
    rows = []
    for layer in layers:
        for first, last in ((a, b) for a in epochs for b in epochs if a <= b):
            pairs = [(a, b) for a in seeds for b in seeds if (a != b if first < last else a < b)]
            rows += [
                compared_row(
                    net_axes(width, a, first, "source_"),
                    net_axes(width, b, last, "target_"),
                    layer,
                    measure,
                    value(first, last, (a, b)),
                )
                for a, b in pairs
            ]
    return rows


def frame_of(rows):
    """The rows as `load` gives them."""
    know_tables()
    return table("similarity", rows).to_pandas()


def effects(spread, seed=0):
    """A small effect of each seed, the same in every row."""
    return np.random.default_rng(seed).normal(0, spread, 10)
