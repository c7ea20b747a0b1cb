"""Disks that are full for real, since they are small: of the results, and of Ray's temporary folder."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from espalier.orchestrator.cli import app
from espalier.orchestrator.store.sweep_store import Store
from tests.integration.conftest import all_rows, descendants, run, smallest_config, title
from tests.integration.decoys import ROOT, SECONDS
from tests.integration.faulty_nodes import config, nets, until

KIB, MIB = 2**10, 2**20


@contextlib.contextmanager
def disk(size):
    """A folder that holds so many bytes, on a short path: Ray's sockets lie below."""
    with tempfile.TemporaryDirectory(prefix="disk", dir="/tmp") as place:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"needs root, to mount a small disk: {getattr(error, 'stderr', error)}")
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", "--lazy", place], check=True)


def fill(place, leave=0):
    """Take all the space of a disk but so many bytes."""
    with (place / "fill").open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while file.write(bytes(4 * KIB)):
                pass
        file.truncate(max(0, file.tell() - leave))
    return place / "fill"


def test_results_on_a_full_disk_end_a_run_with_one_line_and_a_later_run_completes(smallest):
    with disk(MIB) as place:
        folder = smallest_config(place / "sweep")
        filled = fill(place, leave=28 * KIB)
        answer = CliRunner().invoke(app, ["run", str(folder), "--in-process"])
        assert answer.exit_code == 1, answer.output
        assert answer.stderr.count("No space left on device") == 1, answer.stderr
        assert "free space and run again" in answer.stderr
        filled.unlink()
        assert not Store(folder).scan(repair=False).problems
        assert run(folder).complete
        assert all_rows(folder) == all_rows(smallest)


def begun(folder, place, home, log):
    """A run with a Ray of its own that keeps its files in `place`."""
    left_out = ("RAY_ADDRESS", "RAY_TMPDIR")
    inherited = {name: value for name, value in os.environ.items() if name not in left_out}
    ours = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": str(home), "NO_COLOR": "1"}
    with log.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "espalier", "run", str(folder)],
            env={**inherited, **ours, "RAY_TMPDIR": str(place)},
            stdout=file,
            stderr=subprocess.STDOUT,
        )


@pytest.mark.soak
@pytest.mark.ray
def test_no_ray_starts_where_its_temporary_folder_is_full_and_one_line_says_so_at_once(tmp_path):
    log = tmp_path / "driver.log"
    with disk(MIB) as place:
        fill(place)
        process = begun(smallest_config(tmp_path / "sweep"), place, tmp_path, log)
        assert process.wait(SECONDS / 3) == 1
    (line,) = log.read_text().splitlines()
    assert line.startswith(f"espalier: Ray's temporary folder {place} has 0.0 MB free")
    assert "set RAY_TMPDIR to a folder on another disk" in line


@pytest.mark.soak
@pytest.mark.ray
@pytest.mark.timeout(400)
def test_a_run_whose_rays_temporary_folder_fills_up_goes_on_also_without_one_of_its_workers(tmp_path):
    folder, log = config(tmp_path / "sweep", images=300), tmp_path / "driver.log"
    with disk(60 * MIB) as place:
        process = begun(folder, place, tmp_path, log)
        try:
            until(lambda: nets(folder) >= 5, log, process)
            fill(place)
            killed = next(pid for pid in descendants(process.pid) if title(pid).startswith("ray::Worker"))
            os.kill(killed, signal.SIGKILL)
            assert process.wait(3 * SECONDS) == 0, log.read_text()
            lines = log.read_text().splitlines()
            (told,) = (line for line in lines if line.startswith("Ray's temporary folder"))
            assert told.startswith(f"Ray's temporary folder {place}/ray has 0.0 MB free")
        finally:
            process.terminate()
            process.wait(SECONDS)
    undisturbed = config(tmp_path / "undisturbed", images=300)
    assert run(undisturbed).complete
    assert all_rows(folder) == all_rows(undisturbed)
