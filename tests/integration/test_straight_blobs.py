"""Where workers write checkpoints by themselves the rows are those of a run through the driver, each once."""

import errno
import os
import shutil
import time
from pathlib import Path

import pytest

from espalier.cluster.pool import Done, Failed, InProcessPool
from espalier.orchestrator.running import worker_blobs
from espalier.orchestrator.running.execute import execute
from espalier.orchestrator.store.blob_names import is_straight
from espalier.orchestrator.store.files import SHELF, StoreFull
from espalier.orchestrator.store.sweep_store import Store
from espalier.orchestrator.sweep import Sweep
from tests.integration.conftest import all_rows, run, smallest_config

DAY = 86_400.0


class Cluster(InProcessPool):
    """A pool in this process that says it is on several machines; what goes through the driver is counted."""

    spread = True

    def __init__(self, fetch, *_):
        super().__init__(execute, self._brought)
        self._read, self.bytes, self.made = fetch, 0, 0

    def _brought(self, name):
        data = self._read(name)
        self.bytes += len(data)
        return data

    def shares(self, place, file, text):
        return (Path(place) / file).read_text() == text

    def wait(self, timeout):
        events = super().wait(timeout)
        for event in events:
            if isinstance(event, Done):
                self.bytes += sum(len(blob) for blob in event.output.blobs.values())
                self.made += len(event.output.blobs) + len(event.output.receipts)
        return events


def run_on(folder, cluster=Cluster):
    """Run a sweep on a cluster; gives the summary and the cluster."""
    made = []

    def maker(*means):
        made.append(cluster(*means))
        return made[0]

    return Sweep(folder).run(pool=maker), made[0] if made else None


