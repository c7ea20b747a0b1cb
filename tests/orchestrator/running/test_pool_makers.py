"""What a run hears from its pool: notes once, the fault that every job would meet, and its slots' memory."""

import pytest

from espalier.cluster.pool import Done, Failed, InProcessPool, Job, Output
from espalier.orchestrator.config.sweep_config import ConfigError
from espalier.orchestrator.planning.kinds.grafts import Grafts
from espalier.orchestrator.planning.task import Limits
from espalier.orchestrator.running import pool_makers
from espalier.orchestrator.running.execute import execute as execute_job
from espalier.orchestrator.running.pool_makers import Heard, SharedFault, limits_before, slot_limits
from espalier.orchestrator.sweep import Sweep
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


GIB = 2**30


def small_sweep(folder, memory=""):
    text = f"""
data.dataset = "digits"
network.layers = [2, "pool", 2]
train = {{epochs = 1, snapshots = [0, 1]}}
sweep = {{widths = [2], seeds = 2}}
graft.nulls = []
run = {{slots = 1{memory}}}
"""
    folder.mkdir()
    (folder / "sweep.toml").write_text(text)
    return Sweep(folder)


def sizes(of, swept, monkeypatch, here):
    """Bytes of the jobs that a run submits to slots of memory `of`, the driver's own slot having `here`."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(pool_makers, "slot_memory", lambda config, slots: here)
    given = []

    class Elsewhere(InProcessPool):
        slots, memories = len(of), of

        def submit(self, job, attempt):
            given.append(job.memory)
            super().submit(job, attempt)

    assert swept.run(pool=lambda fetch, config, largest: Elsewhere(execute_job, fetch)).complete
    return given


def test_jobs_are_for_the_slots_of_the_cluster_and_not_for_a_small_machine_that_drives_it(
    tmp_path, monkeypatch
):
    given = sizes((8 * GIB,) * 4, small_sweep(tmp_path / "sweep"), monkeypatch, here=1000)
    assert min(given) > 1000


def test_what_is_missing_is_found_once_also_where_the_slots_are_known_late(tmp_path, monkeypatch):
    asked, wanted = [], Grafts.wanted
    monkeypatch.setattr(Grafts, "wanted", lambda kind, scope: asked.append(kind) or wanted(kind, scope))
    sizes((8 * GIB,) * 4, small_sweep(tmp_path / "sweep"), monkeypatch, here=1000)
    assert len(asked) == 1


def test_a_job_that_exceeds_every_slot_of_the_cluster_is_refused_whatever_the_driver_has(
    tmp_path, monkeypatch
):
    with pytest.raises(ConfigError, match=r"but a slot has 0\.01 GiB"):
        sizes((10**7,) * 4, small_sweep(tmp_path / "sweep"), monkeypatch, here=64 * GIB)


def test_a_memory_that_the_config_names_holds_everywhere(tmp_path):
    config = small_sweep(tmp_path / "sweep", ", memory_gib = 2").config
    before = limits_before(config, 3, "10.0.0.1:6379")
    assert before == Limits(2 * GIB, 3)
    assert slot_limits(before, 9, [GIB, 8 * GIB]) == Limits(2 * GIB, 9)


def test_a_ray_of_our_own_shares_this_machines_memory(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = small_sweep(tmp_path / "sweep").config
    for address in (None, "local"):
        before = limits_before(config, 2, address)
        assert before.largest == before.memory
        assert slot_limits(before, 4, ()) == Limits(before.memory, 4)
