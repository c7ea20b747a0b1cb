"""What commands write: user's texts as they are, commands to paste, and one line for every error."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from espalier.analysis.report_cli import app
from espalier.orchestrator.sweep import Sweep
from espalier.orchestrator.terminal import command_line, in_words

NAMES = ["g[/x]", "g [red]x", "[bold]", ":dog: x", "it's {a} \\ mess", "größe"]


def espalier(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def commands_in(text):
    """Commands after two spaces, as a shell parts them into words."""
    return [shlex.split(found) for found in re.findall(r"  (espalier .*)$", text, re.MULTILINE)]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_any_name_is_told_as_it_is_and_its_commands_can_be_pasted(name, reference, tmp_path):
    folder = tmp_path / name
    shutil.copytree(reference, folder)
    ran = espalier("run", "--in-process", folder)
    assert ran.exit_code == 0, ran.output
    assert f"{folder} holds" in ran.output
    assert commands_in(ran.output) == [["espalier", "report", str(folder)]]
    (folder / "tables" / "grafts").rename(tmp_path / "grafts")
    state = espalier("status", folder)
    assert state.exit_code == 0, state.output
    assert commands_in(state.output) == [["espalier", "run", str(folder)]]
    nowhere = tmp_path / f"{name} gone"
    gone = espalier("status", nowhere)
    assert gone.exit_code == 1
    assert command_line("new", nowhere)[4:] in gone.output
    made = espalier("new", nowhere)
    assert commands_in(made.output) == [["espalier", "run", str(nowhere)]]


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        TypeError("no [red]"),
        AttributeError("a"),
        Exception("bare"),
        RecursionError(),
        ValueError(),
    ],
)
def test_a_fault_of_ours_says_so_in_one_line_and_where_its_traceback_is(
    error, reference, monkeypatch, tmp_path
):
    def broken(self):
        raise error

    monkeypatch.setattr(Sweep, "plan", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    answer = espalier("status", reference)
    assert answer.exit_code == 1
    (line,) = answer.output.splitlines()
    assert line.startswith(f"espalier: a fault of Espalier itself, not of your input: {type(error).__name__}")
    assert str(error) in line
    log = Path(re.search(r"with (\S+\.log)", line)[1])
    assert "def broken" not in line
    assert "in broken" in log.read_text()


def test_a_fault_whose_log_cannot_be_written_is_told_all_the_same(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert "ESPALIER_TRACEBACK=1 shows it" in in_words(KeyError("x"))


@pytest.mark.parametrize(
    "error",
    [RecursionError("too deep"), UnicodeEncodeError("ascii", "é", 0, 1, "not in range"), KeyError("a")],
)
def test_errors_that_python_makes_of_our_own_slips_are_faults_of_ours_whatever_their_class(
    error, monkeypatch, tmp_path
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert in_words(error).startswith(
        f"a fault of Espalier itself, not of your input: {type(error).__name__}"
    )


def test_too_little_memory_is_no_fault_of_ours():
    assert in_words(MemoryError("1 GiB")).startswith("this process ran out of memory (1 GiB): close other")


def test_every_error_is_let_through_where_that_is_asked_for(monkeypatch, reference):
    monkeypatch.setenv("ESPALIER_TRACEBACK", "1")
    monkeypatch.setattr(Sweep, "plan", lambda self: {}["x"])
    assert isinstance(espalier("status", reference).exception, KeyError)
