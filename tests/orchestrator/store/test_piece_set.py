"""A piece set is a set of identities, whatever they are; a million of them are a few dozen megabytes."""

import hashlib
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.orchestrator.store.piece_set import RECENT, PieceSet

TEXTS = st.one_of(
    st.sampled_from(["", "a", "a\0", "a\x1f1", "ä", "b" * 64, "b" * 65, "1"]), st.text("ab01", max_size=5)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.tuples(TEXTS, st.integers(-5, 5)), max_size=6), max_size=4))
def test_it_holds_what_was_put_in_and_nothing_else(batches):
    found, wanted = PieceSet("curves"), set()
    for batch in batches:
        keys, epochs = ([piece[side] for piece in batch] for side in (0, 1))
        rows = pa.table({"key": pa.array(keys, pa.string()), "epoch": pa.array(epochs, pa.int64())})
        assert found.holds(rows).tolist() == [piece in wanted for piece in batch]
        assert [piece in found for piece in batch] == [piece in wanted for piece in batch]
        found.add_rows(rows)
        wanted |= set(batch)
        assert found == wanted
        assert len(found) == len(wanted)


def keys(start, end):
    return [hashlib.sha256(bytes([n % 256, n // 256])).hexdigest()[:24] for n in range(start, end)]


def test_keys_are_looked_for_as_an_array_before_and_after_they_are_sorted():
    found = PieceSet("grafts")
    assert found.missing(keys(0, 2)).all()
    for start in range(0, 2 * RECENT, RECENT // 4):
        found.add_rows(pa.table({"key": keys(start, start + RECENT // 4)}))
    asked = np.array(keys(2 * RECENT - 5, 2 * RECENT + 5), "S")
    assert found.missing(asked).tolist() == [False] * 5 + [True] * 5
    assert found.missing(keys(2 * RECENT - 5, 2 * RECENT + 5)).tolist() == [False] * 5 + [True] * 5
    assert found.missing(["a key that is longer than those that are there"]).all()
    assert found == {(key,) for key in keys(0, 2 * RECENT)}


def test_a_piece_without_a_name_is_a_piece_too():
    found = PieceSet("grafts")
    rows = pa.table({"key": pa.array([None, "a"], pa.string())})
    assert found.add_rows(rows) is None
    assert found == {(None,), ("a",)}
    assert found.holds(rows).all()


def test_what_is_no_piece_is_not_in_it():
    assert "a" not in PieceSet("grafts")
    assert ("a", 1) not in PieceSet("grafts")


def test_a_million_keys_take_less_than_a_fifth_of_their_limit():
    random = np.random.default_rng(0).integers(0, 256, (10**6, 12), np.uint8)
    codes = np.frombuffer(random.tobytes().hex().encode(), "S24")
    found = PieceSet("grafts")
    found.add_codes(codes)
    assert len(found) == 10**6
    assert not found.missing(codes[::1000]).any()
    assert sum(sys.getsizeof(value) for value in (found._sorted, found._recent, found._odd)) < 40e6


@pytest.mark.parametrize("rows", [0, 1])
def test_slices_of_tables_are_read_where_they_are(rows):
    table = pa.table({"key": ["a", "bb", "ccc"]}).slice(1, rows)
    found = PieceSet("grafts")
    found.add_rows(table)
    assert found == {("bb",)} if rows else not found
