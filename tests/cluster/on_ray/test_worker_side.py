"""What a job says inside a worker comes back with its event, the end of it alone if it is much."""

import pickle
import sys
import threading

import numpy as np
import pytest

from espalier.cluster.on_ray import worker_side
from espalier.cluster.on_ray.worker_side import LOG_CHARACTERS, Worker, as_array
from espalier.cluster.pool import Job, Output, Receipt, Shelf


def talk(job, blobs):
    print("on standard output")  # noqa: T201 - what is tested
    sys.stderr.write("on standard error\n")
    if job.payload:
        raise ValueError(job.payload)
    return Output()


def answer_of(execute, job, *arrays):
    """What Ray is given, and what the driver makes of the first part of it."""
    given = Worker(execute, gpu=False).run(pickle.dumps((job, 1)), *arrays)
    parts = given if job.gives else (given,)
    return pickle.loads(parts[0]), parts[1:]


def event_of(execute, payload=None):
    return answer_of(execute, Job("k", "talk", payload))[0][0]


def test_a_job_that_ends_well_brings_back_what_it_said():
    assert event_of(talk).log == "on standard output\non standard error\n"


def test_a_job_that_fails_brings_back_its_traceback_after_what_it_said():
    event = event_of(talk, "no such layer")
    said, _, trace = event.log.partition("Traceback (most recent call last)")
    assert said == "on standard output\non standard error\n"
    assert "in talk\n" in trace
    assert trace.endswith("ValueError: no such layer\n")
    assert event.error == "ValueError: no such layer"


def test_of_much_talk_the_end_is_kept_in_bounded_memory():
    def chatter(job, blobs):
        for number in range(30_000):
            print("again and again", number)  # noqa: T201 - what is tested
        raise RuntimeError("at last")

    log = event_of(chatter).log
    assert len(log) == pytest.approx(LOG_CHARACTERS, abs=60)
    assert log.startswith("[")
    assert "characters left out]" in log.splitlines()[0]
    assert log.endswith("RuntimeError: at last\n")


def test_of_blobs_that_a_worker_has_stored_their_receipts_come_back_alone():
    there, made = Receipt("a.0.safetensors", "0", 1), Receipt("k.0.safetensors", "0", 1)
    seen = []

    def store(job, blobs):
        seen.append(dict(blobs))
        return Output(receipts={"k.safetensors": made})

    shelf = Shelf("/shared", "mark", {"a.safetensors": there}, takes=True)
    job = Job("k", "train", None, ("a.safetensors", "b.safetensors"), shelf=shelf)
    (event, names), blobs = answer_of(store, job, as_array(b"plain"))
    assert seen == [{"b.safetensors": b"plain"}]
    assert (names, blobs) == ((), ())
    assert event.output.receipts == {"k.safetensors": made}


@pytest.mark.parametrize("gives", range(5))
def test_as_many_blobs_as_a_job_gives_are_objects_of_their_own_and_none_is_lost(gives):
    made = {name: name.encode() for name in "abc"}
    (event, names), apart = answer_of(
        lambda job, blobs: Output(blobs=made), Job("k", "train", None, gives=gives)
    )
    assert names == ("a", "b", "c")[:gives]
    assert [blob.tobytes() for blob in apart[: len(names)]] == [made[name] for name in names]
    assert apart[len(names) :] == (None,) * (gives - len(names))
    assert {name: made[name] for name in names} | event.output.blobs == made
    assert not event.output.blobs.keys() & set(names)
    assert all(isinstance(blob, np.ndarray) for blob in apart[: len(names)])


def test_a_job_that_fails_leaves_all_its_blobs_empty():
    def fail(job, blobs):
        raise ValueError("no such layer")

    (event, names), apart = answer_of(fail, Job("k", "train", None, gives=2))
    assert (event.reason, names, apart) == ("error", (), (None, None))


def test_a_quiet_job_has_no_log():
    assert event_of(lambda job, blobs: Output()).log == ""


def test_a_mount_that_hangs_is_not_seen_and_holds_no_worker(monkeypatch):
    monkeypatch.setattr(worker_side, "SIGHT_SECONDS", 0.05)
    hangs = threading.Event()
    monkeypatch.setattr(worker_side, "sees", lambda path, text: hangs.wait(30))
    assert not Worker.sees(None, "/mount/mark", "text")
    hangs.set()
    monkeypatch.setattr(worker_side, "sees", lambda path, text: (path, text) == ("/mount/mark", "text"))
    assert Worker.sees(None, "/mount/mark", "text")
