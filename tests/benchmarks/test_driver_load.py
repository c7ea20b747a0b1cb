"""The benchmark of the driver runs the real one: each job is committed once, and the figures fit together."""

import pytest

from benchmarks.driver_load import PARTS, _full, driven, flat, slept
from benchmarks.instant_jobs import Ask, InstantPool, answer, tasks
from espalier.orchestrator.store.sweep_store import Store


def test_each_job_is_committed_once_with_as_many_rows_and_bytes_as_were_asked_for(tmp_path):
    driven(tasks(5, Ask(rows=3, blob_bytes=100)), InstantPool(2), tmp_path)
    store = Store(tmp_path)
    assert sorted(store.read_table("grafts")["key"].to_pylist()) == sorted(
        task.job.key for task in tasks(5, Ask()) for _ in range(3)
    )
    assert list(store.inventory.blobs.values()) == [100] * 5
    assert set(store.read_table("jobs")["outcome"].to_pylist()) == {"done"}


def test_a_run_in_which_jobs_fail_gives_no_figures(tmp_path, monkeypatch):
    def without_a_column(job, blobs):
        output = answer(job, blobs)
        return type(output)({"grafts": output.tables["grafts"].drop_columns(["fvu_test"])})

    monkeypatch.setattr("benchmarks.instant_jobs.answer", without_a_column)
    with pytest.raises(RuntimeError, match="2 jobs were given"):
        driven(tasks(2, Ask(rows=1)), InstantPool(2), tmp_path)


def test_a_long_run_is_told_in_parts(monkeypatch, capsys):
    rows = flat(2 * PARTS)
    assert [row["jobs_done"] for row in rows] == [2 * part for part in range(1, PARTS + 1)]
    assert all(row["cpu_ms_a_job"] > 0 and row["resident_mb"] > 10 for row in rows)
    assert len(capsys.readouterr().err.splitlines()) == PARTS


def test_what_a_run_takes_once_is_told_apart_from_what_it_takes_between_jobs():
    ended = [2.3, 2.31, 4.32, 4.33, 6.34, 6.35]
    found = slept(ended, wall=6.45, slots=2, seconds=2.0)
    assert found["over_ideal"] == pytest.approx(0.45 / 6.45, abs=1e-4)
    assert found["once_s"] == pytest.approx(0.3 + 0.1, abs=1e-3)
    assert found["between_jobs_ms"] == pytest.approx(25.0, abs=0.1)
    assert (found["slots"], found["jobs"]) == (2, 6)


def test_a_driver_is_full_when_its_jobs_take_all_of_its_time():
    committed = {"rows_a_job": 1, "blob_bytes_a_job": 0, "cpu_ms_a_job": 9.0}
    found = _full(committed, by_ray=1.0)
    assert (found["driver_ms_a_job"], found["slots_of_2_s_jobs"], found["slots_of_20_s_jobs"]) == (
        10.0,
        200,
        2000,
    )
