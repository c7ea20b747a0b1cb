"""What a worker answers arrives as it was, tables of Arrow with their schemas."""

import pickle
from collections import Counter

import pyarrow as pa
import pytest

from espalier.cluster.on_ray.packing import packed

ROWS = pa.table(
    {"key": ["a", None, "c"], "value": pa.array([1.0, float("nan"), None], pa.float32())},
    metadata={"espalier": "{}"},
)
TABLES = {
    "whole": ROWS,
    "slice": ROWS.slice(1, 1),
    "empty": ROWS.slice(0, 0),
    "chunks": pa.concat_tables([ROWS, ROWS.slice(2)]),
    "no columns": pa.table({}),
}


@pytest.mark.parametrize("rows", TABLES.values(), ids=TABLES)
def test_a_table_comes_back_with_its_rows_and_its_metadata(rows):
    back = pickle.loads(packed(({"grafts": rows}, "k")))[0]["grafts"]
    assert back.schema.equals(rows.schema, check_metadata=True)
    assert str(back.to_pydict()) == str(rows.to_pydict())
    back.validate(full=True)


def test_what_is_no_table_is_pickled_as_ever():
    value = {"counts": Counter("abba"), "bytes": b"b" * 10, "nothing": None}
    assert pickle.loads(packed(value)) == value


def test_of_a_slice_its_own_rows_alone_travel():
    many = pa.table({"value": pa.array(range(100_000))})
    assert len(packed(many.slice(10, 1))) < 1000
