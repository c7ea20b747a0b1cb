"""A page that claims more than its file's footer says is refused before it is decompressed."""

import json
import subprocess
import sys

import pyarrow as pa
import pytest

from espalier.analysis.tables import load
from espalier.orchestrator.store import parquet_parts
from espalier.orchestrator.store.parquet_parts import PartError, decode, encode, told
from espalier.orchestrator.store.part_columns import open_columns
from espalier.orchestrator.store.sweep_store import Store
from espalier.tasks.parquet_pages import PageError, check_pages, may_swell
from espalier.tasks.tables.image_blocks import BY_BLOCK
from tests.orchestrator.store import crafted_parts
from tests.orchestrator.store.crafted_parts import CODECS, I32, I64, crafted, footer, part, with_footer, zeros
from tests.orchestrator.store.test_sweep_store import make

PAGES = [
    ("1.0", False, 0),
    ("2.0", False, 0),
    ("1.0", True, 0),
    ("1.0", True, 1),
    ("2.0", True, 1),
]
"""The version of data pages, whether there is a dictionary, and which page of the first column it is."""
BOUNDED = """
import json, resource
from espalier.orchestrator.store.parquet_parts import PartError, decode
from tests.orchestrator.store.crafted_parts import CODECS, LARGEST, crafted, part, zeros
from tests.orchestrator.store.test_part_pages import PAGES

def of_process(what):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if what in line) * 1024

def read(data):
    try:
        return decode("grafts", data)
    except PartError as error:
        return str(error)

bomb = zeros(LARGEST)
cases = [(codec, *page) for codec in CODECS for page in PAGES]
sound = {case: part(*case[:3]) for case in cases}
rows = {case: read(data) for case, data in sound.items()}
limit = of_process("VmSize") + 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
before, told = of_process("VmHWM"), []
for case in cases:
    found = read(crafted(sound[case], case[3], payload=bomb if case[0] == "zstd" else None))
    told.append(found if isinstance(found, str) else str(found.to_pydict()) == str(rows[case].to_pydict()))
print(json.dumps({"told": told, "grown": of_process("VmHWM") - before}))
"""


def test_pages_that_claim_two_gigabytes_are_refused_in_one_line_and_in_bounded_memory():
    """Or are read as what they are, where no reader believes the claim: nothing is decompressed there."""
    answer = subprocess.run([sys.executable, "-c", BOUNDED], capture_output=True, text=True, check=True)
    found = json.loads(answer.stdout)
    assert found["grown"] < 64 * 2**20
    for codec, each in zip([codec for codec in CODECS for _ in PAGES], found["told"], strict=True):
        assert each is True or (isinstance(each, str) and "\n" not in each)
        if codec in ("zstd", "brotli"):  # by which a page may be thousands of times what it is on disk
            assert "the pages of column 'key' take 2147483" in each


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("version", "dictionary", "page"), PAGES)
def test_the_walk_refuses_what_contradicts_the_footer_and_nothing_else(codec, version, dictionary, page):
    sound = part(codec, version, dictionary)
    check_pages(sound)
    check_pages(part(codec, version, dictionary, rows=0))
    check_pages(crafted(sound, page, claims=2))
    with pytest.raises(
        PageError, match=r"the pages of column 'key' take 2147483\d\d\d bytes, where the footer"
    ):
        check_pages(crafted(sound, page))


@pytest.mark.parametrize("small", [False, True])
def test_every_reader_names_a_part_whose_page_contradicts_its_footer(tmp_path, small, monkeypatch):
    bomb = crafted(part("zstd"), payload=zeros(10**6), claims=10**6)
    if not small:
        monkeypatch.setattr(parquet_parts, "is_small", lambda rows, pages: False)
    store = Store(tmp_path)
    store.files.publish("tables/grafts/good.parquet", encode("grafts", make("grafts", ["c"])))
    store.files.publish("tables/grafts/bomb.parquet", bomb)
    with pytest.raises(ValueError, match=r"bomb\.parquet: no whole Parquet file \(the pages of column 'key'"):
        load(tmp_path)
    (problem,) = store.scan().problems
    assert "bomb.parquet: no whole Parquet file (the pages of column 'key' take 1000" in problem
    assert store.row_count("grafts") == 1


def test_what_could_swell_is_looked_at_and_other_small_parts_are_not():
    swell = {codec: may_swell(part(codec), 2**28) for codec in CODECS}
    assert swell == {"none": False, "snappy": False, "gzip": False, "brotli": True, "zstd": True}
    assert all(may_swell(part(codec), 2**20) for codec in CODECS)


@pytest.mark.parametrize("said", ["15 08", "f5 08", "05 08 08", "05 88 00 08", "15 88 80 00"])
def test_no_way_to_name_brotli_is_overlooked(said):
    """A writer has one way; a reader takes each."""
    assert may_swell(with_bytes(bytes.fromhex(said)), 2**28)
    assert not may_swell(with_bytes(b"\x15\x02"), 2**28)


