import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from espalier.cluster import submit


@pytest.mark.parametrize("name", ["results/cifar10", "results/a.b-c_d/", "demo", "/shared/sweeps/cifar10"])
def test_plain_folders_are_taken(name):
    assert submit.arguments([name]) == (name.rstrip("/"), "")


@pytest.mark.parametrize("place", ["/shared/cifar10", "s3://bucket/a/b", "gs://bucket/a"])
def test_results_may_be_kept_elsewhere(place):
    assert submit.arguments(["mine", place]) == ("mine", place)


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
        ["../a"],
        ["/a/../b"],
        ["s3://bucket/a"],
        ["a", "s3://bucket/a b"],
        ["a", "s3://bucket/$(rm)"],
        ["a", "/b", "/c"],
        ["a/../b"],
        ["-x"],
        ["a\n"],
    ],
)
def test_anything_a_shell_could_read_is_refused(arguments):
    with pytest.raises(ValueError, match="cifar10; got"):
        submit.arguments(arguments)


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


def submitted(script, folder, cwd, tmp_path, installed=None, words=(), kept=None):
    """What submit.py started: the folder it was started in, the sweep, and the package that was run.

    `kept` is where the results must be kept, if elsewhere than in the sweep's folder.
    """
    custom = tmp_path / "custom"
    custom.mkdir()
    (custom / "sitecustomize.py").write_text(HIDE)
    path = [str(custom), *([str(installed)] if installed else [])]
    answer = subprocess.run(
        [sys.executable, script, folder, *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    started, run, place, *options, package = answer.stdout.splitlines()
    assert f"written to {kept or Path(started, place)}" in answer.stderr
    assert (run, *options) == ("run", "--address", "auto", *(("--results", str(kept)) if kept else ()))
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


def test_results_are_kept_outside_of_rays_copy_of_a_working_directory(checkout, tmp_path):
    """Ray deletes its copies, and makes another one for each change of the directory."""
    copy = tmp_path / "session" / submit.COPIES / "_ray_pkg_0123"
    shutil.copytree(checkout, copy)
    package(copy)
    sweep(copy / "results" / "mine")
    kept = tmp_path / "home" / "espalier-results" / "results" / "mine"
    submitted("cluster/submit.py", "results/mine", copy, tmp_path, kept=kept)


def test_results_are_kept_where_the_second_word_says(checkout, tmp_path):
    package(checkout)
    sweep(checkout / "mine")
    place = "s3://bucket/mine"
    submitted("cluster/submit.py", "mine", checkout, tmp_path, words=[place], kept=place)


def test_a_sweep_on_a_shared_disk_is_run_where_it_lies(checkout, tmp_path):
    copy = tmp_path / "session" / submit.COPIES / "_ray_pkg_0123"
    shutil.copytree(checkout, copy)
    ours = package(copy)
    shared = sweep(tmp_path / "shared" / "mine")
    told = submitted("cluster/submit.py", str(shared), copy, tmp_path)
    assert told == (copy.resolve(), str(shared), ours)
