import subprocess
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from espalier import load
from espalier.analysis import part_batches
from espalier.orchestrator.store.parquet_parts import encode
from espalier.tasks.tables.image_blocks import WIDE_COLUMNS
from espalier.tasks.tables.rows import table
from espalier.tasks.tables.schemas import SCHEMAS
from tests.analysis.conftest import curve_rows, graft_rows, write_tables


def test_tables_come_back_as_written(sweep):
    tables = load(sweep)
    rows = graft_rows()
    assert tables.grafts["fvu_test"].tolist() == [row["fvu_test"] for row in rows]
    assert list(tables.grafts.columns) == [
        name for name in SCHEMAS["grafts"].names if name not in WIDE_COLUMNS
    ]
    assert list(load(sweep, image_blocks=True).grafts.columns) == SCHEMAS["grafts"].names
    assert load(f"file://{sweep}").jobs.equals(tables.jobs)


def test_a_table_without_a_folder_is_empty_with_its_columns(tmp_path):
    tables = load(tmp_path)
    for name in ("nets", "grafts", "downstream", "curves", "jobs"):
        frame = getattr(tables, name)
        assert len(frame) == 0
        assert list(frame.columns) == [column for column in SCHEMAS[name].names if column not in WIDE_COLUMNS]


def test_parts_add_up_and_private_names_are_ignored(tmp_path):
    write_tables(tmp_path, curves=curve_rows(widths=(4,)))
    place = tmp_path / "tables" / "curves"
    pq.write_table(table("curves", curve_rows(widths=(8,))), place / "part-1.parquet")
    for name in (".staged.parquet", "_partial.parquet", "notes.txt"):
        (place / name).write_text("no table")
    assert sorted(load(tmp_path).curves["width"].unique()) == [4, 8]


def test_a_row_seen_in_two_parts_counts_once(tmp_path):
    """A reader beside a running merge sees the parts and what they are merged into."""
    write_tables(tmp_path, grafts=graft_rows(widths=(4,)))
    merged = table("grafts", graft_rows(widths=(4, 8)))
    pq.write_table(merged, tmp_path / "tables" / "grafts" / "part-1.parquet")
    assert len(load(tmp_path).grafts) == len(merged)


def test_a_missing_folder_is_a_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no sweep folder at '.*nowhere'; `espalier new"):
        load(tmp_path / "nowhere")


def test_flipped_bits_are_found_and_the_cure_is_named(sweep):
    part = sweep / "tables" / "grafts" / "part-0.parquet"
    data = bytearray(part.read_bytes())
    for place in range(2000, 2400):
        data[place] ^= 0xFF
    part.write_bytes(data)
    with pytest.raises(ValueError, match=r"part-0\.parquet: .*`espalier run FOLDER` recomputes"):
        load(sweep)


def test_a_cut_off_part_is_named(sweep):
    part = sweep / "tables" / "nets" / "part-0.parquet"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"cannot read .*nets/part-0\.parquet"):
        load(sweep)


@pytest.mark.parametrize("text", [b"\xff\xfe\xfd", "gelu".encode("utf-16")[1:4]])
def test_a_text_that_is_no_utf8_is_named_among_parts_that_are_read_together(tmp_path, text):
    place = tmp_path / "tables" / "curves"
    place.mkdir(parents=True)
    for number in range(40):
        rows = curve_rows(widths=(number + 1,))
        (place / f"part-{number}.parquet").write_bytes(encode("curves", table("curves", rows)))
    assert load(tmp_path).curves["width"].nunique() == 40
    broken = table("curves", [row | {"key": row["key"] + "!!!"} for row in curve_rows(widths=(99,))])
    # Bytes that are no text get into a file by a writer that does not check them.
    keys = pa.array([key.encode().replace(b"!!!", text) for key in broken["key"].to_pylist()], pa.binary())
    wrong = pa.StringArray.from_buffers(len(keys), *keys.buffers()[1:])
    broken = broken.set_column(0, broken.schema.field(0), wrong)
    (place / "part-17x.parquet").write_bytes(encode("curves", broken))
    with pytest.raises(ValueError, match=r"cannot read .*part-17x\.parquet: .*UTF8"):
        load(tmp_path)


def test_parts_come_in_the_order_of_their_names_however_they_are_read(tmp_path, monkeypatch):
    place = tmp_path / "tables" / "curves"
    place.mkdir(parents=True)
    for number in range(30):
        rows = table("curves", curve_rows(widths=(number + 1,)))
        (place / f"part-{number:02}.parquet").write_bytes(encode("curves", rows))
    together = load(tmp_path).curves
    assert together["width"].drop_duplicates().tolist() == list(range(1, 31))
    monkeypatch.setattr(part_batches, "BATCH_BYTES", 1)  # each by itself
    pd.testing.assert_frame_equal(load(tmp_path).curves, together)


def test_a_part_of_another_schema_is_named(sweep):
    pq.write_table(pa.table({"key": ["x"], "width": ["four"]}), sweep / "tables" / "nets" / "part-1.parquet")
    with pytest.raises(
        ValueError, match=r"part-1\.parquet is not a part of table 'nets'.*width is string, not int64"
    ):
        load(sweep)


@pytest.mark.parametrize("code", ["import espalier.analysis", "from espalier import load, fit_width_limit"])
def test_reading_results_loads_neither_torch_nor_ray(code):
    code += "; import sys; print([name for name in ('torch', 'ray') if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_only_public_names_are_offered():
    import espalier

    assert isinstance(espalier.load, type(load))
    with pytest.raises(AttributeError, match="has no attribute 'fits'"):
        _ = espalier.fits
