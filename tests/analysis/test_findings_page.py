"""docs/findings.md: its tables are those of the committed sweeps, and its prose has no number of its own."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
TABLE = re.compile(r"<!-- table: (\w+) -->\n\n(.*?)\n\n<!-- end -->", re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])-?\d+\.\d+")


@pytest.fixture(scope="module")
def findings():
    path = ROOT / "results" / "findings.py"
    spec = importlib.util.spec_from_file_location("espalier_findings", path)
    module = sys.modules["espalier_findings"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["espalier_findings"]


@pytest.mark.parametrize("name", [name for name, _ in TABLE.findall(PAGE)])
def test_a_table_is_what_the_committed_sweeps_give(name, findings):
    assert findings.markdown(findings.TABLES[name]()) == dict(TABLE.findall(PAGE))[name]


def test_each_table_stands_on_the_page_once(findings):
    names = [name for name, _ in TABLE.findall(PAGE)]
    assert sorted(names) == sorted(findings.TABLES)


def test_each_decimal_number_of_the_prose_stands_in_a_table():
    tables = " ".join(text for _, text in TABLE.findall(PAGE))
    known = {number.lstrip("-") for number in NUMBER.findall(tables.replace("+", " "))}
    prose = TABLE.sub("", PAGE)
    assert NUMBER.findall(prose), "the page tells no number"
    assert {number.lstrip("-") for number in NUMBER.findall(prose)} <= known


def test_every_committed_sweep_of_grafts_with_nulls_is_read(findings):
    """The sweep of VGG16 has no null but the floor, and is read for nothing here."""
    made = {path.parent.name for path in (ROOT / "results").glob("*/tables")}
    assert set(findings.SWEEPS) == made - {"demo", "cifar10-vgg16-quarter"}
