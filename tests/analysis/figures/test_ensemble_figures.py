"""Nets of one width together: which rows are drawn, and that what cannot be seen is not hidden."""

import numpy as np
import pandas as pd

from espalier.analysis.answers.seed_variance import latest
from espalier.analysis.figures import ensemble_figures
from espalier.tasks.tables.ensemble_columns import ENSEMBLES, KERNEL_SPREAD, WIDTH_AXES
from tests.analysis.conftest import net_axes

WIDTHS = (4, 8, 16)


def together(width, epoch, nets=4, widest=16):
    axes = net_axes(width, 0, epoch)
    shared = {name: axes[name] for name, _, _ in WIDTH_AXES}
    return shared | {"key": f"{width}-{epoch}-{nets}", "nets": nets, "widest": widest, "widest_nets": nets}


def frame(spec, rows):
    return pd.DataFrame(rows, columns=spec.schema.names)


def spread_rows(epochs=(0, 5), **more):
    return [
        together(width, epoch, **more)
        | {"layer": layer, "layer_name": f"conv{layer}", "warning": ""}
        | {"kernel_variance": layer / width, "kernel_bias": None if width == 16 else layer / width**2 - 0.02}
        for width in WIDTHS
        for epoch in epochs
        for layer in (1, 2)
    ]


def ensemble_rows(probabilities=True, **more):
    known = {
        name: value if probabilities else None
        for name, value in {"accuracy": 0.9, "probability_variance": 0.01, "probability_bias": 0.001}.items()
    }
    outputs = {"output_square": 4.0, "output_variance": 2.0, "output_bias": 1.0}
    return [
        together(width, 5, **more) | {"size": size, "loss": 1 / width + 1 / size} | outputs | known
        for width in WIDTHS
        for size in (1, 2, 4)
    ]


def drawn(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def test_of_a_sweep_that_grew_the_largest_ensembles_of_the_last_epoch_are_taken():
    rows = [*spread_rows(), *spread_rows(nets=6), *spread_rows(nets=8, widest=8)]
    found = latest(frame(KERNEL_SPREAD, rows))
    assert set(found["epoch"]) == {5}
    assert set(zip(found["widest"], found["nets"], strict=True)) == {(16, 6)}
    assert len(found) == len(WIDTHS) * 2


def test_lines_are_the_columns_and_distances_of_zero_or_below_stand_at_the_foot():
    kernels = latest(frame(KERNEL_SPREAD, spread_rows()))
    figure = ensemble_figures.by_width(kernels, frame(ENSEMBLES, ensemble_rows()))
    variance, bias = figure.axes
    assert np.allclose(drawn(variance)["2 · conv2"].get_ydata(), [2 / width for width in WIDTHS])
    assert np.allclose(drawn(variance)["probabilities"].get_ydata(), 0.01)
    assert np.allclose(drawn(bias)["1 · conv1"].get_ydata(), [1 / 16 - 0.02])
    feet = [line for line in bias.lines if line.get_markerfacecolor() == "none"]
    assert [list(line.get_xdata()) for line in feet] == [[8]]  # of layer 1; the widest has no distance
    guide = drawn(variance)["width^-1"].get_ydata()
    assert np.allclose(guide * WIDTHS, guide[0] * WIDTHS[0])


def test_a_regressions_outputs_are_told_as_a_share_of_their_mean_square():
    label, found = ensemble_figures.of_outputs(frame(ENSEMBLES, ensemble_rows(probabilities=False)))
    assert label == "outputs"
    assert list(found["variance"]) == [0.5] * 3
    assert list(found["bias"]) == [0.25] * 3


def test_figures_are_made_where_there_is_something_to_compare():
    empty = frame(KERNEL_SPREAD, []), frame(ENSEMBLES, [])
    assert list(ensemble_figures.captioned_figures(*empty)) == []
    made = ensemble_figures.captioned_figures(
        frame(KERNEL_SPREAD, spread_rows()), frame(ENSEMBLES, ensemble_rows(probabilities=False))
    )
    assert [one.name for one in made] == ["seed_variance", "ensembles"]
    alone = [row for row in spread_rows() if row["width"] == 16]
    assert list(ensemble_figures.captioned_figures(frame(KERNEL_SPREAD, alone), empty[1])) == []
