"""Whatever Ray raises becomes an event of its job with a cause, and the pool goes on."""

import inspect
import math
import pickle
import time
from types import SimpleNamespace

import pytest
import ray.exceptions
from ray.exceptions import (
    ActorDiedError,
    GetTimeoutError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    RaySystemError,
    RayTaskError,
)

from espalier.cluster.on_ray import dispatch as dispatches
from espalier.cluster.on_ray.actors import Call, Slot
from espalier.cluster.on_ray.blob_cache import BlobCache
from espalier.cluster.on_ray.dispatch import MOVE_SECONDS, Dispatch
from espalier.cluster.pool import Job, Receipt, Shelf

ERRORS = sorted(
    (each for _, each in inspect.getmembers(ray.exceptions, inspect.isclass) if issubclass(each, RayError)),
    key=lambda each: each.__name__,
)


def made(error):
    """An error of that class, as far as its own constructor allows."""
    if error is RayTaskError:
        return RayTaskError("run", "the traceback", OutOfMemoryError("killed"))
    foreign = SimpleNamespace(formatted_exception_string="said", language=0)
    for arguments in (
        (),
        ("said",),
        ("said", b"b" * 16),
        ("said", "b", "c"),
        ("a" * 56, "b", "c", "d"),
        (foreign,),
    ):
        try:
            one = error(*arguments)
            str(one)
        except Exception:  # noqa: BLE001 - the next arguments
            continue
        return one
    raise AssertionError(f"no way to make a {error.__name__} is known here")


class FakeCrew:
    """Two slots whose workers live; what is replaced is counted."""

    def __init__(self):
        self.slots = [Slot(SimpleNamespace(), None, node=node, place={"node": node}) for node in "ab"]
        self.replaced, self.released, self.taken = 0, [], set()

    def leaving(self, slot):
        return slot.node in self.taken

    def release(self, slot):
        self.released.append(slot.node)
        self.slots.remove(slot)

    def replace(self, slot):
        self.replaced += 1
        slot.calls.clear()

    def alive(self):
        pass


@pytest.fixture
def dispatch():
    return Dispatch(FakeCrew(), BlobCache(1000), {}.__getitem__, lambda: "")


def test_what_workers_read_by_themselves_is_neither_fetched_nor_sent_nor_kept(dispatch, monkeypatch):
    put, called, read = [], [], []
    monkeypatch.setattr(
        dispatches.ray, "put", lambda array: put.append(bytes(array)) or f"reference {len(put)}"
    )
    dispatch.fetch = lambda name: read.append(name) or b"plain"
    slot = dispatch.crew.slots[0]
    remote = SimpleNamespace(remote=lambda *sent: called.append(sent) or "event")
    slot.actor.run = SimpleNamespace(options=lambda **_: remote)
    there = {"a.safetensors": Receipt("a.0123456789abcdef.safetensors", "0", 10**9)}
    job = Job("k", "graft", None, ("a.safetensors", "b.safetensors"), shelf=Shelf("/shared", "mark", there))
    dispatch.submit(job, 1)
    dispatch._start(slot)
    assert (read, put) == (["b.safetensors"], [b"plain"])
    ((order, *references),) = called
    assert (pickle.loads(order), references) == ((job, 1), ["reference 1"])
    assert dispatch.blobs.size == 5
    assert dispatch.blobs.get("a.safetensors") is None


def test_a_worker_that_does_not_see_the_store_gets_its_blobs_from_the_driver(dispatch, monkeypatch):
    called = []
    monkeypatch.setattr(dispatches.ray, "put", bytes)
    dispatch.fetch = lambda name: name.encode()
    slot = dispatch.crew.slots[0]
    remote = SimpleNamespace(remote=lambda *sent: called.append(sent) or "event")
    slot.actor.run = SimpleNamespace(options=lambda **_: remote)
    slot.sees = False
    shelf = Shelf("/shared", "mark", {"a": Receipt("a.0123", "0", 1)}, takes=True)
    job = Job("k", "graft", None, ("a", "b"), shelf=shelf)
    dispatch.submit(job, 1)
    dispatch._start(slot)
    ((order, *references),) = called
    assert (pickle.loads(order), references) == ((Job("k", "graft", None, ("a", "b")), 1), [b"a", b"b"])
    assert slot.calls[0].job == job, "whoever has it next may see the store"


def answers_with(*errors, key="k"):
    """A call whose event raises an error each time that it is asked for."""
    return Call(Job(key, "graft", None), 1, list(errors))


@pytest.fixture(autouse=True)
def no_answers(monkeypatch):
    def get(event, timeout):
        assert timeout
        raise event.pop(0)

    monkeypatch.setattr(dispatches.ray, "get", get)


def test_an_answer_that_is_long_on_its_way_is_waited_for_while_ray_is_there(dispatch):
    slow = GetTimeoutError(), GetTimeoutError(), ObjectLostError("a" * 56, "10.0.0.7", "here")
    slot = dispatch.crew.slots[0]
    slot.calls.append(answers_with(*slow))
    dispatch._take(slot)
    (event,) = dispatch.events
    assert (event.reason, event.error.partition(":")[0]) == ("lost", "ObjectLostError")
    dispatch._missing = lambda: "Ray's head process"
    slot.calls.append(answers_with(*slow))
    with pytest.raises(RaySystemError, match="Ray's head process is gone"):
        dispatch._take(slot)
    assert slot.calls  # to be made again when Ray is there again


