import os
import shutil
import subprocess
import sys
from pathlib import Path

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


HIDE = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", "")]
"""
"""A sitecustomize.py that undoes an editable install."""

TELL = """
import os, sys
print(os.getcwd(), *sys.argv[1:], os.path.dirname(os.path.abspath(__file__)), sep="\\n")
"""
"""A command line that tells where it was started, with which words, and where it lies."""


@pytest.fixture
def checkout(tmp_path):
    """A checkout with submit.py beside other modules, and a package that only tells how it was started."""
    made = tmp_path / "checkout"
    shutil.copytree(Path(submit.__file__).parent, made / "cluster")
    return made.resolve()


def package(folder):
    (folder / "espalier").mkdir(parents=True)
    (folder / "espalier" / "__init__.py").touch()
    (folder / "espalier" / "__main__.py").write_text(TELL)
    return folder / "espalier"


def sweep(folder):
    folder.mkdir(parents=True)
    (folder / "sweep.toml").touch()
    return folder.resolve()


def submitted(script, folder, cwd, tmp_path, installed=None):
    """What submit.py started: the folder it was started in, the sweep, and the package that was run."""
    custom = tmp_path / "custom"
    custom.mkdir()
    (custom / "sitecustomize.py").write_text(HIDE)
    path = [str(custom), *([str(installed)] if installed else [])]
    answer = subprocess.run(
        [sys.executable, script, folder],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    started, run, place, address, auto, package = answer.stdout.splitlines()
    assert f"written to {Path(started, place)}\n" in answer.stderr
    assert (run, address, auto) == ("run", "--address", "auto")
    return Path(started), place, Path(package)


def test_the_checkout_beside_the_script_is_run_when_nothing_is_installed(checkout, tmp_path):
    ours = package(checkout)
    sweep(checkout / "results" / "mine")
    told = submitted("cluster/submit.py", "results/mine", checkout, tmp_path)
    assert told == (checkout, "results/mine", ours)


def test_the_checkout_is_run_from_afar_when_nothing_is_installed(checkout, tmp_path):
    ours = package(checkout)
    mine = sweep(tmp_path / "elsewhere" / "mine")
    told = submitted(checkout / "cluster" / "submit.py", "mine", mine.parent, tmp_path)
    assert told == (checkout, str(mine), ours)


def test_a_sweep_of_the_checkout_is_found_from_afar(checkout, tmp_path):
    ours = package(checkout)
    sweep(checkout / "mine")
    told = submitted(checkout / "cluster" / "submit.py", "mine", tmp_path, tmp_path)
    assert told == (checkout, "mine", ours)


def test_an_installed_package_is_run_on_a_sweep_that_lies_here_or_in_the_checkout(checkout, tmp_path):
    theirs = package(tmp_path / "site")
    here = sweep(tmp_path / "project" / "mine").parent
    shutil.copytree(checkout / "cluster", here / "cluster")
    told = submitted("cluster/submit.py", "mine", here, tmp_path, installed=theirs.parent)
    assert told == (here, "mine", theirs)