def checkpoints(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def jobs(folder):
    return Store(folder).read_table("jobs").to_pylist()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The smallest sweep, finished by workers that wrote their checkpoints, never to be written to."""
    folder = smallest_config(tmp_path_factory.mktemp("straight") / "sweep")
    summary, cluster = run_on(folder)
    assert summary.complete
    assert cluster.made == 6, "of two nets two checkpoints each, and a state"
    assert cluster.bytes == 0, "nothing goes through the driver"
    return folder


@pytest.fixture(scope="module")
def wider(tmp_path_factory):
    """What the smallest sweep with a third seed gives, through the driver."""
    folder = smallest_config(tmp_path_factory.mktemp("wider") / "sweep", sweep__seeds=3)
    assert run(folder).complete
    return all_rows(folder)


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.fixture
def fresh(tmp_path):
    return smallest_config(tmp_path / "fresh")


def test_the_rows_are_those_of_a_run_through_the_driver(finished, smallest):
    assert all_rows(finished) == all_rows(smallest)
    assert all(map(is_straight, checkpoints(finished)))
    assert not any(map(is_straight, checkpoints(smallest)))
    for row in Store(finished).read_table("nets").to_pylist():
        assert row["checkpoint"] in checkpoints(finished)
        assert row["sha256"].startswith(row["checkpoint"].split(".")[1])
    assert not (smallest / SHELF).exists()


def test_what_passes_through_the_driver_is_all_or_nothing(fresh):
    """A count, not a timing: bytes of checkpoints and states that the driver takes in and hands out.

    `finished` says that otherwise it is none.
    """
    config = (fresh / "sweep.toml").read_text()
    (fresh / "sweep.toml").write_text(f'{config}[run]\nblobs = "driver"\n')
    summary, cluster = run_on(fresh)
    assert summary.complete
    kept = sum(path.stat().st_size for path in (fresh / "checkpoints").iterdir())
    assert cluster.bytes > 4 * kept, "states are twice that, and all are handed out, also for pairs and nulls"
    assert not any(map(is_straight, checkpoints(fresh)))


def test_a_pool_on_one_machine_and_a_disk_that_is_not_shared_keep_to_the_driver(fresh):
    class Apart(Cluster):
        def shares(self, place, file, text):
            return False

    summary, cluster = run_on(fresh, Apart)
    assert summary.complete
    assert cluster.bytes > 0
    assert not any(map(is_straight, checkpoints(fresh)))
    assert not (fresh / SHELF).exists()


@pytest.mark.parametrize("first", ["driver", "workers"])
def test_a_folder_goes_on_the_other_way_to_the_same_rows(first, smallest, copy, wider, tmp_path):
    folder = copy if first == "workers" else Path(shutil.copytree(smallest, tmp_path / "plain"))
    before = checkpoints(folder)
    smallest_config(folder, sweep__seeds=3)
    summary = run(folder) if first == "workers" else run_on(folder)[0]
    assert summary.complete
    assert all_rows(folder) == wider
    added = set(checkpoints(folder)) - set(before)
    assert len(added) == 2
    assert all(is_straight(name) == (first == "driver") for name in added)
    assert set(before) <= set(checkpoints(folder))


class CutOff(Cluster):
    """Its first job is taken for lost; the worker writes on once the job was done elsewhere."""

    late = None

    def wait(self, timeout):
        job, attempt = self._waiting[0]
        if self.late is None and job.kind == "train":
            self._waiting.popleft()
            self.late = job
            return [Failed(job.key, attempt, "lost", "the node is gone", 1.0)]
        return super().wait(timeout)

    def close(self):
        output = execute(self.late, {})
        for name, receipt in output.receipts.items():
            data = (Path(self.late.shelf.place) / "checkpoints" / receipt.file).read_bytes()
            worker_blobs.shelved(self.late.shelf, {name: data + b"of another machine"})


def test_a_worker_that_was_cut_off_and_writes_on_does_no_harm_and_its_files_are_collected(fresh, finished):
    assert run_on(fresh, CutOff)[0].complete
    assert all_rows(fresh) == all_rows(finished)
    assert len(set(checkpoints(fresh)) - set(checkpoints(finished))) == 3
    assert run_on(fresh)[0].complete
    strays = set(checkpoints(fresh)) - set(checkpoints(finished))
    assert len(strays) == 2, "of the same bytes there is one checkpoint, and the state was not needed again"
    for name in strays:
        os.utime(fresh / "checkpoints" / name, (time.time() - DAY,) * 2)
    summary, _ = run_on(fresh)
    (told,) = summary.tuned.notes
    assert told.startswith("removed 2 checkpoints")
    assert all(name in told for name in strays)
    assert checkpoints(fresh) == checkpoints(finished)
    assert all_rows(fresh) == all_rows(finished)


class Losing(Cluster):
    """The first file that a worker writes is lost, or cut short, before the driver looks."""

    cut = None
    lost = ""

    def wait(self, timeout):
        events = super().wait(timeout)
        for event in events:
            if isinstance(event, Done) and event.output.receipts and not self.lost:
                self.lost = next(iter(event.output.receipts.values())).file
                path = Path(self.place) / "checkpoints" / self.lost
                path.write_bytes(path.read_bytes()[: self.cut]) if self.cut else path.unlink()
        return events

    def shares(self, place, file, text):
        self.place = place
        return True


class Cutting(Losing):
    cut = 100


@pytest.mark.parametrize("cluster", [Losing, Cutting])
def test_a_file_that_is_missing_or_cut_is_refused_and_its_job_run_again(cluster, fresh, finished):
    summary, pool = run_on(fresh, cluster)
    assert summary.complete
    (failed,) = [row for row in jobs(fresh) if row["outcome"] == "failed"]
    assert "its results were refused" in failed["error"]
    assert pool.lost in failed["error"]
    assert all_rows(fresh) == all_rows(finished)
    again = failed["key"]  # its second attempt goes by way of the driver, which then sees what it gets
    assert f"{again}.safetensors" in checkpoints(fresh)
    others = [[name for name in names if again not in name] for names in map(checkpoints, (fresh, finished))]
    assert others[0] == others[1]


def test_a_bit_that_flips_in_a_workers_file_puts_it_aside_and_it_is_made_again(copy, wider):
    path = sorted((copy / "checkpoints").iterdir())[0]
    sound = path.read_bytes()
    path.write_bytes(sound[:200] + bytes([sound[200] ^ 1]) + sound[201:])
    smallest_config(copy, sweep__seeds=3)
    summary, _ = run_on(copy)
    assert summary.complete
    assert any(path.name in line and "SHA-256" in line for line in summary.repaired)
    assert path.read_bytes() == sound
    assert all_rows(copy) == wider


def test_verify_finds_a_flipped_bit_in_a_workers_file(copy):
    path = sorted((copy / "checkpoints").iterdir())[0]
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    (told,) = Sweep(copy).verify()
    assert path.name in told
    assert not path.exists()
    assert Sweep(copy).verify() == []


def test_a_worker_that_cannot_write_fails_with_a_cause_and_the_driver_writes_for_it(
    fresh, finished, monkeypatch
):
    opened = worker_blobs._files

    class Full:
        def __init__(self, place):
            self._there = opened(place)

        def __getattr__(self, name):
            return getattr(self._there, name)

        def publish(self, name, data):
            raise StoreFull(name, OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(worker_blobs, "_files", Full)
    summary, _ = run_on(fresh)
    assert summary.complete
    failed = [row for row in jobs(fresh) if row["outcome"] == "failed"]
    assert {row["cause"] for row in failed} == {"store"}
    assert all("No space left on device" in row["error"] for row in failed)
    assert any("blobs go through the driver from here on" in line for line in summary.tuned.notes)
    assert all_rows(fresh) == all_rows(finished)
    assert not any(map(is_straight, checkpoints(fresh)))
