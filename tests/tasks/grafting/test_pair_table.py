"""Columns of pairs read as the sequence of pairs that they were made from."""

import pickle

import numpy as np
import pytest

from espalier.tasks.grafting.pair_table import PairTable
from espalier.tasks.spec import Pair

PAIRS = (Pair("a" * 24, 0, 1), Pair("b" * 24, 1, 0, "untrained"), Pair("c" * 24, 2, 2, "self"))


def test_columns_read_like_the_pairs():
    table = PairTable.of(PAIRS)
    assert PairTable.of(table) is table
    assert table == PAIRS
    assert (table[0], table[-1], table[1:]) == (PAIRS[0], PAIRS[-1], PAIRS[1:])
    assert table.that(np.array([True, False, True])) == [PAIRS[0], PAIRS[2]]
    with pytest.raises(IndexError):
        _ = table[3]


def test_columns_travel_with_the_names_of_their_nulls():
    assert pickle.loads(pickle.dumps(PairTable.of(PAIRS))) == PAIRS
