import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from espalier import load
from espalier.analysis.figures import main_figures
from espalier.analysis.figures.pair_matrix import pair_matrix
from espalier.analysis.figures.style import svg_text
from espalier.analysis.limits.width_limit import fit_groups
from espalier.analysis.report.findings import findings
from espalier.analysis.report.html_page import make_report, write_report
from tests.analysis.conftest import curve_rows, graft_rows, job_rows, net_rows, write_sweep, write_tables

NAMES = [
    "error_by_width",
    "error_by_width_at_start",
    "drop_by_layer",
    "error_by_epoch",
    "pair_matrix",
    "nulls",
    "training",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished sweep with its report written."""
    folder = write_sweep(tmp_path_factory.mktemp("finished"))
    write_report(folder, bootstraps=100)
    return folder


def test_the_report_holds_every_figure_the_fits_and_what_was_run(finished):
    place = finished / "report"
    text = (place / "index.html").read_text()
    for name in NAMES:
        assert f'<figure id="{name}">' in text
        ET.fromstring((place / f"{name}.svg").read_text())
        assert (place / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    for words in (
        "After 20 epochs", "Before training", "A sweep for tests.", "2 x test", "abc1234", "torch 2.9"
    ):  # fmt: skip
        assert words in text
    assert "the loss is &lt;NaN&gt; &amp; gone" in text
    assert "20 (80 snapshots)" in text
    assert "75.0 min" in text  # 50 jobs of 90 s; the one that failed does not count


def test_the_page_loads_nothing_and_its_ids_are_unique(finished):
    text = (finished / "report" / "index.html").read_text()
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', text)
    assert "<script" not in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_writing_again_gives_the_same_files_and_follows_no_link(finished, tmp_path):
    before = {path.name: path.read_bytes() for path in (finished / "report").iterdir()}
    for name in ("index.html", next(name for name in before if name.endswith(".png"))):
        (tmp_path / name).write_bytes(b"precious")
        (finished / "report" / name).unlink()
        (finished / "report" / name).symlink_to(tmp_path / name)
    path = write_report(finished, bootstraps=100)
    assert path == finished / "report" / "index.html"
    assert {path.name: path.read_bytes() for path in (finished / "report").iterdir()} == before
    assert {path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == {b"precious"}


def test_headlines_follow_the_data():
    rows = graft_rows()
    flat = [row | {"fvu_test": 0.5 + 0.01 * row["source_seed"]} for row in rows]
    real, level = (pd.DataFrame(change) for change in (rows, flat))
    said = " ".join(findings(real, fit_groups(real, "fvu_test", ["layer"], bootstraps=200)))
    assert "falls with the width at 4 of 4 layers" in said
    assert "trained source beats an untrained one by more than two standard errors at 4 of 4 layers" in said
    assert "A net grafted into itself is recovered" in said
    assert "beware" not in said
    alike = [
        row | {"fvu_test": 0.5 + 0.01 * row["target_seed"] + 0.001 * (row["null"] != "none")} for row in rows
    ]
    close = pd.DataFrame(alike)
    said = " ".join(findings(close, fit_groups(close, "fvu_test", ["layer"], bootstraps=200)))
    assert "by more than two standard errors at 0 of 4 layers (the untrained error is 1.00 to 1.00" in said
    said = " ".join(findings(level, fit_groups(level, "fvu_test", ["layer"], bootstraps=200)))
    assert "At none of 4 layers" in said
    assert "ABOVE the floor" in said


def test_a_warned_row_of_the_floor_is_told_apart_from_the_others():
    """Fitting images that do not show every direction leave held-out errors that are no fault of the fit."""
    rows = [dict(row) for row in graft_rows()]
    floor = [row for row in rows if row["null"] == "self"]
    at_end = max(row["target_epoch"] for row in rows)
    for row in [row for row in floor if row["target_epoch"] == at_end][:3]:
        row |= {"fvu_test": 0.04, "warning": "28 of 32 directions"}
    said = " ".join(
        findings(pd.DataFrame(rows), fit_groups(pd.DataFrame(rows), "fvu_test", ["layer"], bootstraps=50))
    )
    assert "recovered to an error of" in said
    assert "ABOVE" not in said
    assert "such rows that carry a warning" in said
    assert "largest error is 0.04" in said


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({}, "There are no grafts yet"),
        ({"nets": net_rows(widths=(4,)), "curves": curve_rows(widths=(4,))}, "There are no grafts yet"),
        ({"grafts": graft_rows(widths=(4, 8))}, "a fit needs 4 widths or more, found 2"),
        ({"grafts": graft_rows(epochs=(20,), nulls=False)}, "After 20 epochs"),
        ({"grafts": graft_rows(widths=(4,), seeds=(0, 1))}, "widths with fewer than 3 seeds: 4"),
        ({"grafts": [row for row in graft_rows() if row["null"] == "self"]}, "There are no grafts yet"),
        ({"jobs": job_rows(gave_up=60)}, "10 more in the table"),
    ],
)
def test_a_sweep_in_progress_has_a_report(tmp_path, tables, said):
    assert said in write_report(write_tables(tmp_path, **tables), bootstraps=50).read_text()


def test_widths_without_enough_seeds_are_left_out_of_fits_and_named(tmp_path):
    rows = graft_rows() + graft_rows(widths=(128,), seeds=(0, 1))
    made = make_report(write_tables(tmp_path, grafts=rows), bootstraps=50)
    assert made.fits["widths"].tolist() == [5] * 4
    assert "widths with fewer than 3 seeds: 128" in made.path.read_text()


def test_a_report_of_a_url_or_with_odd_options_is_refused(sweep):
    with pytest.raises(ValueError, match="copy 's3://bucket/sweep' here first"):
        write_report("s3://bucket/sweep")
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        write_report(sweep, level=90)


def test_drawing_leaves_no_global_state(sweep):
    before = dict(mpl.rcParams)
    grafts = load(sweep).grafts
    figure = main_figures.error_by_epoch(grafts)
    assert svg_text(figure, "x") == svg_text(main_figures.error_by_epoch(grafts), "x")
    assert dict(mpl.rcParams) == before


def test_the_legend_tells_alpha_and_its_interval(sweep):
    grafts = load(sweep).grafts
    fits = fit_groups(grafts, "fvu_test", ["layer"], bootstraps=100)
    labels = main_figures.error_by_width(grafts, fits, guide=1.0).axes[0].get_legend_handles_labels()[1]
    assert sum("α = " in label for label in labels) == 4
    assert any("slope of" in label for label in labels)


def test_a_band_holds_its_curve(sweep):
    fit = fit_groups(load(sweep).grafts, "fvu_test", ["layer"], bootstraps=300)[0]
    curve, low, high = fit.band(np.array([4.0, 16.0, 64.0]))
    assert (low < curve).all()
    assert (curve < high).all()


def test_the_matrix_puts_source_in_rows_and_self_on_the_diagonal():
    rows = pd.DataFrame(graft_rows(widths=(64,), epochs=(20,), layers=(2,)))
    rows = rows[rows["null"].isin(["none", "self"])]
    shown = pair_matrix(rows).axes[0].images[0].get_array()
    one = rows[(rows["source_seed"] == 0) & (rows["target_seed"] == 2)]["fvu_test"].item()
    assert shown[0, 2] == one
    assert shown.mask.diagonal().all() or np.isnan(shown.diagonal()).all()
