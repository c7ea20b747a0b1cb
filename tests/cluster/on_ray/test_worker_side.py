"""What a job says inside a worker comes back with its event, the end of it alone if it is much."""

import sys

import pytest

from espalier.cluster.on_ray.worker_side import LOG_CHARACTERS, Worker, as_array
from espalier.cluster.pool import Job, Output, Receipt, Shelf


def talk(job, blobs):
    print("on standard output")  # noqa: T201 - what is tested
    sys.stderr.write("on standard error\n")
    if job.payload:
        raise ValueError(job.payload)
    return Output()


def event_of(execute, payload=None):
    return next(iter(Worker(execute, gpu=False).run(Job("k", "talk", payload), 1)))[0]


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
    (answer,) = Worker(store, gpu=False).run(job, 1, as_array(b"plain"))
    event, names = answer
    assert seen == [{"b.safetensors": b"plain"}]
    assert names == []
    assert event.output.receipts == {"k.safetensors": made}


def test_a_quiet_job_has_no_log():
    assert event_of(lambda job, blobs: Output()).log == ""
