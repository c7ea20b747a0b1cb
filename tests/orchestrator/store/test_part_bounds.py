"""A small file that would take a large memory is refused before it does."""

import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from espalier.analysis.tables import load
from espalier.orchestrator.store import parquet_parts
from espalier.orchestrator.store.parquet_parts import PartError, check_size, decode, encode
from espalier.orchestrator.store.sweep_store import Store
from espalier.tasks.tables import schemas
from tests.orchestrator.store.test_sweep_store import make

LIMIT = 2**20
LARGE = 12 * LIMIT
PLAIN = pa.default_memory_pool()
WATCHED = pa.proxy_memory_pool(PLAIN)
"""Knows the most that was in use. It outlives the tests, as what was allocated through it may."""


@pytest.fixture(autouse=True)
def _small_limit(monkeypatch):
    monkeypatch.setattr(parquet_parts, "PART_LIMIT", LIMIT)


def column(kind, rows, text):
    if pa.types.is_string(kind):
        return pa.DictionaryArray.from_arrays(np.zeros(rows, "int32"), pa.array([text])).cast(kind)
    if pa.types.is_fixed_size_binary(kind):
        return pa.Array.from_buffers(kind, rows, [None, pa.py_buffer(bytes(rows * kind.byte_width))])
    return pa.array(np.zeros(rows), pa.float64()).cast(kind)


def written(table, **options):
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", **options)
    return sink.getvalue().to_pybytes()


def alike(rows, text="x", **options):
    """Rows of table `grafts` that are all the same: of each column one value is stored."""
    schema = schemas.SCHEMAS["grafts"]
    return written(pa.table([column(f.type, rows, text) for f in schema], schema=schema), **options)


def columns_of(count):
    return written(pa.table({f"c{number}": [1] for number in range(count)}))


def lists():
    """One row: a list of many zeros."""
    return written(pa.table({"key": [np.zeros(LARGE // 8)]}))


def texts():
    return len([f for f in schemas.SCHEMAS["grafts"] if pa.types.is_string(f.type)])


BOMBS = {
    "many rows": lambda: alike(LARGE // (8 * len(schemas.SCHEMAS["grafts"]))),
    "many rows in many groups": lambda: alike(LARGE // 400, row_group_size=1000),
    "a long text in many rows": lambda: alike(300, "y" * (LARGE // 300 // texts())),
    "a long text in some rows of many groups": lambda: alike(
        300, "y" * (LARGE // 300 // texts()), row_group_size=150
    ),
    "a long text stored each time": lambda: alike(
        300, "y" * (LARGE // 300 // texts()), use_dictionary=False, data_page_size=10**9
    ),
    "another schema": lambda: written(pa.table({"key": np.zeros(LARGE // 8)})),
    "nested lists": lists,
    "many columns": lambda: columns_of(600),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_part_that_would_take_too_much_is_put_aside_unread(tmp_path, bomb):
    store, data = Store(tmp_path), BOMBS[bomb]()
    assert len(data) < LIMIT
    store.files.publish("tables/grafts/good.parquet", encode("grafts", make("grafts", ["a"])))
    store.files.publish("tables/grafts/bomb.parquet", data)
    pa.set_memory_pool(WATCHED)
    try:
        with pytest.raises(PartError):
            decode("grafts", data)
        with pytest.raises(ValueError, match=r"bomb\.parquet") as caught:
            load(tmp_path)
        (problem,) = store.scan().problems
    finally:
        pa.set_memory_pool(PLAIN)
    assert WATCHED.max_memory() < 3 * LIMIT
    for text in (problem, str(caught.value)):
        assert "\n" not in text
        assert "bomb.parquet" in text
    assert store.row_count("grafts") == 1


def varint(number):
    """A number as Thrift's compact protocol has it: zigzag, seven bits a byte."""
    number, found = 2 * number, bytearray()
    while number or not found:
        found.append(number & 127 | 128)
        number >>= 7
    found[-1] &= 127
    return bytes(found)


@pytest.mark.parametrize("told", [10**6, 10**9, 2**62])
def test_a_footer_whose_counts_lie_is_refused(told):
    rows = 12_345
    data = alike(rows)
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    assert varint(rows) in data[footer:-8]
    changed = data[footer:-8].replace(varint(rows), varint(told))
    with pytest.raises(PartError):
        decode("grafts", data[:footer] + changed + len(changed).to_bytes(4, "little") + b"PAR1")


def test_a_file_larger_than_a_part_may_be_is_not_read(tmp_path):
    store = Store(tmp_path)
    store.files.publish("tables/grafts/a.parquet", b"")
    os.truncate(tmp_path / "tables/grafts/a.parquet", 2**40)
    with pytest.raises(ValueError, match=r"1\.02e\+03 GiB"):
        load(tmp_path)
    assert "1.02e+03 GiB" in store.scan().problems[0]


def test_a_part_at_the_limit_is_read(monkeypatch):
    monkeypatch.setattr(parquet_parts, "PART_LIMIT", 2**30)
    rows = make("grafts", [f"{number}" for number in range(20)])
    data = encode("grafts", rows)
    read = decode("grafts", data)
    # so low that the footer does not settle it
    monkeypatch.setattr(parquet_parts, "PART_LIMIT", 3 * rows.nbytes)
    pd.testing.assert_frame_equal(decode("grafts", data).to_pandas(), read.to_pandas())
    assert decode("grafts", data).schema.equals(read.schema, check_metadata=True)
    check_size(3 * rows.nbytes)
