"""Several folders are read as one: whose rows they are, what they share, and what is asked for of them."""

import os

import pandas as pd
import pyarrow as pa
import pytest

from espalier import AXES, asymmetry, compare_to_null, fit_width_limit, load
from espalier.analysis import part_batches
from espalier.analysis.shared_pieces import Pieces
from espalier.orchestrator.store import part_columns
from espalier.orchestrator.store.local_files import LocalFiles
from espalier.orchestrator.store.parquet_parts import encode
from espalier.orchestrator.store.places import open_files
from espalier.orchestrator.store.sweep_store import Store
from espalier.tasks.parquet_pages import footer_bytes, places
from espalier.tasks.tables.rows import table
from espalier.tasks.tables.schemas import SCHEMAS
from tests.analysis.conftest import curve_rows, graft_rows, job_rows, write_tables

SMALL = {"seeds": (0, 1, 2), "epochs": (0, 5), "layers": (2, 3)}
LOW, HIGH = (4, 8), (8, 16)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two sweeps that share width 8, and the attempts of one job."""
    place = tmp_path_factory.mktemp("two")
    for name, widths in (("low", LOW), ("high", HIGH)):
        rows = {"grafts": graft_rows(widths, **SMALL), "curves": curve_rows(widths, epochs=2)}
        write_tables(place / name, **rows, jobs=job_rows())
    return place / "low", place / "high"


def plain(frame, *left_out):
    texts = frame.select_dtypes("category").columns
    return frame.astype(dict.fromkeys(texts, object)).drop(columns=list(left_out)).reset_index(drop=True)


def test_rows_of_two_sweeps_say_whose_they_are_and_shared_work_counts_once(two):
    both = load([*map(str, two)]).grafts
    low, high = (load(folder).grafts for folder in two)
    assert both.columns[0] == "sweep"
    assert both["sweep"].cat.categories.tolist() == ["low", "high"]
    pd.testing.assert_frame_equal(plain(both[both["sweep"] == "low"], "sweep"), plain(low), check_dtype=False)
    new = high[high["target_width"] == 16]
    pd.testing.assert_frame_equal(
        plain(both[both["sweep"] == "high"], "sweep"), plain(new), check_dtype=False
    )
    each = load(two, shared="each").grafts
    assert each.groupby("sweep").size().tolist() == [len(low), len(high)]
    assert load({"a": two[0]}).curves["sweep"].unique().tolist() == ["a"]
    assert "sweep" not in low


def test_shared_work_of_every_kind_of_table_counts_once(two):
    both = load(two)
    assert both.curves.groupby("width").size().to_dict() == dict.fromkeys((4, 8, 16), 4 * 2)
    assert len(both.jobs) == len(load(two[0]).jobs) == len(load(two, shared="each").jobs) / 2


def trial_rows(trials):
    """Trials of one study, with what its sampler drew in that folder."""
    blank = {field.name: 0 if pa.types.is_integer(field.type) else None for field in SCHEMAS["trials"]}
    return [blank | {"study": "s", "number": number} for number in range(trials)]


def test_trials_of_one_study_are_those_of_the_first_folder_that_has_it(tmp_path):
    write_tables(tmp_path / "short", trials=trial_rows(2))
    write_tables(tmp_path / "long", trials=trial_rows(4))
    for order, count in ((("short", "long"), 2), (("long", "short"), 4)):
        trials = load([tmp_path / name for name in order], tables=["trials"]).trials
        assert trials["sweep"].tolist() == [order[0]] * count
    assert len(load([tmp_path / name for name in order], tables=["trials"], shared="each").trials) == 6


def test_texts_of_two_sweeps_are_categories_of_one_axis(two):
    both = load(two).grafts
    assert both["source_net"].cat.categories.equals(both["target_net"].cat.categories)
    assert (both["source_net"] == both["target_net"]).sum() == (
        both["source_seed"] == both["target_seed"]
    ).sum()


def test_a_fit_of_two_sweeps_wants_to_know_what_they_are(two, tmp_path):
    wider = write_tables(tmp_path / "wider", grafts=graft_rows((16, 32), **SMALL))
    places, by = [two[0], wider], ["layer"]
    grafts = load(places, columns=[*AXES, "key"], tables=["grafts"]).grafts
    with pytest.raises(ValueError, match=r"'sweep' has several values .*high|low.*add 'sweep' to by"):
        fit_width_limit(grafts, "fvu_test", by, bootstraps=20)
    joined = fit_width_limit(grafts.drop(columns="sweep"), "fvu_test", by, bootstraps=20)
    whole = write_tables(tmp_path / "whole", grafts=graft_rows((4, 8, 16, 32), **SMALL))
    wanted = fit_width_limit(load(whole).grafts, "fvu_test", by, bootstraps=20)
    assert joined["widths"].tolist() == wanted["widths"].tolist() == [4, 4]


def test_the_axes_are_all_that_answers_need_to_know_which_rows_stand_beside_one_another(two):
    every, axes = (load(two[0], tables=["grafts"], columns=names).grafts for names in (None, AXES))
    assert len(axes.columns) < len(every.columns)
    for answer in (compare_to_null, asymmetry):
        pd.testing.assert_frame_equal(answer(axes), answer(every))


def test_columns_and_tables_that_are_asked_for_alone_are_read(two):
    found = load(two[0], columns=["fvu_test", "null", "target_width"])
    every = load(two[0])
    columns = ["target_width", "null", "fvu_test"]  # in the table's order
    pd.testing.assert_frame_equal(found.grafts, every.grafts[columns])
    assert set(found.frames()) == {name for name in SCHEMAS if {*columns} & {*SCHEMAS[name].names}}
    with pytest.raises(AttributeError, match=r"table 'curves' was not read: .*grafts"):
        _ = found.curves
    filtered = load(two[0], [("layer", "==", 3)], columns=["fvu_test"], tables=["grafts"]).grafts
    assert filtered["fvu_test"].tolist() == every.grafts.query("layer == 3")["fvu_test"].tolist()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"columns": ["colour"]}, "columns: no table has a column 'colour'"),
        ({"columns": "layer"}, "columns: found the text 'layer'; give a list, such as ['layer']"),
        ({"tables": ["graft"]}, "tables: there is no table 'graft'; there are nets, curves, grafts"),
        ({"columns": ["fvu_test"], "tables": ["nets"]}, "columns: table 'nets' has none of them"),
        ({"shared": "twice"}, "shared: found 'twice'; 'once' or 'each' would do"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(two, asked, message):
    with pytest.raises(ValueError, match=r"^\w+: ") as refused:
        load(two[0], **asked)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_folders_are_refused_in_one_line(two):
    with pytest.raises(ValueError, match=r"found no folder in the list"):
        load([])
    with pytest.raises(ValueError, match=r"found the folder '.*low' twice"):
        load([two[0], two[0]])
    with pytest.raises(FileNotFoundError, match=r"no sweep folder at '.*nowhere'"):
        load([two[0], two[0] / "nowhere"])


@pytest.fixture
def large(monkeypatch):
    """Parts count as large however small they are."""
    monkeypatch.setattr(part_columns, "is_small", lambda rows, pages: False)
    monkeypatch.setattr(part_batches, "SPARSE_BYTES", 0)
    monkeypatch.setattr(part_batches, "BATCH_BYTES", 1)


def committed(place):
    store = Store(place)
    for width in (4, 8):
        store.commit(f"w{width}", {"grafts": table("grafts", graft_rows((width,), **SMALL))})
    return place


def test_of_large_parts_the_bytes_of_other_columns_are_not_read(tmp_path, large, monkeypatch):
    every = load(committed(tmp_path)).grafts
    read, inner = {}, LocalFiles.read_ranges
    monkeypatch.setattr(part_columns, "TAIL_BYTES", 8)
    monkeypatch.setattr(part_columns, "APART_BYTES", 0)

    def noted(files, name, ranges):
        read.setdefault(name, []).append(sum(end - first for first, end in ranges))
        return inner(files, name, ranges)

    monkeypatch.setattr(LocalFiles, "read_ranges", noted)
    monkeypatch.setattr(LocalFiles, "read", lambda files, name: pytest.fail(f"{name} was read whole"))
    found = load(tmp_path, [("null", "==", "none")], columns=["fvu_test", "layer"], tables=["grafts"]).grafts
    wanted = every[every["null"] == "none"][["layer", "fvu_test"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, wanted)
    assert len(read) == 2
    for name, (_, footer, columns) in read.items():
        data = (tmp_path / name).read_bytes()
        assert footer == footer_bytes(data[-8:])
        needed = places(data, len(data), {"key", "null", "layer", "fvu_test"})
        assert columns == sum(end - first for first, end in needed) < len(data) / 4


def test_columns_of_large_parts_come_from_a_url_too(large):
    root = f"memory://{os.urandom(8).hex()}/sweep"
    committed(root)
    assert open_files(root).read_ranges("tables/grafts/w4.parquet", [(0, 4)]) == [b"PAR1"]
    found = load(root, columns=["layer", "null"], tables=["grafts"]).grafts
    assert len(found) == len(graft_rows((4, 8), **SMALL))


def test_a_damaged_page_of_a_column_that_is_read_names_the_part(tmp_path, large):
    committed(tmp_path)
    part = tmp_path / "tables/grafts/w4.parquet"
    part.write_bytes(part.read_bytes()[:-9] + b"\xff" * 9)
    with pytest.raises(ValueError, match=r"cannot read .*grafts/w4\.parquet"):
        load(tmp_path, columns=["layer"], tables=["grafts"])


def test_a_row_that_is_in_two_large_parts_counts_once_whatever_columns_are_read(tmp_path, large):
    rows = table("grafts", graft_rows((4, 8), **SMALL))
    committed(tmp_path)
    store = Store(tmp_path)
    store.files.publish("tables/grafts/merged-x.parquet", encode("grafts", rows))
    found = load(tmp_path, [("null", "!=", "self")], columns=["target_width"], tables=["grafts"]).grafts
    wanted = pd.Series(rows["null"].to_pylist()) != "self"
    assert list(found.columns) == ["target_width"]
    assert len(found) == wanted.sum()


def test_pieces_are_told_apart_by_all_columns_of_their_identity_however_they_are_stored():
    def rows(keys, epochs, encoded=False):
        texts = pa.chunked_array([pa.array(keys, pa.string())])
        return pa.table({"key": texts.dictionary_encode() if encoded else texts, "epoch": epochs})

    two_columns = Pieces(("key", "epoch"))
    two_columns.add(rows(["a", "a", "long text ö"], [1, 2, 1]))
    two_columns.add(rows(["a", "b", "c"], [3, 1, 1], encoded=True), [1, 2])
    assert not two_columns.repeated()
    two_columns.add(rows(["long text ö"], [1], encoded=True))
    assert two_columns.repeated()
    one = Pieces(("key",))
    one.add(rows(["a", "a", "b"], [1, 2, 3], encoded=True))  # several rows of a piece in one part
    assert not one.repeated()
    one.add(rows(["c", "d", "a"], [1, 2, 3]), [2, 1])
    assert one.repeated()


def test_a_plain_reader_of_a_compacted_folder_sees_each_row_once(tmp_path):
    Store(committed(tmp_path)).compact()
    parts = list((tmp_path / "tables" / "grafts").glob("*.parquet"))
    assert all(part.name.startswith("compact-") for part in parts)
    everything = pd.read_parquet(tmp_path / "tables" / "grafts")
    assert len(everything) == len(load(tmp_path).grafts) == len(graft_rows((4, 8), **SMALL))


def test_categories_behave_as_texts_do(two, tmp_path):
    grafts = load(two[0]).grafts
    texts = grafts.astype({"null": "str", "target_net": "str", "layer_name": "str"})
    assert (grafts["null"] == "none").equals(texts["null"] == "none")
    assert not (grafts["null"] == "no such null").any()
    means = grafts[grafts["null"] != "none"].groupby(["null", "layer_name"])["fvu_test"].mean()
    wanted = texts[texts["null"] != "none"].groupby(["null", "layer_name"])["fvu_test"].mean()
    assert [*means.items()] == [*wanted.items()]  # no group of a category without rows
    ranks = pd.DataFrame({"target_net": sorted(set(texts["target_net"])), "rank": range(6)})
    merged = grafts.merge(ranks, on="target_net")
    assert merged["rank"].tolist() == texts.merge(ranks, on="target_net")["rank"].tolist()
    assert grafts.sort_values("null")["null"].tolist() == texts.sort_values("null")["null"].tolist()
    grafts.to_parquet(tmp_path / "again.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "again.parquet"), grafts)
