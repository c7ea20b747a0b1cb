import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from espalier import load
from espalier.analysis.figures import main_figures
from espalier.analysis.figures.pair_matrix import pair_matrix
from espalier.analysis.figures.report_figures import captioned_figures
from espalier.analysis.figures.style import svg_text
from espalier.analysis.limits.selection import plain_grafts
from espalier.analysis.limits.snapshots import end_fits, snapshot_fits
from espalier.analysis.limits.width_limit import fit_groups
from espalier.analysis.report.html_page import make_report, write_report
from tests.analysis.conftest import curve_rows, graft_rows, job_rows, net_rows, write_sweep, write_tables

NAMES = [
    "excess",
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


@pytest.fixture(scope="module")
def grafts(finished):
    """Its grafts, which no test changes."""
    return load(finished).grafts


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
    whole = (finished / "report" / "index.html").read_text()
    text = re.sub(
        r"(<script[^>]*>).*?</script>", r"\1", whole, flags=re.DOTALL
    )  # Plotly's own names its site
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', text)
    assert not re.findall(r"<script[^>]*src", text)
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
def test_a_sweep_in_progress_has_a_report(tmp_path, tables, said, monkeypatch):
    monkeypatch.setattr("espalier.analysis.report.html_page.png_bytes", lambda figure: b"")  # slow
    assert said in write_report(write_tables(tmp_path, **tables), bootstraps=50).read_text()


def test_widths_without_enough_seeds_are_left_out_of_fits_and_named(tmp_path):
    last = {"epochs": (20,), "nulls": False}
    rows = graft_rows(**last) + graft_rows(widths=(128,), seeds=(0, 1), **last)
    made = make_report(write_tables(tmp_path, grafts=rows), bootstraps=50)
    assert made.fits["widths"].tolist() == [5] * 4
    assert "widths with fewer than 3 seeds: 128" in made.path.read_text()


def test_a_report_of_a_url_or_with_odd_options_is_refused(sweep):
    with pytest.raises(ValueError, match="copy 's3://bucket/sweep' here first"):
        write_report("s3://bucket/sweep")
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        write_report(sweep, level=90)


def test_drawing_leaves_no_global_state(grafts):
    before = dict(mpl.rcParams)
    figure = main_figures.error_by_epoch(grafts)
    assert svg_text(figure, "x") == svg_text(main_figures.error_by_epoch(grafts), "x")
    assert dict(mpl.rcParams) == before


def test_the_legend_tells_alpha_and_its_interval(grafts):
    axes = main_figures.error_by_width(snapshot_fits(grafts, 20, 0.9, 50), guide=1.0).axes[0]
    labels = axes.get_legend_handles_labels()[1]
    assert sum("α = " in label and "untrained source: " in label for label in labels) == 4
    assert any("slope of" in label for label in labels)
    hollow = [line for line in axes.get_lines() if line.get_markerfacecolor() == "none"]
    untrained = grafts[(grafts["null"] == "untrained") & (grafts["layer"] == 2)]
    assert hollow[0].get_ydata() == pytest.approx(
        untrained.groupby("target_width")["fvu_test"].mean().to_numpy()
    )


def test_each_curve_over_epochs_stands_beside_its_untrained_sources(finished, grafts):
    """At epoch 0 the sources are untrained: the null's curve begins with the real one.

    No line crosses a snapshot that has no such null.
    """
    axes = main_figures.error_by_epoch(grafts).axes[0]
    drawn = {bar.get_label(): bar.lines[0] for bar in axes.containers}
    for name in ("2 · conv2", "3 · conv3", "4 · conv4", "5 · dense1"):
        real, null = drawn[name], drawn[f"{name}, untrained"]
        assert null.get_xdata().tolist() == real.get_xdata().tolist() == [0, 1, 5, 20]
        assert np.isfinite(null.get_ydata().astype(float)).tolist() == [True, False, False, True]
        assert null.get_ydata()[0] == pytest.approx(real.get_ydata()[0])
    rows = grafts[(grafts["null"] == "untrained") & (grafts["layer"] == 2) & (grafts["target_width"] == 4)]
    assert drawn["2 · conv2, untrained"].get_ydata()[3] == pytest.approx(rows["fvu_test"].mean())
    reading = next(
        c.reading
        for c in captioned_figures(load(finished), *end_fits(grafts, 0.9, 20))
        if c.name == "error_by_epoch"
    )
    assert "nothing may be read about the sources" in reading
    assert "less alike" not in reading


def test_a_curve_over_epochs_without_untrained_sources_stands_alone():
    grafts = pd.DataFrame(graft_rows(nulls=False))
    labels = main_figures.error_by_epoch(grafts).axes[0].get_legend_handles_labels()[1]
    assert len(labels) == 4


def test_bars_of_accuracy_drops_hold_the_images_part(grafts):
    rows = snapshot_fits(grafts, 20, 0.9, 20).rows
    few, many = (
        [bar.lines[2][0].get_segments() for bar in main_figures.drop_by_layer(part).axes[0].containers[:2]]
        for part in (rows, rows.assign(images_test=10**9))
    )

    def length(segments):
        return np.ptp(segments[0][:, 1])

    assert length(few[1]) > 2 * length(few[0])  # thin: nets and images; thick: nets alone
    assert length(many[1]) == pytest.approx(length(many[0]), rel=1e-2)


def test_the_reading_of_accuracy_drops_says_whether_their_bars_are_bounds(sweep):
    def reading(tables):
        figures = captioned_figures(tables, *end_fits(plain_grafts(tables.grafts), 0.9, 20))
        return next(figure.reading for figure in figures if figure.name == "drop_by_layer")

    tables = load(sweep)
    known = replace(tables, grafts=tables.grafts.assign(drop_by_block=bytes(64)))
    assert "thin bars add it (docs/method.md, section 5), an upper bound: 240 of 240 rows" in reading(tables)
    assert "thin bars add it (docs/method.md, section 5). With" in reading(known)


def test_a_band_holds_its_curve(grafts):
    fit = fit_groups(grafts, "fvu_test", ["layer"], bootstraps=300)[0]
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
