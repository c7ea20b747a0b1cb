"""A data source is one value in one list: what it holds is what `data.dataset` takes and the docs tell."""

from pathlib import Path

import pytest

from espalier.tasks.data.raw_images import DataError
from espalier.tasks.data.sources.known_sources import SOURCES, is_path, source_of

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize("source", SOURCES.values(), ids=list(SOURCES))
def test_a_source_is_in_the_docs_and_is_found_by_what_they_tell(source):
    for page, start in (("data.md", f"| `{source.shown}` |"), ("sweep.md", "| `data.dataset`")):
        lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
        assert f"`{source.shown}`" in " ".join(line for line in lines if line.startswith(start))
    assert source_of(source.shown) is source
    assert is_path(source.shown) == source.by_path


def test_no_source_takes_what_another_is_called():
    names = [source.shown for source in SOURCES.values()]
    assert [sum(source.matches(name) for source in SOURCES.values()) for name in names] == [1] * len(names)


def test_a_name_alone_is_no_path_and_a_longer_name_is_another():
    assert not is_path("imagenet")
    with pytest.raises(DataError, match="no data set is called 'digits2'"):
        source_of("digits2")
