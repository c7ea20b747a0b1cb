import os
import sys

import pytest

from espalier.cluster import submit


@pytest.mark.parametrize("name", ["results/cifar10", "results/a.b-c_d/", "demo"])
def test_plain_relative_folders_are_taken(name):
    assert submit.folder_name([name]) == name.rstrip("/")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a", "b"],
        [""],
        ["a b"],
        ["$(rm)"],
        ["`x`"],
        ["a;b"],
        ["/etc"],
        ["../a"],
        ["a/../b"],
        ["-x"],
        ["a\n"],
    ],
)
def test_anything_a_shell_could_read_is_refused(arguments):
    with pytest.raises(ValueError, match="results/cifar10; got"):
        submit.folder_name(arguments)


def test_it_becomes_the_run_command_on_this_cluster(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sweep.toml").touch()
    ran = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execv", lambda *args: ran.append(args))
    monkeypatch.setattr(sys, "argv", ["submit.py", "mine"])
    submit.main()
    assert ran == [(sys.executable, [sys.executable, "-m", "espalier", "run", "mine", "--address", "auto"])]


def test_a_folder_that_is_nowhere_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["submit.py", "nowhere"])
    with pytest.raises(SystemExit, match=r"nowhere/sweep.toml is in none of .*file_mounts"):
        submit.main()
