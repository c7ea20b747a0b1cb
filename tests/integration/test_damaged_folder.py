"""A walk of damages through a finished sweep: a run after them ends in the same rows, and the next is clean.

The suite takes a few steps of one walk. By hand: `ESPALIER_FUZZ_STEPS=2000 ESPALIER_FUZZ_SEED=7 pytest` of
this file; what fails names the step and its damages.
"""

import os
import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from espalier.analysis.tables import load
from espalier.orchestrator.sweep import Sweep
from tests.integration.conftest import TABLES, all_rows, run

STEPS = int(os.environ.get("ESPALIER_FUZZ_STEPS", "5"))
SEED = int(os.environ.get("ESPALIER_FUZZ_SEED", "0"))
SECONDS = 60
"""After which a step counts as hung."""
FLIPS = 30
"""Bits that are flipped in each record."""
AT_ONCE = 2
"""Files of each kind that are damaged in a step."""

RECORDS = ("run.json", "probes.json")
GROUPS = {table: f"tables/{table}/*" for table in (*TABLES, "jobs")} | {
    "checkpoints": "checkpoints/*", "the lock": ".lock"
}  # fmt: skip


def truncated(path, choose, other, outside):
    path.write_bytes(path.read_bytes()[: choose.randrange(max(1, path.stat().st_size))])


def emptied(path, choose, other, outside):
    path.write_bytes(b"")


def zeroed(path, choose, other, outside):
    path.write_bytes(bytes(path.stat().st_size))


def bit_flipped(path, choose, other, outside):
    data = bytearray(path.read_bytes())
    bit = choose.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def another_of_its_kind(path, choose, other, outside):
    path.write_bytes(other.read_bytes() if other.is_file() else b"pid 1 on elsewhere")


def removed(path, choose, other, outside):
    path.unlink()


def a_folder(path, choose, other, outside):
    data = path.read_bytes()
    path.unlink()
    path.mkdir()
    if choose.random() < 0.5:
        (path / path.name).write_bytes(data)


def a_link(path, choose, other, outside):
    """To the same content: what lies outside is not the sweep's, whatever it is."""
    place = outside / path.name
    if not place.exists():
        shutil.copy(path, place)
    path.unlink()
    path.symlink_to(place)


def a_link_in_a_circle(path, choose, other, outside):
    path.unlink()
    path.symlink_to(path)


def a_pipe(path, choose, other, outside):
    path.unlink()
    os.mkfifo(path)


IN_ITS_PLACE = (a_folder, a_link, a_link_in_a_circle, a_pipe)
DAMAGES = (truncated, a_folder, emptied, a_link, zeroed, bit_flipped, a_pipe, another_of_its_kind, removed,
           a_link_in_a_circle)  # fmt: skip
NOT_SEEN = {bit_flipped, another_of_its_kind, removed}
"""A bit may say nothing, an equal part holds what others hold, and what is gone is not there to be named."""


@pytest.fixture
def damaged(smallest, tmp_path, no_hang):
    """A copy to damage."""
    no_hang(SECONDS)
    return Path(shutil.copytree(smallest, tmp_path / "sweep"))


def damage(folder, step, choose, outside):
    """Damage some files of every group, by turns in every way and then in any; the damages by file."""
    done, turns = {}, AT_ONCE * step < len(DAMAGES)
    for offset, pattern in enumerate(GROUPS.values()):
        files = sorted(path for path in folder.glob(pattern))
        for number, path in enumerate(choose.sample(files, min(AT_ONCE, len(files)))):
            turn = AT_ONCE * step + number + offset if turns else choose.randrange(len(DAMAGES))
            way = DAMAGES[turn % len(DAMAGES)]
            way(path, choose, choose.choice(files), outside)
            done[path.relative_to(folder)] = way
    return done


def seen(folder):
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class OneLine(Exception):
    """A refusal that users can read."""


def loaded(folder):
    """The tables, or the refusal if it is one line of plain text."""
    try:
        return load(folder)
    except ValueError as error:
        raise (OneLine if str(error).isprintable() else AssertionError)(str(error)) from error


