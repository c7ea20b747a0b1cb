"""`espalier coordcheck` end to end: the table, the figure, what is printed, and what is refused."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from espalier.analysis.figures.coordinate_slopes import checked, figure
from espalier.analysis.report_cli import app
from espalier.orchestrator.coordcheck import Check
from espalier.tasks.tables.schemas import COORDINATES

SWEEP = """
[network]
family = "dense"
activation = "relu"
layers = [1, 1]
[sweep]
widths = [4, 8]
seeds = 2
[sweep.cross]
"network.parametrization" = ["sp", "mup"]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sweep.toml").write_text(SWEEP)
    return tmp_path


def ask(folder, *options):
    return CliRunner().invoke(app, ["coordcheck", str(folder), *options])


def test_a_check_writes_its_table_and_figure_and_prints_every_setting_and_layer(folder):
    answer = ask(folder, "--steps", "2", "--seeds", "2")
    assert answer.exit_code == 0, answer.output
    table = pq.read_table(folder / "coordcheck" / "changes.parquet")
    assert table.schema.equals(COORDINATES)
    assert sorted(set(table["width"].to_pylist())) == [4, 8, 16, 32, 64]  # over a factor of 16
    assert table.num_rows == 2 * 5 * 2 * 2 * 3  # settings, widths, seeds, steps, layers
    for name in ("changes.png", "changes.svg"):
        assert (folder / "coordcheck" / name).stat().st_size > 1000
    words = " ".join(answer.output.split())
    for word in ("parametrization = sp", "parametrization = mup", "base width 8", "1 · dense1", "3 · dense3"):
        assert word in words
    assert "not recorded" not in words
    assert words.count(" ± ") >= 6
    assert "one standard error over 2 seeds" in words
    assert not (folder / "tables").exists()


def test_widths_and_rate_may_be_given(folder):
    assert ask(folder, "--widths", "16,4", "--steps", "1", "--seeds", "1", "--lr", "0.3").exit_code == 0
    table = pq.read_table(folder / "coordcheck" / "changes.parquet")
    assert set(table["width"].to_pylist()) == {4, 16}
    assert {recipe.split(",")[0] for recipe in table["recipe"].to_pylist()} == {"sgd lr 0.3"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--widths", "8,x"], "--widths: found '8,x'; give whole numbers, as in 8,16,32,64,128"),
        (["--widths", "8"], "--widths: found [8]; give 2 or more"),
        (["--widths", "0,8"], "--widths: found [0, 8]; give 2 or more, 1 and up"),
        (["--lr", "0"], "--lr: found 0; give a rate above 0"),
    ],
)
def test_options_that_make_no_check_are_refused(folder, options, words):
    answer = ask(folder, *options)
    assert answer.exit_code == 1
    assert words in " ".join(answer.output.split())
    assert not (folder / "coordcheck").exists()


def row(**changed):
    text = dict.fromkeys(COORDINATES.names, "x")
    numbers = {"width": 4, "reg_weight": 0.0, "seed": 0, "step": 1, "layer": 1, "initial": 1.0, "change": 1.0}
    return text | numbers | changed


def test_by_default_there_are_seeds_enough_for_an_error():
    assert Check().seeds >= 8


def test_a_setting_that_diverges_has_no_slope_and_still_a_figure():
    rows = [
        row(parametrization=name, width=width, change=change)
        for name, changes in (("sp", (1.0, float("inf"))), ("mup", (1.0, 2.0)))
        for width, change in zip((4, 8), changes, strict=True)
    ]
    settings = checked(pa.Table.from_pylist(rows, schema=COORDINATES))
    assert [setting.label for setting in settings] == ["parametrization = sp", "parametrization = mup"]
    assert settings[0].slopes[1].verdict == "diverged"
    assert settings[1].slopes[1].slope == pytest.approx(1.0)
    assert settings[1].slopes[1].verdict.startswith("unsure")  # of one seed
    assert len(figure(settings).axes) == 2
