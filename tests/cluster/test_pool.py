from espalier.cluster.pool import Done, Failed, InProcessPool, Job
from tests.cluster import toys


def run(job, blobs=None):
    pool = InProcessPool(toys.execute, (blobs or {}).__getitem__)
    pool.submit(job, attempt=3)
    [event] = pool.wait(timeout=0)
    assert (event.key, event.attempt, event.device) == (job.key, 3, "cpu")
    return event


def test_done():
    event = run(Job("k", "join", "!", inputs=("b", "a")), {"a": b"1", "b": b"2"})
    assert isinstance(event, Done)
    assert event.output.blobs["k"] == b"21!"
    assert event.seconds >= 0


def test_error_and_hopeless_are_told_apart():
    error = run(Job("k", "fail", "luck"))
    assert isinstance(error, Failed)
    assert (error.reason, error.error) == ("error", "ValueError: no luck")
    assert run(Job("k", "despair", None)).reason == "hopeless"


def test_an_input_that_cannot_be_read_is_an_error():
    event = run(Job("k", "join", "", inputs=("gone",)))
    assert (event.reason, event.error) == ("error", "KeyError: 'gone'")


def test_oldest_first_one_at_a_time_and_nothing_after_close():
    pool = InProcessPool(toys.execute, {}.__getitem__)
    for key in "abc":
        pool.submit(Job(key, "look", 0.0), attempt=1)
    assert [event.key for event in pool.wait(0) + pool.wait(0)] == ["a", "b"]
    pool.close()
    assert pool.wait(0) == []


def test_too_little_memory_is_told_apart_from_other_errors():
    def execute(job, blobs):
        raise MemoryError("96 GiB")

    pool = InProcessPool(execute, {}.__getitem__)
    pool.submit(Job("k", "train", None), 1)
    (event,) = pool.wait(0)
    assert (event.reason, event.error) == ("memory", "MemoryError: 96 GiB")
