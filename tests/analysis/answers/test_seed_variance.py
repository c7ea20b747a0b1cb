"""Variance over seeds against the width: known slopes, and what has no logarithm."""

import numpy as np
import pytest

from espalier import variance_over_seeds
from espalier.tasks.tables.ensemble_columns import ENSEMBLES, KERNEL_SPREAD
from tests.analysis.figures.test_ensemble_figures import ensemble_rows, frame, spread_rows, together

WIDTHS = (4, 8, 16, 32, 64)


def kernels(bias):
    rows = [
        together(width, 5, widest=64) | {"layer": 1, "layer_name": "conv1", "warning": ""}
        | {"kernel_variance": 2 / width, "kernel_bias": None if width == 64 else bias(width)}
        for width in WIDTHS
    ]  # fmt: skip
    return frame(KERNEL_SPREAD, rows)


def test_known_slopes_are_recovered_beside_those_of_the_theory():
    found = variance_over_seeds(kernels(lambda w: w**-2.0)).set_index("quantity")
    assert found["alpha"].tolist() == pytest.approx([1, 2])
    assert found["expected"].tolist() == [1, 2]
    assert found["alpha_low"].tolist() == pytest.approx([1, 2])
    assert found.loc["variance", ["narrowest", "widest", "widths"]].tolist() == [0.5, 2 / 64, 5]
    assert found.loc["bias", "greatest_width"] == 32
    assert found.loc["variance", "relative_error"] == pytest.approx(np.sqrt(2 / 3))


def test_distances_that_could_not_be_seen_are_counted():
    found = variance_over_seeds(kernels(lambda w: w**-2.0 - 0.01)).set_index("quantity")
    assert found.loc["bias", "not_positive"] == 2
    assert np.isnan(found.loc["bias", "alpha_low"])


def test_outputs_and_probabilities_are_rows_of_their_own():
    found = variance_over_seeds(frame(KERNEL_SPREAD, spread_rows()), frame(ENSEMBLES, ensemble_rows()))
    assert found["what"].tolist() == ["kernel"] * 4 + ["output"] * 2 + ["probability"] * 2
    output = found[(found["what"] == "output") & (found["quantity"] == "variance")]
    assert output["widest"].item() == pytest.approx(0.5)  # a share of the outputs' mean square


def test_several_settings_and_other_tables_are_refused():
    rows = kernels(lambda w: w**-2.0)
    with pytest.raises(ValueError, match="give rows of table `kernel_spread`"):
        variance_over_seeds(rows.drop(columns="kernel_bias"))
    with pytest.raises(ValueError, match=r"column 'init' has several values .*: select rows with one"):
        variance_over_seeds(rows.assign(init=["uniform", *["he_normal"] * 4]))
