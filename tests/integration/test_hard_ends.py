"""Runs that end badly: a disk that cannot write, signals amid a save, a neighbour that is ended."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from espalier.orchestrator.cli import app
from espalier.orchestrator.store import local_files
from espalier.orchestrator.store.sweep_store import Store
from tests.integration.conftest import (
    SINGLY,
    all_rows,
    measured,
    run,
    smallest_config,
    wait_until,
)


def test_a_disk_that_cannot_write_ends_the_run_once_and_a_later_run_completes(
    tmp_path, smallest, monkeypatch
):
    """No waiting mends an I/O error of a local disk, and what it gives may be wrong: nothing is retried."""
    folder, honest, left = smallest_config(tmp_path / "sweep"), local_files.write_new, [4]

    def write_new(path, data):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.EIO, "Input/output error", str(path))
        honest(path, data)

    monkeypatch.setattr(local_files, "write_new", write_new)
    answer = CliRunner().invoke(app, ["run", str(folder), "--in-process"])
    assert answer.exit_code == 1
    assert answer.stderr.count("Input/output error") == 1
    assert len(answer.stderr.splitlines()) == 1
    assert "everything finished is safe: mend that and run again" in answer.stderr
    monkeypatch.setattr(local_files, "write_new", honest)
    assert run(folder).complete
    assert all_rows(folder) == all_rows(smallest)


SLOW_SAVES = """
import time
from pathlib import Path
from espalier.orchestrator.store import local_files
honest = local_files.sync_folder
def slow(folder):
    Path(FOLDER + ".saving").touch()
    time.sleep(0.4)
    honest(folder)
local_files.sync_folder = slow
"""
"""A save takes long between the new file's name and its being safe on the disk."""


def test_a_second_sigterm_while_the_first_is_obeyed_leaves_what_a_later_run_completes(
    tmp_path, smallest, drivers
):
    folder, saving = smallest_config(tmp_path / "sweep"), tmp_path / "sweep.saving"
    process = drivers.start(folder, SLOW_SAVES)
    wait_until(lambda: len(list(folder.glob("tables/nets/*.parquet"))) >= 1, process)
    saving.unlink(missing_ok=True)
    wait_until(saving.exists, process)
    os.kill(process.pid, signal.SIGTERM)
    saving.unlink()
    wait_until(saving.exists, process)  # what waits is saved on the way out
    assert saving.exists(), (tmp_path / "driver.log").read_text()
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    told = (tmp_path / "driver.log").read_text()
    assert process.exitcode == 130, told
    assert "Traceback" not in told
    assert not Store(folder).files.locked()
    assert run(folder).complete
    assert all_rows(folder) == all_rows(smallest)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(200)
def test_of_two_sweeps_that_start_at_once_one_is_ended_and_the_other_finishes(tmp_path, smallest):
    """Each has a Ray of its own, and must neither join nor end the other's."""
    long = {"train__epochs": 20000, "train__snapshots": [0, 20000], "run__slots": 1}
    folders = {
        "ended": measured(SINGLY, smallest_config(tmp_path / "ended", **long)),
        "other": smallest_config(tmp_path / "other", run__slots=1),
    }
    ours = {"HOME": str(tmp_path), "NO_COLOR": "1"}
    variables = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | ours
    running = {
        name: subprocess.Popen(
            [sys.executable, "-m", "espalier", "run", folder],
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, folder in folders.items()
    }
    try:
        end = time.monotonic() + 120
        while not list(folders["ended"].glob("tables/nets/*.parquet")):
            assert running["ended"].poll() is None, running["ended"].stdout.read()
            assert time.monotonic() < end
            time.sleep(0.05)
        running["ended"].terminate()
        said = {name: process.communicate(timeout=120)[0] for name, process in running.items()}
    finally:
        for process in running.values():
            process.kill()
    assert {name: process.returncode for name, process in running.items()} == {"ended": 130, "other": 0}, said
    assert all_rows(folders["other"]) == all_rows(smallest)
