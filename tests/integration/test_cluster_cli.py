"""`espalier submit` and `espalier doctor` where there is no cluster; `tests/integration/cluster` has one."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from espalier.cluster.on_ray import session
from espalier.orchestrator.cluster_cli import app
from tests.integration.conftest import write_config


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """A home without a token, in a folder that would be sent."""
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path


def espalier(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def started(monkeypatch):
    """What would be started in place of this process, and its token and mode."""
    seen = []

    def note(program, words):
        seen.append((list(words[1:]), os.environ["RAY_AUTH_MODE"]))
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", note)
    return seen


def token(home, mode=0o644):
    place = home / "home" / ".ray" / "auth_token"
    place.parent.mkdir(parents=True)
    place.write_text("secret")
    place.chmod(mode)
    return place


def test_submit_becomes_rays_command_with_the_token_for_its_owner_alone(alone, started):
    write_config(alone / "project" / "mine")
    place = token(alone)
    answer = espalier("submit", "mine", "--address", "http://127.0.0.1:8265", "--results", "s3://bucket/mine")
    assert answer.exit_code == 0, answer.output
    assert "1 files, " in answer.output
    ((words, mode),) = started
    assert words[:2] == ["-m", "ray.scripts.scripts"]
    assert words[2:] == [
        "job", "submit", "--address=http://127.0.0.1:8265", "--working-dir", ".", "--",
        "python", "-m", "espalier.cluster.submit", "mine", "s3://bucket/mine",
    ]  # fmt: skip
    assert mode == "token"
    assert place.stat().st_mode & 0o777 == 0o600


def test_submit_without_an_address_says_where_there_is_no_ray(alone, started, monkeypatch):
    def nobody(*_):
        raise ConnectionError("Could not find any running Ray instance")

    monkeypatch.setattr(session.services, "get_ray_address_from_environment", nobody)
    write_config(alone / "project" / "mine")
    token(alone)
    answer = espalier("submit", "mine")
    assert answer.exit_code == 1
    assert "no Ray runs on this machine: start a cluster" in answer.stderr
    assert not started


def test_submit_with_check_sends_nothing_and_tells_the_command(alone, started):
    write_config(alone / "project" / "mine")
    (alone / "project" / "cluster").mkdir()
    (alone / "project" / "cluster" / "submit.py").touch()
    answer = espalier("submit", "mine", "--check")
    assert answer.exit_code == 0
    assert "ray job submit --working-dir . -- python cluster/submit.py mine\n" in answer.output
    assert not started


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("mine",), "auth_token does not exist: copy the cluster's token"),
        (("mine", "--results", "relative"), "an absolute path or a URL"),
        (("a b",), "a path of letters"),
        (("nowhere",), "nowhere/sweep.toml does not exist"),
        (("broken",), "broken/sweep.toml"),
    ],
)
def test_submit_refuses_before_anything_is_sent(alone, started, words, told):
    write_config(alone / "project" / "mine")
    write_config(alone / "project" / "broken", sweep__widths="[]")
    answer = espalier("submit", *words)
    assert answer.exit_code == 1
    assert told in answer.stderr
    assert not started


def test_the_doctor_of_this_machine_says_all_is_well_or_what_is_not(alone):
    mine = write_config(alone / "project" / "mine")
    answer = espalier("doctor", mine, "--json")
    told = json.loads(answer.output)
    assert {finding["topic"] for finding in told["findings"]} >= {
        "versions",
        "gpus",
        "token",
        "ports",
        "disk",
    }
    assert told["nodes"][0]["facts"]["disk"]["path"] == str(mine)
    assert answer.exit_code == any(finding["level"] == "bad" for finding in told["findings"])


def test_the_doctor_ends_with_1_and_the_cure_where_a_run_would_fail(alone):
    lost = write_config(alone / "project" / "lost", data__dataset='"parquet:/no/images"')
    answer = espalier("doctor", lost)
    assert answer.exit_code == 1
    assert "bad   images: /no/images is not on " in answer.output
    assert "      cure: copy it there" in answer.output
    assert "A run would fail: mend 1 of these first." in answer.output


def test_the_doctor_says_when_no_ray_answers():
    """In a process of its own: a test beside this one may have a Ray, which the doctor would ask."""
    words = [sys.executable, "-m", "espalier", "doctor", "--address", "127.0.0.1:1"]
    answer = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 1
    assert "no Ray answers at 127.0.0.1:1" in answer.stderr


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("submit", ["ray job submit", "--results", "--check", "--no-wait", "http://127.0.0.1:8265"]),
        ("doctor", ["ten seconds", "cure", "--json", "--address", "Exit code 1"]),
    ],
)
def test_each_commands_help_says_what_it_does(command, words):
    answer = espalier(command, "--help")
    assert answer.exit_code == 0
    for word in words:
        assert word in answer.output