def with_bytes(footer):
    return b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def changed(**columns):
    """The sound part with other numbers told of its first column."""
    data = part()
    fields, end = footer(data)
    column = crafted_parts.columns(fields)[0]
    column.update({int(number[1:]): (I64, value) for number, value in columns.items()})
    fields[4][1][1][0][1][1][1][0][3] = crafted_parts.STRUCT, dict(sorted(column.items()))
    return with_footer(data[:end], fields)


@pytest.mark.parametrize(
    "damaged",
    [
        lambda: changed(_7=10**6),
        lambda: changed(_7=-5),
        lambda: changed(_7=3),
        lambda: changed(_9=10**9),
        lambda: changed(_9=0),
        lambda: changed(_11=-4),
        lambda: changed(_5=7),
        lambda: with_bytes(b"\x19\xf9\xff\xff\xff\xff\x0f"),  # a list of four billion lists
        lambda: with_bytes(b"\x19\xf1\xff\xff\xff\xff\x0f"),  # of truths
        lambda: with_bytes(b"\x1c" * 100_000 + b"\0" * 100_001),  # nested
        lambda: with_bytes(b"\x19\x19" * 100_000),
        lambda: with_bytes(b"\x45\x02\x05\x04\x02\0"),  # the same field twice
        lambda: with_bytes(b"\x48\x02ab\0"),  # groups of rows that are a text
        lambda: with_bytes(b"\x1e\0"),
        lambda: with_bytes(b"\x15" + b"\xff" * 20),
        lambda: b"PAR1",
        lambda: b"PAR1\0\0\0\0\0\0\0\x7fPAR1",
    ],
)
def test_what_no_writer_writes_is_refused(damaged):
    with pytest.raises(PageError):
        check_pages(damaged())


def test_a_dictionary_with_more_entries_than_bytes_is_refused():
    data = part("none", dictionary=True)
    fields, end = footer(data)
    column = crafted_parts.columns(fields)[0]
    start = column[11][1]
    header, begin = crafted_parts.read(data, start)
    header[7][1][1] = I32, 2**31 - 1
    pages = crafted_parts.written(header) + data[begin : start + column[7][1]]
    longer = len(pages) - column[7][1]
    column[9], column[11] = (I64, end + column[9][1] - start + longer), (I64, end)
    column[7], column[6] = (I64, len(pages)), (I64, column[6][1] + longer)
    fields[4][1][1][0][2] = I64, fields[4][1][1][0][2][1] + longer
    with pytest.raises(PageError, match="the dictionary of column 'key' has more entries than bytes"):
        check_pages(with_footer(data[:end] + pages, fields))


def test_columns_that_come_a_few_at_a_time_are_those_of_the_whole_part(monkeypatch):
    monkeypatch.setattr("espalier.orchestrator.store.part_columns.is_small", lambda rows, pages: False)
    rows = make("grafts", [f"{number}" for number in range(9)])
    opened = open_columns("grafts", encode("grafts", rows), [BY_BLOCK])
    assert opened is not None
    assert len(opened) == 9
    columns = {
        name: column for some in opened.columns for name, column in zip(some.column_names, some, strict=True)
    }
    assert list(columns) == [name for name in rows.column_names if name != BY_BLOCK]
    for name, column in columns.items():
        assert str(column.to_pylist()) == str(rows.column(name).to_pylist())  # NaN is no NaN


@pytest.mark.parametrize("column", [BY_BLOCK, "fvu_test", "warning"])
def test_of_a_large_part_the_checksums_of_all_columns_are_verified(column, monkeypatch, tmp_path):
    monkeypatch.setattr("espalier.orchestrator.store.part_columns.is_small", lambda rows, pages: False)
    store, data = Store(tmp_path), bytearray(encode("grafts", make("grafts", ["a", "b"])))
    fields, _ = footer(bytes(data))
    (found,) = [each for each in crafted_parts.columns(fields) if each[3][1][1] == [column.encode()]]
    data[found[9][1] + found[7][1] - 1] ^= 1  # the last byte of its last page
    store.files.publish("tables/grafts/a.parquet", bytes(data))
    with pytest.raises(ValueError, match=r"a\.parquet: no whole Parquet file \(.*CRC"):
        load(tmp_path)


def test_columns_that_are_larger_than_their_group_of_rows_are_refused():
    data = part("zstd")
    fields, end = footer(data)
    fields[4][1][1][0][2] = I64, fields[4][1][1][0][2][1] - 1
    with pytest.raises(PartError, match=r"its columns take .* bytes, where the footer says"):
        decode("grafts", with_footer(data[:end], fields))


def test_whatever_arrow_says_is_told_in_one_line():
    with pytest.raises(PartError, match=r"^no whole Parquet file \(first\)$"), told():
        raise pa.ArrowInvalid("first\nsecond")
    with pytest.raises(PartError):
        decode("grafts", b"PAR1")
