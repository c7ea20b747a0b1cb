"""What a run hears from its pool: notes once, and the fault that every job would meet."""

import pytest

from espalier.cluster.pool import Done, Failed, InProcessPool, Job, Output
from espalier.orchestrator.running.pool_makers import Heard, SharedFault
from espalier.tasks.data.raw_images import DataError, DownloadError


def pool(execute, *jobs, attempts=3):
    heard = Heard(InProcessPool(execute, lambda name: b""), [].append, attempts)
    for job in jobs:
        heard.submit(Job(job, "train", None), 1)
    return heard


def raises(error):
    def execute(job, blobs):
        raise error

    return execute


def test_bad_data_ends_the_run_at_once_with_its_own_words_and_the_node():
    heard = pool(raises(DataError("x.parquet, row 9: broken: mend it")), "a", "b")
    assert heard.wait(0) == []
    with pytest.raises(SharedFault, match=r"^x.parquet, row 9: broken: mend it \(found on .*\)$"):
        heard.wait(0)


def test_data_that_may_come_back_ends_the_run_when_its_tries_are_over():
    heard = pool(raises(DownloadError("no network")), "a", attempts=2)
    (event,) = heard.wait(0)
    assert isinstance(event, Failed)
    heard.submit(Job("a", "train", None), 2)
    assert heard.wait(0) == []
    with pytest.raises(SharedFault, match="no network"):
        heard.wait(0)


def test_a_fault_of_one_job_ends_nothing():
    heard = pool(raises(ValueError("its own")), "a", "b", attempts=1)
    assert [event.error for _ in range(2) for event in heard.wait(0)] == ["ValueError: its own"] * 2


def test_what_other_jobs_gave_is_handed_on_before_the_run_ends():
    class Both:
        slots = 2

        def wait(self, timeout):
            failed = Failed("a", 1, "hopeless", "DataError: gone", 0.1, "n", "cpu", shared=True)
            return [failed, Done("b", 1, Output(), 0.1, "n", "cpu")]

    heard = Heard(Both(), [].append)
    assert [event.key for event in heard.wait(0)] == ["b"]
    with pytest.raises(SharedFault, match="gone"):
        heard.wait(0)
