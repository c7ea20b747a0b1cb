"""The page's own library and policy, its form as Markdown, and sweeps side by side."""

import hashlib
import json
import re
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from espalier.analysis.report import rendering
from espalier.analysis.report.answer import COLUMNS
from espalier.analysis.report.chapters import Chapter
from espalier.analysis.report.html_page import make_report
from espalier.analysis.report.markdown_page import escaped, markdown_page
from tests.analysis.conftest import graft_rows, write_tables
from tests.analysis.more_rows import in_setting

VENDORED = Path(rendering.__file__).with_name("vendored")
EVIL = "</script><script>alert(1)</script> | `x` <img src=x onerror=alert(1)>"


def few(**options):
    return graft_rows(
        **{"widths": (4, 8, 16, 32), "seeds": (0, 1, 2), "epochs": (20,), "layers": (2, 3)} | options
    )


pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("sweeps") / "first", grafts=few())


@pytest.fixture(scope="module")
def second(first):
    rows = [row | {"fvu_test": 2 * row["fvu_test"]} for row in few(layers=(2,))]
    return write_tables(first.parent / "second", grafts=rows)


class Scripts(HTMLParser):
    """The scripts of a page, as a browser would take them."""

    def __init__(self, text):
        super().__init__()
        self.run, self.data, self._into = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._into = None
        if tag == "script":
            self._into = self.data if ("type", "application/json") in attrs else self.run
            self._into.append("")
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        if self._into is not None:
            self._into[-1] += data

    def handle_endtag(self, tag):
        self._into = None


