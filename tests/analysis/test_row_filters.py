"""Rows that meet conditions are read, and parts that are known to have none are not opened."""

import shutil

import pandas as pd
import pyarrow as pa
import pytest

from espalier import load
from espalier.analysis.row_filters import met
from espalier.orchestrator.store import known_parts, local_files
from espalier.orchestrator.store.local_files import LocalFiles
from espalier.orchestrator.store.sweep_store import Store
from espalier.tasks.tables.rows import table
from tests.analysis.conftest import curve_rows, graft_rows


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Parts of one width each, remembered."""
    place = tmp_path_factory.mktemp("filters") / "sweep"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_files, "SETTLED_NANOSECONDS", -(10**9))
        store = Store(place)
        for width in (4, 8, 16):
            rows = {"grafts": graft_rows(widths=(width,)), "curves": curve_rows(widths=(width,))}
            store.commit(f"w{width}", {name: table(name, lines) for name, lines in rows.items()})
        patch.setattr(known_parts, "NEW_PARTS", 1)
        Store(place).scan()
    return place


@pytest.fixture
def opened(monkeypatch):
    names, inner = [], LocalFiles.read

    def read(files, name):
        names.append(name)
        return inner(files, name)

    monkeypatch.setattr(LocalFiles, "read", read)
    return names


def plain(frame):
    """Texts as they are: which others a category could be depends on the parts that were opened."""
    texts = frame.select_dtypes("category").columns
    return frame.astype(dict.fromkeys(texts, object))


CASES = [
    ([("target_width", "==", 8)], "target_width == 8", {8}),
    ([("target_width", ">", 4), ("layer", "in", [1])], "target_width > 4 and layer == 1", {8, 16}),
    (
        [("target_width", "not in", (8,)), ("layer", "!=", 1)],
        "target_width != 8 and layer != 1",
        {4, 16},
    ),
    ([("target_width", "<", 4)], "target_width < 4", set()),
    ([("null", "=", "none")], "null == 'none'", {4, 8, 16}),
]


@pytest.mark.parametrize(("filters", "query", "widths"), CASES)
def test_what_is_asked_for_is_read_and_few_parts_are_opened(sweep, opened, filters, query, widths):
    every = load(sweep)
    opened.clear()
    found = load(sweep, filters)
    assert {name for name in opened if "grafts/w" in name} == {f"tables/grafts/w{w}.parquet" for w in widths}
    wanted = every.grafts.query(query).reset_index(drop=True)
    # a column of whole numbers has floats where one is missing, and among what was asked for none may be
    pd.testing.assert_frame_equal(plain(found.grafts), plain(wanted), check_dtype=False)
    pd.testing.assert_frame_equal(found.curves, every.curves)


def test_a_part_that_is_not_as_it_was_is_opened(sweep, tmp_path, opened):
    copy = shutil.copytree(sweep, tmp_path / "sweep")
    part = copy / "tables/grafts/w4.parquet"
    part.write_bytes((copy / "tables/grafts/w16.parquet").read_bytes())
    (copy / "tables/grafts/w16.parquet").unlink()
    found = load(copy, [("target_width", "==", 16)])
    wanted = load(sweep, [("target_width", "==", 16)]).grafts
    pd.testing.assert_frame_equal(plain(found.grafts), plain(wanted))
    (copy / ".inventory/grafts").write_bytes(b"")
    found = load(copy, [("target_width", "==", 16)])
    pd.testing.assert_frame_equal(plain(found.grafts), plain(wanted))


@pytest.mark.parametrize("how", ["!=", "not in", "<"])
def test_a_missing_value_meets_no_condition(how):
    value = [-1.0] if how == "not in" else 9.0
    rows = pa.table({"fvu_test": pa.array([1.0, None, 2.0]), "null": pa.array(["none", "self", None])})
    assert met(rows, [("fvu_test", how, value)]).tolist() == [True, False, True]
    texts = rows.set_column(1, "null", rows["null"].dictionary_encode())
    assert met(texts, [("null", "!=", "self")]).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ([("colour", "==", 1)], "no table has a column 'colour'"),
        ([("width", "~", 1)], "'~' compares nothing; known are =, ==, !=, <, <=, >, >=, in, not in"),
        ([("width", "==")], "is no condition; such as"),
        ("width == 4", "'w' is no condition"),
        ([("width", "in", 4)], "4 is not what 'width' is compared with by 'in': a list of values"),
        ([("width", "==", [4])], "[4] is not what 'width' is compared with by '==': a number"),
        ([("null", "<", "a")], "'null' holds texts, which have no order; '<' is for numbers"),
        (
            [("target_width", "<", "wide")],
            "'wide' is not what 'target_width' is compared with",
        ),
    ],
)
def test_what_is_no_condition_is_refused_in_one_line(sweep, filters, message):
    with pytest.raises(ValueError, match="filters: ") as refused:
        load(sweep, filters)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