def test_whatever_is_damaged_a_run_ends_in_the_same_rows_and_the_next_is_clean(
    damaged, smallest, tmp_path, no_hang
):
    choose, wanted, outside = random.Random(SEED), all_rows(smallest), tmp_path / "outside"
    outside.mkdir()
    for step in range(STEPS):
        no_hang(SECONDS)
        if step % 2:  # so that grafts are missing, and their nets' checkpoints are needed
            for part in [*damaged.glob("tables/grafts/*")][step % 4 :]:
                part.unlink()
        done = damage(damaged, step, choose, outside)
        told = f"seed {SEED}, step {step}: " + ", ".join(
            f"{path} {how.__name__}" for path, how in done.items()
        )
        before = seen(outside)
        with suppress(OneLine):
            loaded(damaged)
        Sweep(damaged).plan()
        summary = run(damaged)
        assert summary.complete, told
        assert all_rows(damaged) == wanted, told
        assert all(message.isprintable() for message in summary.repaired), told
        for path, how in done.items():
            if how not in NOT_SEEN and (path.parts[0] == "tables" or how in IN_ITS_PLACE):
                assert any(path.name in message for message in summary.repaired), f"{path} in {told}"
        again = run(damaged)
        assert (again.complete, again.plan.tasks, again.repaired) == (True, (), ()), told
        assert seen(outside) == before, told


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *zip([*RECORDS, "sweep.toml", "sweep.toml"], IN_ITS_PLACE, strict=True),
        ("run.json", a_pipe),
    ],
)
def test_what_lies_in_the_place_of_a_record_is_one_clear_error_until_it_is_moved(
    damaged, tmp_path, name, how
):
    path, outside = damaged / name, tmp_path / "outside"
    outside.mkdir()
    data = path.read_bytes()
    how(path, random.Random(SEED), path, outside)
    before = seen(outside)
    for attempt in (lambda: Sweep(damaged).plan(), lambda: run(damaged)):
        with pytest.raises(OSError, match=f"{name} is a .* where a file belongs: ") as caught:
            attempt()
        assert str(caught.value).isprintable()
    path.rename(tmp_path / "away")
    path.write_bytes(data)
    assert run(damaged).complete
    assert seen(outside) == before


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("how", [truncated, emptied, zeroed, another_of_its_kind])
def test_a_damaged_record_is_told_by_name_and_written_anew_once_it_is_deleted(damaged, smallest, name, how):
    other = damaged / next(one for one in RECORDS if one != name)
    how(damaged / name, random.Random(SEED), other, None)
    with pytest.raises(ValueError, match=name.replace(".", r"\.")) as caught:
        run(damaged)
    assert str(caught.value).isprintable()
    (damaged / name).unlink()
    assert run(damaged).complete
    assert all_rows(damaged) == all_rows(smallest)


@pytest.mark.parametrize("name", RECORDS)
def test_a_flipped_bit_of_a_record_is_a_refusal_or_changes_no_row(damaged, smallest, name):
    choose, whole, told = random.Random(SEED), (damaged / name).read_bytes(), []
    for _ in range(FLIPS):
        (damaged / name).write_bytes(whole)
        bit_flipped(damaged / name, choose, None, None)
        try:
            assert run(damaged).plan.tasks == ()
        except ValueError as error:
            told.append(str(error))
    (damaged / name).write_bytes(whole)
    assert all_rows(damaged) == all_rows(smallest)
    assert FLIPS / 10 < len(told) < FLIPS
    assert all(line.isprintable() for text in told for line in text.splitlines())


@pytest.mark.parametrize("how", [emptied, zeroed])
def test_a_damaged_sweep_toml_is_told_by_name(damaged, smallest, how):
    how(damaged / "sweep.toml", random.Random(SEED), None, None)
    with pytest.raises(ValueError, match=r"sweep\.toml|sweep of another config"):
        run(damaged)
    shutil.copy(smallest / "sweep.toml", damaged)
    assert run(damaged).complete
    assert all_rows(damaged) == all_rows(smallest)


@pytest.mark.parametrize(
    ("name", "how"), [("tables/nets", a_link_in_a_circle), ("checkpoints", a_pipe), ("tables", emptied)]
)
def test_what_lies_in_the_place_of_a_folder_is_put_aside_or_told(damaged, smallest, tmp_path, name, how):
    shutil.rmtree(damaged / name)
    (damaged / name).touch()
    how(damaged / name, random.Random(SEED), None, None)
    if how is a_link_in_a_circle:
        with pytest.raises(OSError, match=f"{name} is a symbolic link"):
            run(damaged)
        (damaged / name).unlink()
    assert run(damaged).complete
    assert all_rows(damaged) == all_rows(smallest)
    assert run(damaged).repaired == ()