@pytest.mark.parametrize(
    "error", [each for each in ERRORS if each is not GetTimeoutError], ids=lambda error: error.__name__
)
def test_every_error_of_ray_in_an_answer_is_an_event_with_a_cause(dispatch, error):
    slot = dispatch.crew.slots[0]
    slot.calls.append(answers_with(made(error)))
    dispatch._take(slot)
    (event,) = dispatch.events
    assert event.key == "k"
    assert event.reason == ("memory" if error is OutOfMemoryError else "lost")
    assert event.error.startswith(error.__name__)
    assert "\n" not in event.error
    assert not slot.calls


def test_a_lost_input_is_told_in_words_not_by_the_workers_address(dispatch):
    slot = dispatch.crew.slots[0]
    lost = RayTaskError("run", "the traceback", ObjectLostError("a" * 56, "10.0.0.7", "here"))
    slot.calls.append(answers_with(lost.as_instanceof_cause()))
    dispatch._take(slot)
    (event,) = dispatch.events
    assert event.reason == "lost"
    assert event.error.startswith("RayTaskError(ObjectLostError): Failed to retrieve object aaaa")
    assert "ray::" not in event.error


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_of_ray_at_a_start_is_an_event_and_no_bug_of_the_job(dispatch, error):
    def refuse(*_, **__):
        raise made(error)

    slot = dispatch.crew.slots[0]
    slot.actor.run = SimpleNamespace(options=refuse)
    dispatch.submit(Job("k", "graft", None), 1)
    dispatch._start(slot)
    (event,) = dispatch.events
    assert event.reason == ("memory" if error is OutOfMemoryError else "lost")
    assert not dispatch.queue


def test_what_ray_says_was_preempted_or_dies_on_a_node_that_is_taken_away_is_not_charged(dispatch):
    first, second = dispatch.crew.slots
    first.calls.append(answers_with(ActorDiedError()))
    dispatch.crew.taken.add("a")
    dispatch._take(first)
    preempted = ActorDiedError()
    preempted._preempted = True
    second.calls.append(answers_with(preempted))
    dispatch._take(second)
    assert [event.reason for event in dispatch.events] == ["preempted", "preempted"]
    dispatch.crew.taken.add("b")
    second.calls.append(answers_with(OutOfMemoryError("killed")))
    dispatch._take(second)
    assert dispatch.events[-1].reason == "memory"


def test_a_node_that_is_taken_away_gets_nothing_new_and_gives_back_what_waits(dispatch, monkeypatch):
    monkeypatch.setattr(dispatches, "ray", SimpleNamespace(cancel=lambda event: None))
    started = []
    monkeypatch.setattr(dispatch, "_start", lambda slot: started.append(slot.node))
    there, here = dispatch.crew.slots
    there.calls += [answers_with(key="at work"), answers_with(key="behind")]
    dispatch.crew.taken.add("a")
    dispatch.fill()
    assert started == ["b"]
    assert [job.key for job, _ in dispatch.queue] == ["behind"]
    assert dispatch.crew.released == []  # it may end what it is at
    there.calls.clear()
    dispatch.fill()
    assert dispatch.crew.released == ["a"]
    assert dispatch.crew.slots == [here]
    assert started == ["b", "b"]


def test_a_call_waits_a_moment_before_it_is_taken_back_for_an_idle_slot(dispatch, monkeypatch):
    """Ray may not have sent it yet, and an actor that never gets it holds back all that come behind."""
    moved, now = [], [100.0]
    monkeypatch.setattr(dispatches, "ray", SimpleNamespace(cancel=moved.append))
    monkeypatch.setattr(dispatch, "_start", lambda slot: None)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    busy, _ = dispatch.crew.slots
    assert dispatch.patience() == math.inf
    busy.calls += [answers_with(key="at work"), answers_with(key="behind")]
    busy.calls[1].born = 100.0
    for seconds, takes_back in ((0.0, 0), (0.9, 0), (1.1, 1)):
        now[0] = 100.0 + seconds * MOVE_SECONDS
        assert dispatch.patience() == MOVE_SECONDS
        dispatch.fill()
        assert len(moved) == takes_back, seconds
    assert [job.key for job, _ in dispatch.queue] == ["behind"]
    assert dispatch.patience() == math.inf


def test_an_idle_slot_gets_a_call_that_may_be_taken_back_although_another_may_not_yet(dispatch, monkeypatch):
    moved = []
    monkeypatch.setattr(dispatches, "ray", SimpleNamespace(cancel=moved.append))
    monkeypatch.setattr(dispatch, "_start", lambda slot: None)
    busy, _ = dispatch.crew.slots
    busy.calls += [answers_with(key="at work"), answers_with(key="young"), answers_with(key="old")]
    busy.calls[2].born -= 2 * MOVE_SECONDS
    dispatch.fill()
    assert [job.key for job, _ in dispatch.queue] == ["old"]


def test_a_job_that_reached_its_limit_on_a_node_is_tried_on_another(dispatch, monkeypatch):
    there, here = dispatch.crew.slots
    there.calls.append(answers_with(key="hangs"))
    monkeypatch.setattr(Slot, "overdue", lambda slot, _: bool(slot.calls))
    dispatch.end_late()
    assert [(event.key, event.reason, event.node) for event in dispatch.events] == [("hangs", "late", "a")]
    dispatch.submit(Job("hangs", "graft", None), 2)
    assert dispatch._pick(there) is None
    assert dispatch._pick(here) == (Job("hangs", "graft", None), 2)


def test_an_answer_that_cannot_be_unpickled_is_a_lost_attempt(dispatch, monkeypatch):
    monkeypatch.setattr(dispatches.ray, "get", lambda event, timeout: b"cgone\nname\n.")
    slot = dispatch.crew.slots[0]
    slot.calls.append(Call(Job("k", "graft", None), 1, "event"))
    dispatch._take(slot)
    (event,) = dispatch.events
    assert (event.reason, "its answer cannot be read" in event.error) == ("lost", True)
