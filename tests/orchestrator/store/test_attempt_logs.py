"""Logs of attempts: one file each, found by the key, of those alone that said anything."""

from datetime import UTC, datetime

import pytest

from espalier.orchestrator.store.attempt_logs import keep_log, log_of, logs, read_log
from espalier.orchestrator.store.files import StoreFull
from espalier.orchestrator.store.places import open_files

START = datetime(2025, 3, 4, 5, 6, 7, 89, tzinfo=UTC)


@pytest.fixture(params=["disk", "memory"])
def files(request, tmp_path):
    return open_files(tmp_path if request.param == "disk" else f"memory://logs-{tmp_path.name}")


def test_what_attempts_said_is_found_again_by_the_beginning_of_the_key_oldest_first(files):
    second, first, other = log_of("abc", START, 2), log_of("abc", START, 1), log_of("b", START, 1)
    for log in (second, first, other):
        keep_log(files, log, f"said by {log.key} {log.attempt}: ü\n")
    assert logs(files) == [first, other, second]
    assert logs(files, "ab") == [first, second]
    assert read_log(files, second) == "said by abc 2: ü\n"
    assert first.name == "logs/abc.20250304T050607.1.log"


def test_an_attempt_that_said_nothing_leaves_no_file(files):
    keep_log(files, log_of("a", START, 1), " \n")
    assert logs(files) == []
    with pytest.raises(FileNotFoundError):
        read_log(files, log_of("a", START, 1))


def test_other_files_in_the_folder_are_no_logs(tmp_path):
    files = open_files(tmp_path)
    keep_log(files, log_of("a", START, 1), "said")
    for name in ("notes.txt", "a.log", "a.20250304T050607.x.log"):
        (tmp_path / "logs" / name).write_text("mine")
    assert logs(files) == [log_of("a", START, 1)]


def test_a_full_disk_costs_the_log_and_not_the_run(tmp_path, monkeypatch):
    files = open_files(tmp_path)

    def full(name, data):
        raise StoreFull(name, OSError(28, "no space"))

    monkeypatch.setattr(files, "replace", full)
    keep_log(files, log_of("a", START, 1), "said")
    assert logs(files) == []