def test_the_library_is_the_published_file_with_its_licence():
    told = json.loads((VENDORED / "plotly.json").read_text(encoding="utf-8"))
    data = (VENDORED / told["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == told["sha256"]
    assert f"v{told['version']}".encode() in data[:200]
    assert told["license"] == "MIT"
    assert "MIT License" in (VENDORED / "plotly.LICENSE.txt").read_text(encoding="utf-8")


def test_the_policy_allows_the_two_scripts_of_the_page_and_loads_nothing(first):
    text = make_report(first, bootstraps=20).path.read_text(encoding="utf-8")
    scripts = Scripts(text)
    (told,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    allowed = re.findall(r"sha256-([^&']+)", told)
    assert allowed == [b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts.run]
    assert len(scripts.run) == 2
    assert told.startswith("default-src &#39;none&#39;;")
    assert "unsafe-eval" not in told
    assert len(scripts.data) == text.count("<figure ")
    assert all(json.loads(one)["panels"] for one in scripts.data)


def test_a_page_without_figures_has_no_library(tmp_path):
    path = make_report(write_tables(tmp_path), bootstraps=20).path
    assert path.stat().st_size < 100_000


def test_names_of_settings_and_layers_end_no_script_and_make_no_markup(tmp_path):
    rows = [row | {"layer_name": EVIL} for row in few(layers=(2,))]
    both = [*rows, *in_setting(rows, init=EVIL)]
    made = make_report(write_tables(tmp_path, grafts=both), bootstraps=20)
    text = made.path.read_text(encoding="utf-8")
    scripts = Scripts(text)
    assert len(scripts.run) == 2
    assert any(EVIL in json.loads(one)["panels"][0]["series"][0]["label"] for one in scripts.data)
    assert "<img" not in text
    words = make_report(tmp_path, bootstraps=20, form="md").path.read_text(encoding="utf-8")
    assert not re.search(r"(?<!\\)<(?:script|img)", words)


def test_each_figure_has_its_numbers_in_a_file(first):
    place = make_report(first, bootstraps=20).path.parent
    text = (place / "index.html").read_text(encoding="utf-8")
    for name in re.findall(r'<figure id="([^"]+)"', text):
        assert f'href="{name}.csv"' in text
        assert len(pd.read_csv(place / f"{name}.csv")) > 1
    answer = pd.read_csv(place / "answer.csv")
    assert answer["layer"].tolist() == [2, 3]


def test_markdown_tells_the_answer_first_in_a_table(first):
    path = make_report(first, bootstraps=20, form="md").path
    assert path == first / "report" / "report.md"
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    at = lines.index("## The answer")
    table = [line for line in lines[at:] if line.startswith("|")]
    assert [line.count("|") - line.count(r"\|") for line in table] == [9] * 4  # head, rule, two layers
    assert "2 · conv2" in table[2]
    assert "![Error against width after 20 epochs](error_by_width.png)" in text
    assert text.index("## The answer") < text.index("### What was found")


def test_one_setting_beside_a_chapter_on_tuning_is_the_only_one():
    row = dict.fromkeys(COLUMNS, float("nan")) | {"layer": 2, "layer_name": "conv2", "said": "It falls."}
    row |= {
        "alpha": 0.8,
        "alpha_low": 0.7,
        "alpha_high": 0.9,
        "model": "power",
        "warning": "",
        "barrier_of": "",
    }
    both = [Chapter("", [], [], answers=pd.DataFrame([row])), Chapter("Tuning", ["x"], [], of_setting=False)]
    page = rendering.Page("one", [], both, {}, 0.9)
    assert page.several
    assert "setting" not in page.answers().columns
    assert page.short.startswith("The error of a graft falls")
    html, words = rendering.html_page(page), markdown_page(page)
    assert re.search(r'href="#[^"]*"></a>', html) is None
    assert html.count(page.short) == words.count(page.short) == 1
    assert "\n- layer 2: It falls." in words
    assert "| 2 · conv2 | 0.80 \\[0.70, 0.90\\] | no |" in words


@pytest.mark.parametrize("text", ["a|b", "*a* _b_", "<b>", "[a](b)", "`x`", "a\nb", "# a"])
def test_markdown_of_others_words_has_no_marks(text):
    told = escaped(text)
    assert "\n" not in told
    assert re.sub(r"\\(.)", "", told).strip("ab x()") == ""


def test_sweeps_stand_side_by_side(first, second):
    alone = make_report(first, bootstraps=20).fits
    made = make_report(first, bootstraps=20, beside=[second])
    assert made.path == first / "report" / "beside-second" / "index.html"
    assert set(made.fits["setting"]) == {"first", "second"}
    own = made.fits[made.fits["setting"] == "first"]
    assert own["alpha"].to_numpy() == pytest.approx(alone["alpha"].to_numpy())
    text = made.path.read_text(encoding="utf-8")
    heads = re.findall(r'<h2 class="chapter">(.*?)</h2>', text)
    assert heads == ["Side by side", "first", "second"]
    assert '<figure id="side_by_side">' in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    answer = pd.read_csv(made.path.with_name("answer.csv"))
    assert answer["setting"].tolist() == ["first", "first", "second"]
    assert answer["layer"].tolist() == [2, 3, 2]
    shown = pd.read_csv(made.path.with_name("side_by_side.csv"))
    exponents = shown[(shown["panel"] == "exponent of the fall") & (shown["kind"] == "points")]
    assert exponents["y"].to_numpy() == pytest.approx(answer["alpha"].to_numpy(), rel=1e-5)


def test_a_report_goes_where_it_is_asked_for(first, tmp_path):
    made = make_report(first, bootstraps=20, output=tmp_path / "there")
    assert made.path == tmp_path / "there" / "index.html"
    assert not (tmp_path / "there" / ".staging").exists()
    assert (tmp_path / "there" / "error_by_width.svg").is_file()


def test_odd_requests_are_refused(first, second):
    with pytest.raises(ValueError, match="format: found 'pdf'; a report is one of html, md"):
        make_report(first, form="pdf")
    with pytest.raises(ValueError, match="a sweep beside itself"):
        make_report(first, bootstraps=20, beside=[first])
    with pytest.raises(ValueError, match="copy 's3://b/x' here first"):
        make_report(first, beside=["s3://b/x"])
