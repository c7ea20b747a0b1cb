"""What pages tell of their size is held to what the footer says."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from espalier.orchestrator.store.page_headers import HeaderError, check_pages, may_swell

ROWS = pa.table({"text": [f"{number % 7}" * 9 for number in range(500)], "number": range(500)})


def written(**options):
    sink = pa.BufferOutputStream()
    pq.write_table(ROWS, sink, write_page_checksum=True, row_group_size=200, data_page_size=99, **options)
    return sink.getvalue().to_pybytes()


def footer(data):
    return pq.ParquetFile(pa.BufferReader(data)).metadata


@pytest.mark.parametrize("codec", ["none", "snappy", "zstd", "gzip", "lz4", "brotli"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_what_a_writer_wrote_agrees_with_its_footer(codec, version, dictionary):
    data = written(compression=codec, data_page_version=version, use_dictionary=dictionary)
    check_pages(footer(data), data)


def test_codecs_whose_pages_may_be_of_any_size_are_looked_at():
    for codec, any_size in (("none", False), ("snappy", False), ("zstd", True), ("gzip", True)):
        data = written(compression=codec)
        assert may_swell(footer(data), len(data), 2**30) == any_size
        assert may_swell(footer(data), len(data), 21 * len(data))


def test_a_changed_header_is_refused_or_tells_no_more_than_the_footer():
    data, choose, refused = written(compression="zstd"), random.Random(0), 0
    group = footer(data).row_group(0)
    for _ in range(500):
        changed, column = bytearray(data), group.column(choose.randrange(2))
        start = column.dictionary_page_offset or column.data_page_offset
        changed[start + choose.randrange(12)] = choose.randrange(256)
        try:
            check_pages(footer(data), bytes(changed))
        except HeaderError:
            refused += 1
    assert refused > 250
