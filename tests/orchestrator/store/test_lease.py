"""Whoever holds the lease may write; a holder that is gone loses it, one that lives never does."""

import uuid

import pytest

from espalier.orchestrator.store import lease as leases
from espalier.orchestrator.store.files import LOCK, StoreLocked
from espalier.orchestrator.store.lease import LEASE_SECONDS, WATCH_SECONDS, Lease, run_out, written
from espalier.orchestrator.store.places import open_files


class Clock:
    """Time that passes while somebody sleeps; `meanwhile` happens at the end of each sleep."""

    def __init__(self):
        self.now, self.meanwhile = 1e9, lambda: None

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.meanwhile()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def place():
    return open_files(f"memory://{uuid.uuid4().hex}/sweep")


@pytest.fixture
def lease(place, clock):
    """Makes leases that the test releases."""
    made = []

    def make(other=None):
        made.append(Lease(other or place, clock, clock.sleep))
        return made[-1]

    yield make
    for each in made:
        each.release()


def test_a_living_holder_keeps_its_lease_for_ever(lease, clock):
    holder = lease()
    holder.take()
    for _ in range(20):
        clock.now += LEASE_SECONDS - 1
        with pytest.raises(StoreLocked, match=r"in use by pid \d+ on .*: wait for it; if it died, its lease"):
            lease().take()
        holder.renew()


def test_the_lease_of_a_killed_holder_runs_out_and_is_taken_over(place, clock, lease, capsys):
    place.put(LOCK, written("pid 1 on gone", "0" * 32, clock.now + LEASE_SECONDS))
    with pytest.raises(StoreLocked, match="pid 1 on gone"):
        lease().take()
    clock.now += LEASE_SECONDS
    begun, heir = clock.now, lease()
    heir.take()
    assert "the lease of pid 1 on gone has run out; it is taken over in 75 s" in capsys.readouterr().err
    assert clock.now - begun >= WATCH_SECONDS
    heir.check()
    heir.release()
    assert not place.exists(LOCK)


def test_a_holder_whose_clock_is_slow_is_seen_to_live(place, clock, lease):
    """Its lease seems to have run out long ago, but it changes while it is watched."""
    place.put(LOCK, written("pid 1 on slow", "0" * 32, clock.now - 9999))
    clock.meanwhile = lambda: place.put(LOCK, written("pid 1 on slow", "0" * 32, clock.now - 9990))
    with pytest.raises(StoreLocked, match="pid 1 on slow"):
        lease().take()
    assert leases.RENEWAL_SECONDS * 2 < WATCH_SECONDS


@pytest.mark.parametrize(
    "text",
    [b"pid 7 on laptop, since 2026-01-01T00:00:00+00:00", b"", b"\xff\x00", b"x; lease nothing until never"],
)
def test_a_copied_lock_of_a_local_folder_and_rubbish_bind_nobody(place, text):
    place.put(LOCK, text)
    assert run_out(text, 0.0)
    assert not place.locked()


def test_a_copied_lock_is_taken_without_waiting_for_its_holder(place, clock, lease):
    place.put(LOCK, b"pid 7 on laptop, since 2026-01-01T00:00:00+00:00")
    begun = clock.now
    lease().take()
    assert clock.now - begun < WATCH_SECONDS


def test_of_two_heirs_one_has_it(place, clock, lease):
    place.put(LOCK, written("pid 1 on gone", "0" * 32, clock.now - 1))
    other = written("pid 2 on faster", "1" * 32, clock.now + 9999)

    def meanwhile():
        clock.meanwhile = lambda: place.put(LOCK, other)  # in the second sleep, after we have written

    clock.meanwhile = meanwhile
    with pytest.raises(StoreLocked, match="pid 2 on faster"):
        lease().take()
    assert place.read(LOCK) == other


@pytest.mark.parametrize("write", ["publish", "replace", "remove"])
def test_a_holder_that_slept_too_long_writes_no_more(place, clock, monkeypatch, write):
    monkeypatch.setattr("espalier.orchestrator.store.remote_files.Lease", lambda files: Lease(files, clock))
    arguments = ["nets/a"] + [b"late"] * (write != "remove")
    with place.lock():
        getattr(place, write)(*arguments)
        before = place.sizes("nets")
        clock.now += LEASE_SECONDS  # the machine slept; nobody took the lease, so it goes on
        getattr(place, write)(*arguments)
        clock.now += LEASE_SECONDS
        place.put(LOCK, written("pid 2 on other", "1" * 32, clock.now + 60))
        for _ in range(2):
            with pytest.raises(StoreLocked, match="pid 2 on other"):
                getattr(place, write)(*arguments)
        assert place.sizes("nets") == before
    assert b"other" in place.read(LOCK)  # the lock of another is not ours to remove


def test_the_holder_renews_by_itself(place, monkeypatch):
    monkeypatch.setattr(leases, "RENEWAL_SECONDS", 0.005)
    with place.lock():
        first = place.read(LOCK)
        place.put(LOCK, first + b" ")  # what a renewal writes anew
        for _ in range(1000):
            if place.read(LOCK) != first + b" ":
                break
            leases.time.sleep(0.005)
        assert place.read(LOCK) != first + b" "
        assert place.locked()
    assert not place.locked()
