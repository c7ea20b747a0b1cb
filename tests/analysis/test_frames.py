"""Frames of many parts hold what pandas would make of them, with texts as categories that compare."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from espalier.analysis import frames
from espalier.analysis.frames import FrameBuilder

SCHEMA = pa.schema(
    [
        ("source_net", pa.string()),
        ("target_net", pa.string()),
        ("null", pa.string()),
        ("width", pa.int64()),
        ("draw", pa.int64()),
        ("fvu", pa.float64()),
        ("dropped", pa.bool_()),
        ("start", pa.timestamp("us", tz="UTC")),
        ("blocks", pa.binary(4)),
    ]
)


def part(rows, seed=0, dictionaries=False):
    rng = np.random.default_rng(seed)
    nets = [f"net{n}" for n in rng.integers(0, 9, 2 * rows)]
    table = pa.table(
        {
            "source_net": nets[:rows],
            "target_net": nets[rows:],
            "null": [None if n % 3 == 0 else "none" for n in range(rows)],
            "width": rng.integers(0, 99, rows),
            "draw": [None if n % 2 else n for n in range(rows)],
            "fvu": [None if n == 1 else float(n) for n in range(rows)],
            "dropped": [n % 2 == 0 for n in range(rows)],
            "start": pa.array(rng.integers(0, 10**15, rows), pa.timestamp("us", tz="UTC")),
            "blocks": [None if n == 0 else n.to_bytes(4, "little") for n in range(rows)],
        },
        schema=SCHEMA,
    )
    if dictionaries:
        for name in ("source_net", "null"):
            table = table.set_column(SCHEMA.names.index(name), name, table[name].dictionary_encode())
    return table


def built(parts, expected=0):
    builder = FrameBuilder(SCHEMA)
    builder.expect(expected)
    for one in parts:
        builder.add(one)
    return builder.frame()


@pytest.mark.parametrize(("chunk_rows", "expected"), [(1, 0), (7, 3), (10**6, 10**6), (1, 10**6)])
def test_a_frame_holds_what_pandas_makes_of_all_parts_at_once(chunk_rows, expected, monkeypatch):
    monkeypatch.setattr(frames, "CHUNK_ROWS", chunk_rows)
    monkeypatch.setattr(frames, "RELEASE_ROWS", chunk_rows)
    parts = [part(5, 1), part(0, 2), part(12, 3, dictionaries=True), part(1, 4)]
    wanted = pa.concat_tables([part(5, 1), part(12, 3), part(1, 4)]).to_pandas()
    found = built(parts, expected)
    texts = ["source_net", "target_net", "null"]
    assert all(found[name].dtype == "category" for name in texts)
    assert found["blocks"].isna().equals(wanted["blocks"].isna())
    kinds = dict.fromkeys(texts, "str") | {"blocks": "object"}
    plain = found.astype(kinds).assign(blocks=found["blocks"].to_numpy(object, na_value=None))
    pd.testing.assert_frame_equal(plain, wanted.astype(kinds))


def test_bytes_of_a_fixed_number_take_no_object_each_and_rows_that_stand_there_again_are_found():
    frame = built([part(5), part(5)])
    assert frame["blocks"].dtype == pd.ArrowDtype(pa.binary(4))
    assert frame.duplicated().tolist() == [False] * 5 + [True] * 5
    assert b"".join(frame["blocks"].dropna()) == b"".join(n.to_bytes(4, "little") for n in [1, 2, 3, 4] * 2)


def test_texts_of_one_axis_compare_and_sort_as_texts_do():
    frame, plain = built([part(30, 5), part(30, 6)]), pa.concat_tables([part(30, 5), part(30, 6)]).to_pandas()
    assert (
        (frame["source_net"] == frame["target_net"]) == (plain["source_net"] == plain["target_net"])
    ).all()
    assert frame.sort_values(["target_net", "width"]).index.tolist() == (
        plain.sort_values(["target_net", "width"]).index.tolist()
    )
    groups = frame.groupby("source_net")["fvu"].mean()
    assert groups.index.tolist() == sorted(set(plain["source_net"]))
    assert frame["source_net"].cat.categories.tolist() == sorted({*plain["source_net"], *plain["target_net"]})


def test_a_frame_without_rows_has_the_columns_and_can_be_written_to():
    empty = built([])
    assert list(empty.columns) == SCHEMA.names
    assert empty.dtypes["fvu"] == "float64"
    frame = built([part(4)])
    frame.loc[0, "fvu"] = 9.0
    assert frame["fvu"].iloc[0] == 9.0


def test_a_text_that_a_parts_dictionary_holds_twice_is_one_category():
    twice = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, None], pa.int32()), pa.array(["b", "a", "b"]))
    parts = [pa.table({"null": pa.array(["c"])}), pa.table({"null": twice})]
    builder = FrameBuilder(pa.schema([("null", pa.string())]))
    for one in parts:
        builder.add(one)
    found = builder.frame()["null"]
    assert found.cat.categories.tolist() == ["a", "b", "c"]
    assert found.astype("str").fillna("").tolist() == ["c", "b", "a", "b", ""]


def test_columns_of_one_axis_that_share_few_texts_compare_all_the_same():
    builder = FrameBuilder(pa.schema([("source_net", pa.string()), ("target_net", pa.string())]))
    builder.add(pa.table({"source_net": ["a", "b"], "target_net": ["a", "c"]}))
    frame = builder.frame()
    assert (frame["source_net"] == frame["target_net"]).tolist() == [True, False]
    assert frame["source_net"].cat.categories.tolist() == ["a", "b", "c"]


def test_texts_of_many_parts_are_looked_through_now_and_then(monkeypatch):
    """However often: the same categories, in order, and the same codes."""
    parts = [part(20, seed, dictionaries=True) for seed in range(6)]
    wanted = built(parts)
    monkeypatch.setattr(frames, "FEW_TEXTS", 0)
    pd.testing.assert_frame_equal(built(parts), wanted)
