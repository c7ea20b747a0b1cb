"""Readers of files from strangers refuse damaged files in words, or read what was written: a seeded sample.

`make fuzz` reads a million; what it found stands in SEEN.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.fuzz import campaign as campaigns
from tests.fuzz.campaign import campaign, judged
from tests.fuzz.mutations import MUTATIONS, damaged
from tests.fuzz.readers import READERS, Reader

INPUTS = 250

SEEN = {
    "config": [4562, 5765],  # a name of a field of kilobytes was told whole
    "images": [147, 1722, 1945, 40129],  # labels of 2^50, a name that is no UTF-8, one that two columns have
    "part": [4134, 12054, 16950, 24771, 145782, 189936],  # Arrow ended the process; all rows were gone
    "record": [1518, 2250, 2704],  # signs that turn a terminal's line, thousands of brackets
    "resealed": [9222, 12841],  # a key of kilobytes was told whole
}


@pytest.fixture(autouse=True)
def no_handler_is_left():
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_refused_in_words_or_read_as_what_was_written(name):
    report = judged(name, 0, INPUTS)
    assert report.faults == {}
    assert report.counts["refused"] > INPUTS / 4
    assert sum(report.counts.values()) == INPUTS


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name, seeds in SEEN.items() for seed in seeds])
def test_what_was_found_stays_mended(name, seed):
    assert judged(name, seed, 1).faults == {}


@pytest.mark.parametrize("name", READERS)
def test_sound_files_are_read(name, tmp_path):
    reader = READERS[name](tmp_path)
    for data in reader.files:
        found = reader.read(data)
        assert reader.same is None or reader.same(found)


def test_the_same_seed_damages_alike_and_every_mutation_changes_something():
    files = [bytes(range(256)) * 4, b'{"key": [1, 2, 30]}']
    assert damaged("a 1", files) == damaged("a 1", files)
    assert len({damaged(f"a {seed}", files) for seed in range(50)}) > 45
    for mutation in MUTATIONS:
        made = [mutation(random.Random(seed), bytearray(files[0]), files) for seed in range(20)]
        assert sum(data != files[0] for data in made) > 10, mutation


def crash(data):
    os.abort()


def hang(data):
    time.sleep(60)


def swell(data):
    return bytearray(64 * 2**30)


def wrong(data):
    return "another net"


def raw(data):
    raise KeyError("layers")


def mute(data):
    raise ValueError("\x1b[2J")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (crash, "the process ended with -6"),
        (hang, "no answer within 1 s"),
        (swell, "MemoryError"),
        (wrong, "never written"),
        (raw, "KeyError at test_campaign.py"),
        (mute, "no message"),
    ],
)
def test_a_campaign_finds_every_fault_that_is_planted_and_goes_on(monkeypatch, fault, words):
    def reader(folder):
        def read(data):
            if data[:1] == b"f":
                return fault(data)
            raise ValueError("refused")

        return Reader((b"fine", b"good"), read, (ValueError,), lambda found: found == "what was written")

    monkeypatch.setitem(READERS, "planted", reader)
    monkeypatch.setattr(campaigns, "SECONDS", 1)
    monkeypatch.setattr(campaigns, "damaged", lambda seed, files: b"f" if seed.endswith(" 3") else b"g")
    told = []
    report = campaign("planted", 0, 6, told.append)
    assert list(report.faults) == [3]
    assert words in report.faults[3]
    assert told == [f"planted 3: {report.faults[3]}"]
    assert sum(report.counts.values()) >= 4


def test_what_is_written_beside_the_readers_folder_is_a_fault(monkeypatch):
    def reader(folder):
        def read(data):
            (Path(folder).parent / "planted").write_bytes(data)
            raise ValueError("no such file")

        return Reader((b"fine",), read, (ValueError,))

    monkeypatch.setitem(READERS, "planted", reader)
    assert "planted" in judged("planted", 0, 1).faults[0]
