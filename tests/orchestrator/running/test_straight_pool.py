"""Which jobs use the store by themselves: in a shared one, those whose rows name their blobs."""

from collections import deque

import pytest

from espalier.cluster.pool import Done, Failed, InProcessPool, Job, Output, Receipt
from espalier.orchestrator.running.straight_pool import FAILURES, straight
from espalier.orchestrator.store.files import SHELF
from espalier.orchestrator.store.sweep_store import Store
from tests.orchestrator.store.test_blob_folder import commit


def execute(job, blobs):
    return Output()


OUTCOMES = {
    "done": lambda key: Done(key, 1, Output(), 1.0, "a node", "cpu"),
    "written": lambda key: Done(key, 1, Output(receipts={"c": Receipt("c.0", "0", 1)}), 1.0, "a node", "cpu"),
    "store": lambda key: Failed(key, 1, "store", "ShelfError: no such folder", 1.0, "a node"),
}


class Spread:
    """A pool on several machines, whose jobs end as they are told."""

    slots, spread, memories = 1, True, (7,)

    def __init__(self, seen=True):
        self.seen, self.jobs, self.events, self.asked = seen, [], deque(), []

    def shares(self, place, file, text):
        self.asked.append((place, file, text))
        return self.seen

    def submit(self, job, attempt):
        self.jobs.append(job)

    def wait(self, timeout):
        events, self.events = list(self.events), deque()
        return events

    def running(self):
        return {}

    def close(self):
        self.jobs.append("closed")


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "sweep")
    commit(made, state=b"momentum")
    made.commit("b", {}, {"b.safetensors": b"plain"})
    return made


def shelf_of(pool, under, kind="graft", key="k", inputs=("a.safetensors", "b.safetensors")):
    pool.submit(Job(key, kind, None, inputs), 1)
    return under.jobs[-1].shelf


def test_a_job_knows_which_of_its_inputs_lie_in_the_store_as_workers_wrote_them(store, tmp_path):
    under = Spread()
    pool = straight(under, store, "auto", [].append)
    shelf = shelf_of(pool, under)
    assert shelf.inputs == {"a.safetensors": store.receipt("a.safetensors")}
    assert under.jobs[-1].sent == ("b.safetensors",)
    assert (shelf.place, shelf.takes) == (str((tmp_path / "sweep").resolve()), False)
    assert under.asked == [(shelf.place, SHELF, shelf.mark)]
    assert (pool.slots, pool.memories, pool.running()) == (1, (7,), {})
    assert store.files.read(SHELF) == shelf.mark.encode()
    pool.close()
    assert under.jobs[-1] == "closed"


def test_blobs_whose_rows_name_them_are_the_workers_to_write_and_others_the_drivers(store):
    under = Spread()
    pool = straight(under, store, "auto", [].append)
    assert shelf_of(pool, under, "train", inputs=("a.resume.safetensors",)).takes
    assert shelf_of(pool, under, "train", inputs=()).takes
    assert shelf_of(pool, under, "graft", inputs=("b.safetensors",)) is None
    assert shelf_of(pool, under, "tune", inputs=("study-0-1.safetensors",)) is None, "its states have no row"


@pytest.mark.parametrize(
    ("pool", "blobs"),
    [(Spread(), "driver"), (Spread(seen=False), "auto"), (InProcessPool(execute, {}.get), "auto")],
    ids=["the user wants it", "not all see it", "one machine"],
)
def test_otherwise_all_stays_with_the_driver(store, pool, blobs):
    assert straight(pool, store, blobs, [].append) is pool
    assert not store.files.exists(SHELF)


def test_a_ray_of_our_own_is_not_even_asked(store):
    under = Spread()
    under.spread = False
    assert straight(under, store, "auto", [].append) is under
    assert not under.asked


def test_a_job_whose_worker_could_not_use_the_store_goes_by_the_driver_and_others_do_not(store):
    under = Spread()
    pool = straight(under, store, "auto", [].append)
    assert shelf_of(pool, under, key="k") is not None
    under.events.append(OUTCOMES["store"]("k"))
    assert [event.reason for event in pool.wait(0)] == ["store"]
    assert shelf_of(pool, under, key="k") is None
    assert shelf_of(pool, under, key="another") is not None


def test_a_job_whose_answer_the_driver_refused_goes_by_the_driver_when_it_is_submitted_again(store):
    """The worker's mount was gone, say: the driver does not find the file that the receipt names."""
    under = Spread()
    pool = straight(under, store, "auto", [].append)
    assert shelf_of(pool, under, key="k") is not None
    under.events.append(OUTCOMES["done"]("k"))
    pool.wait(0)
    assert shelf_of(pool, under, key="k") is None
    assert shelf_of(pool, under, key="another") is not None


def test_the_answer_of_an_attempt_that_was_given_up_says_nothing_of_the_one_at_work(store):
    under, told = Spread(), []
    pool = straight(under, store, "auto", told.append)
    for number in range(FAILURES):
        pool.submit(Job(f"k{number}", "graft", None, ("a.safetensors",)), 2)
        under.events.append(Done(f"k{number}", 1, Output(), 1.0, "a node", "cpu"))  # too late
        under.events.append(Failed(f"k{number}", 2, "store", "ShelfError: gone", 1.0, "a node"))
        pool.wait(0)
    assert len(told) == 1


def test_after_some_failures_in_a_row_no_worker_is_asked_to_and_that_is_told_once(store):
    under, told = Spread(), []
    pool = straight(under, store, "auto", told.append)
    few = ["store"] * (FAILURES - 1)
    for number, outcome in enumerate([*few, "written", *few, "done", "store"]):
        assert told == [], "what a worker wrote in between makes it begin anew, and nothing else"
        shelf_of(pool, under, key=str(number))
        under.events.append(OUTCOMES[outcome](str(number)))
        pool.wait(0)
    assert shelf_of(pool, under, key="the next") is None
    (line,) = told
    assert line.startswith("blobs go through the driver from here on")
    assert "a node: ShelfError: no such folder" in line
    for key in ("x", "y"):
        under.events.append(OUTCOMES["store"](key))
    pool.wait(0)
    assert len(told) == 1
