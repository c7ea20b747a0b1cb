import subprocess
import sys

import pytest
from typer.testing import CliRunner

from espalier.analysis.report_cli import _beware, app
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
