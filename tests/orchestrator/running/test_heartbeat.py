"""A run tells every few seconds what it is at, and nothing once it has ended; what it tells ends no run."""

import errno
from datetime import UTC, datetime, timedelta

import pytest

from espalier.cluster.pool import Job
from espalier.orchestrator.planning.cost import Cost
from espalier.orchestrator.planning.task import Task
from espalier.orchestrator.running.heartbeat import HEARTBEAT, SECONDS, AtWork, Heart, age, heartbeat
from espalier.orchestrator.store.files import StoreFull
from espalier.orchestrator.store.sweep_store import Store

TASKS = {key: Task(Job(key, "train", None), Cost(1.0, 0, 0), f"train {key}") for key in "abc"}


class Clock:
    now = 100.0

    def __call__(self):
        return self.now

    def wall(self):
        return datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_a_heartbeat_tells_what_is_at_work_and_for_how_long_no_job_has_ended(store, clock):
    heart = Heart(store, clock.wall, clock)
    clock.now += 7.0
    heart.beat(2, {"a": 3.26, "of another run": 9.0}, TASKS)
    seen = heartbeat(store)
    assert (seen.slots, seen.queued, seen.quiet) == (2, 2, 7.0)
    assert seen.running == [AtWork(key="a", label="train a", seconds=3.3)]
    assert (seen.at - seen.since).total_seconds() == 7.0
    heart.moved()
    clock.now += SECONDS
    heart.beat(2, {}, TASKS)
    assert heartbeat(store).quiet == SECONDS
    assert age(heartbeat(store), clock.wall() + timedelta(seconds=4)) == 4.0


def test_it_is_written_every_few_seconds_and_removed_at_the_end(store, clock, tmp_path):
    times = set()

    def cut_off():
        with Heart(store, clock.wall, clock) as heart:
            for _ in range(200):
                heart.beat(1, {}, {})
                times.add(heartbeat(store).at)
                clock.now += 0.1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_off()
    assert len(times) == 20 / SECONDS
    assert heartbeat(store) is None
    assert not (tmp_path / HEARTBEAT).exists()


@pytest.mark.parametrize("lies", [b"", b"[]", b'{"at": 5}', b"\xff", b'{"slots": "many"}'])
def test_what_is_no_heartbeat_is_told_by_its_name(store, tmp_path, lies):
    (tmp_path / HEARTBEAT).write_bytes(lies)
    with pytest.raises(ValueError, match=rf"{HEARTBEAT}.*delete"):
        heartbeat(store)


def test_a_full_disk_and_a_folder_in_its_place_end_no_run(store, clock, tmp_path, monkeypatch):
    def full(name, value):
        raise StoreFull(name, OSError(errno.ENOSPC, "no space"))

    with Heart(store, clock.wall, clock) as heart:
        monkeypatch.setattr(store, "write_json", full)
        heart.beat(1, {}, {})
        monkeypatch.undo()
        (tmp_path / HEARTBEAT).mkdir()
        clock.now += SECONDS
        heart.beat(1, {}, {})
