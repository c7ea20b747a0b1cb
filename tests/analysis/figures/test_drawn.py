"""What a figure shows, read back as data: the numbers beside it are those that were drawn."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from espalier.analysis.figures import main_figures
from espalier.analysis.figures.drawn_axes import read_back
from espalier.analysis.figures.pair_matrix import pair_matrix
from espalier.analysis.figures.style import epoch_axis, new_figure, svg_text, width_axis
from espalier.analysis.limits.resample import summarise
from tests.analysis.conftest import graft_rows


@pytest.fixture(scope="module")
def last():
    return pd.DataFrame(graft_rows(widths=(4, 8), seeds=(0, 1, 2), epochs=(20,), layers=(2, 3)))


def test_the_numbers_are_those_of_the_means(last):
    frame = read_back(main_figures.error_by_epoch(last)).frame()
    means = summarise(last, "fvu_test", ["layer", "target_epoch"])
    shown = frame[(frame["kind"] == "points") & (frame["series"] == "2 · conv2")]
    wanted = means[means["layer"] == 2]
    assert shown["panel"].tolist() == ["width 4", "width 8"]
    assert shown["y"].to_numpy() == pytest.approx(wanted["mean"].to_numpy(), rel=1e-6)
    assert (shown["high"] - shown["low"]).to_numpy() == pytest.approx(
        2 * wanted["error"].to_numpy(), rel=1e-5
    )
    assert set(shown["x_axis"]) == {"epoch of the target"}
    assert set(shown["x"]) == {20}  # the value, though the axis is neither linear nor logarithmic


def test_places_that_have_names_are_told_by_them_and_marks_set_apart_keep_their_own(last):
    (panel,) = read_back(main_figures.drop_by_layer(last[last["null"] == "none"])).panels
    first = panel.series[0]
    assert first.x == ["2 conv2", "3 conv3"]
    assert first.at == pytest.approx([1.875, 2.875])
    thin = [series for series in panel.series if not series.listed]
    assert {series.group for series in thin} == {"4", "8", ""}
    assert thin[0].label == "4, with the images' part"


def test_a_matrix_is_told_cell_by_cell_without_what_is_not_drawn(last):
    rows = last[(last["target_width"] == 8) & last["null"].isin(["none", "self"])]
    drawn = read_back(pair_matrix(rows))
    frame = drawn.frame()
    assert len(frame) == 2 * (9 - 3)  # the diagonal is grey
    one = rows[(rows["layer"] == 3) & (rows["source_seed"] == 0) & (rows["target_seed"] == 2)]
    cell = frame[(frame["panel"] == "3 · conv3") & (frame["x"] == "2") & (frame["y"] == "0")]
    assert cell["value"].item() == pytest.approx(one["fvu_test"].item())
    assert "NaN" not in json.dumps(drawn.plain())
    assert drawn.columns == 2


def test_a_band_has_both_its_edges_and_belongs_to_the_line_of_its_colour():
    figure, axes = new_figure(4, 3)
    axes.plot([1, 2, 4], [3, 2, 1], color="#112233", label="a: told in the legend")
    axes.fill_between([1, 2, 4], [2, 1, 0.5], [4, 3, 2], color="#112233", alpha=0.2, lw=0)
    axes.axhline(1.5, color="#112233")
    width_axis(axes, [1, 2, 4])
    (panel,) = read_back(figure).panels
    (band,) = panel.bands
    assert (band.x, band.low, band.high) == ([1, 2, 4], [2, 1, 0.5], [4, 3, 2])
    assert (band.group, band.label) == ("a", "a, band")
    line, level = panel.series
    assert (line.group, line.listed) == ("a", True)
    assert (level.group, level.label, level.y) == ("", "line", [1.5, 1.5])
    assert (panel.x.scale, panel.x.words) == ("log", ["1", "2", "4"])


def test_a_band_that_is_named_goes_with_the_label_that_its_name_begins_with():
    figure, axes = new_figure(4, 3)
    for label in ("1", "1, more", "1, more yet"):
        axes.plot([1, 2], [3, 2], color="#112233", label=label)
        axes.fill_between([1, 2], [2, 1], [4, 3], color="#112233", label=f"_{label}, band")
    axes.fill_between([1, 2], [2, 1], [4, 3], color="#112233", label="_16, band")
    bands = read_back(figure).panels[0].bands
    assert [band.group for band in bands] == ["1", "1, more", "1, more yet", "1"]
    assert [band.label for band in bands] == ["1, band", "1, more, band", "1, more yet, band", "16, band"]


def test_one_error_that_is_not_known_takes_only_its_own_bar():
    figure, axes = new_figure(4, 3)
    axes.errorbar([1, 2, 3, 4], [1.0, 2.0, np.nan, 4.0], [0.5, np.nan, 0.5, 0.25], label="a")
    drawn = read_back(figure)
    (series,) = drawn.panels[0].series
    assert series.x == [1, 2, 4]
    np.testing.assert_array_equal(series.low, [0.5, np.nan, 3.75])
    np.testing.assert_array_equal(series.high, [1.5, np.nan, 4.25])
    assert drawn.plain()["panels"][0]["series"][0]["low"] == [0.5, None, 3.75]


def test_an_axis_that_is_neither_linear_nor_logarithmic_has_its_places():
    figure, axes = new_figure(4, 3)
    axes.plot([0, 1, 10], [1, 2, 3], marker="o")
    epoch_axis(axes, [0, 1, 10])
    axis = read_back(figure).panels[0].x
    (series,) = read_back(figure).panels[0].series
    assert (axis.scale, axis.words) == ("placed", ["0", "1", "10"])
    assert series.x == [0, 1, 10]
    assert series.at == pytest.approx([*axis.ticks])
    assert np.all(np.diff(series.at) > 0)


def test_a_figure_of_nothing_has_no_rows():
    assert read_back(Figure()).frame().empty


def test_an_svg_keeps_its_marks_and_names_only_what_it_refers_to():
    figure, axes = new_figure(4, 3)
    axes.plot([1.23456789, 2], [1, 2], marker="o")
    text = svg_text(figure, "one")
    assert text.count("<use") >= 2
    assert all(part.startswith('id="one-') for part in text.split() if part.startswith("id="))
    paths = re.findall(r' d="([^"]+)"', text)
    decimals = [len(found) for path in paths for found in re.findall(r"\.(\d+)", path)]
    assert max(decimals) == 2
