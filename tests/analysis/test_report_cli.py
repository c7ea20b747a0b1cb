import math
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from espalier.analysis.report_cli import _beware, _how_to_read, _table, app
from tests.analysis.conftest import graft_rows, write_tables
from tests.analysis.more_rows import in_setting


@pytest.fixture
def espalier():
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_report_tells_nets_grafts_and_fits(espalier, sweep):
    answer = espalier("report", sweep, "--bootstraps", 100)
    assert answer.exit_code == 0
    assert "20 nets, 1280 grafts, 4 fits" in answer.output
    assert "0.81" in answer.output
    assert "index.html" in answer.output


def test_report_tells_the_fits_of_each_setting_apart(espalier, tmp_path):
    rows = graft_rows(epochs=(20,), layers=(2,), nulls=False)
    both = [*rows, *in_setting(rows, init="uniform")]
    answer = espalier("report", write_tables(tmp_path, grafts=both), "--bootstraps", 50)
    assert answer.exit_code == 0
    for setting in ("init = he_normal", "init = uniform"):
        assert answer.output.count(setting) == 1


def test_report_says_why_there_is_no_fit(espalier, tmp_path):
    rows = graft_rows(widths=(4, 8), epochs=(20,), nulls=False)
    answer = espalier("report", write_tables(tmp_path, grafts=rows))
    assert answer.exit_code == 0
    assert "no fits: layer 2: a fit needs 4 widths or more, found 2" in answer.output


def test_errors_are_one_line_and_no_traceback(espalier, tmp_path):
    answer = espalier("report", tmp_path / "nowhere")
    assert answer.exit_code == 1
    assert "no sweep folder at" in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1


def test_the_command_line_starts_without_the_slow_libraries():
    code = (
        "import sys, espalier.analysis.report_cli; "
        "print({'pandas', 'matplotlib', 'torch', 'ray'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


def test_what_the_fits_of_a_layer_share_is_told_once():
    rows = "56 % of its rows carry a warning"
    told = _beware({"warning": rows, "excess_warning": f"{rows}; excess: alpha is hardly known"})
    assert told == f"{rows}; excess: alpha is hardly known"
    assert _beware({"warning": "", "excess_warning": ""}) == ""


FIT = {
    "layer": 2,
    **{
        f"{name}{end}": value
        for name, value in (("alpha", 0.81), ("alpha_untrained", 0.59), ("alpha_ratio", 0.22))
        for end in ("", "_low", "_high")
    },
    **{
        f"{name}{end}": value
        for name, value in (("excess", -0.014), ("c", 0.003))
        for end in ("", "_low", "_high")
    },
    "excess_width": 64,
    "warning": "",
    "excess_warning": "",
}


def test_beside_each_exponent_stand_that_of_untrained_sources_their_ratio_and_the_excess():
    table = _table([FIT])
    cells = {str(column.header): [*column.cells] for column in table.columns}
    told = {
        name: cells[name][0].splitlines()[0] for name in ("alpha", "of untrained", "of the ratio", "excess")
    }
    assert told == {"alpha": "0.81", "of untrained": "0.59", "of the ratio": "0.22", "excess": "-0.014"}
    text = " ".join(_how_to_read([FIT], 0.9))
    assert "Untrained sources into the same targets have the second exponent" in text
    alone = " ".join(_how_to_read([FIT | {"excess_width": math.nan}], 0.9))
    assert "Whether untrained sources show the same fall is not known" in alone


def test_a_fit_that_rests_on_warned_rows_is_one_to_beware_of():
    warned = FIT | {"layer": 5, "warning": "42 % of its rows carry a warning"}
    lines = _how_to_read([FIT, warned], 0.9)
    assert [line for line in lines if line.startswith("beware")] == [
        "beware, layer 5: 42 % of its rows carry a warning"
    ]
