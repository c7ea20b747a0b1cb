"""The page as a browser shows it: nothing is cut off or missing, none complains, and keys can use it all.

Four reports (of a whole sweep, of one that is half done, of one too small for a fit, of 40 settings), at the
widths of a desktop and of a phone, light and dark, in one process of Chromium.
"""

import shutil
import tempfile
from dataclasses import replace

import pytest

from espalier.analysis.figures.drawn_axes import read_back
from espalier.analysis.figures.style import svg_text
from espalier.analysis.report.html_page import make_report
from espalier.analysis.report.one_sweep import read_sweep
from espalier.analysis.report.rendering import DrawnFigure, Page, html_page
from tests.analysis.compared_rows import compared_rows
from tests.analysis.conftest import curve_rows, graft_rows, job_rows, net_rows, write_sweep, write_tables
from tests.analysis.more_rows import (
    LAYERS,
    SEEDS,
    WIDTHS,
    all_graft_rows,
    barrier_curve_rows,
    barrier_rows,
    exchange_rows,
    hybrid_rows,
    ridge_rows,
)
from tests.analysis.report.chromium import Chromium, found

NAMES = ("whole", "half", "unfitted", "forty")
DESKTOP, PHONE = 1300, 390
LONG = "a setting with <b>marks</b> & a name of many_words_that_do_not_break_" + "x" * 60

pytestmark = pytest.mark.skipif(found() is None, reason="no Chromium is installed (Debian: chromium)")


def similar(measure, width, layer, epoch, pair):
    return 0.9 - 1 / width - 0.05 * layer + 0.01 * pair[0]


def whole(folder):
    tables = write_sweep(folder)
    shutil.rmtree(tables / "tables")
    return write_tables(
        folder,
        nets=net_rows(widths=WIDTHS, seeds=SEEDS),
        curves=curve_rows(widths=WIDTHS, seeds=SEEDS),
        jobs=job_rows(gave_up=2),
        grafts=all_graft_rows(),
        exchangeability=exchange_rows(),
        hybrids=hybrid_rows(),
        barriers=barrier_rows(),
        barrier_curves=barrier_curve_rows(),
        ridges=ridge_rows(),
        similarity=compared_rows(similar, measures=("cka", "match"), layers=LAYERS),
    )


def half(folder):
    """Widths that still lack seeds, no nulls, and jobs that failed."""
    grafts = [*graft_rows(widths=(4, 8), epochs=(0, 1), nulls=False), *graft_rows((16,), (0, 1), (0,))]
    return write_tables(folder, nets=net_rows(widths=(4, 8)), grafts=grafts, jobs=job_rows(gave_up=60))


def unfitted(folder):
    return write_tables(folder, grafts=graft_rows(widths=(4,), seeds=(0, 1), epochs=(5,), layers=(2,)))


def forty(folder):
    """A page of 40 settings: the chapter of one, under 40 names."""
    sweep = read_sweep(unfitted(folder), 0.9, 20)
    (chapter,) = sweep.chapters
    few = replace(chapter, figures=chapter.figures[:1])
    chapters = [
        replace(few.renamed(f"_{k}"), label=f"reg_weight = {k}, {LONG}" if k < 3 else f"reg_weight = {k}")
        for k in range(40)
    ]
    drawn = {
        figure.name: (read_back(figure.figure), svg_text(figure.figure, figure.name))
        for figure in few.figures
    }
    named = {
        f"{name}_{k}": DrawnFigure(svg.replace(f"{name}-", f"{name}_{k}-"), shown)
        for name, (shown, svg) in drawn.items()
        for k in range(40)
    }
    (folder / "index.html").write_text(html_page(Page("forty", [sweep], chapters, named, 0.9)))
    return folder / "index.html"


@pytest.fixture(scope="module")
def pages(tmp_path_factory, no_pictures):
    """The address of each page."""
    made = {}
    for name, write in (("whole", whole), ("half", half), ("unfitted", unfitted)):
        made[name] = make_report(write(tmp_path_factory.mktemp(name)), bootstraps=20).path
    made["forty"] = forty(tmp_path_factory.mktemp("forty"))
    return {name: f"file://{path}" for name, path in made.items()}


@pytest.fixture(scope="module")
def browser():
    profile = tempfile.mkdtemp()
    started = Chromium(profile)
    yield started
    started.close()
    shutil.rmtree(profile, ignore_errors=True)


VISIT = """(async (selector) => {
  const soon = () => new Promise((done) => setTimeout(done, 10));
  const figures = [...document.querySelectorAll(selector)];
  const seen = figures.length > 30 ? [...figures.slice(0, 3), ...figures.slice(-2)] : figures;
  for (const figure of seen) {
    figure.scrollIntoView();
    for (let k = 0; k < 100 && !figure.classList.contains("drawn"); k += 1) await soon();
  }
  scrollTo(0, 0);
  return seen.map((figure) => figure.id);
})"""


def visit(browser, selector="figure"):
    """Go by figures, so that they are drawn; of very many the first and the last."""
    return browser.value(f"{VISIT}({selector!r})")


STATE = """(() => {
  const box = (node) => node.getBoundingClientRect();
  const boxes = [...document.querySelectorAll(".scroll, pre")];
  const cut = boxes.filter((node) => node.scrollWidth > node.clientWidth + 1);
  const beyond = [...document.querySelectorAll("body *")].filter((node) =>
    !node.closest(".scroll, pre, .skip, svg") && box(node).width > 0 && box(node).right > innerWidth + 1);
  const drawn = [...document.querySelectorAll("figure.drawn")].map((figure) => ({
    name: figure.id,
    panels: JSON.parse(figure.querySelector("script").textContent).panels.length,
    plots: [...figure.querySelectorAll(".plot")].filter((plot) =>
      plot.querySelector(".trace, .bars .point") && Math.min(box(plot).width, box(plot).height) > 120).length,
    static: getComputedStyle(figure.querySelector(".static")).display,
  }));
  return { width: document.documentElement.scrollWidth, inner: innerWidth, drawn,
    cut: cut.map((node) => node.getAttribute("aria-label")),
    beyond: beyond.slice(0, 3).map((node) => node.outerHTML.slice(0, 90)) };
})()"""


def emulate(browser, width, dark):
    """Turn the screen: the page draws its figures anew."""
    browser.tell(
        "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
    )
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.tell("Emulation.setEmulatedMedia", media="", features=scheme)
    browser.value("new Promise((done) => setTimeout(done, 200))")


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_cut_off_or_missing_at_any_width_light_or_dark(browser, pages, name):
    browser.open(pages[name], DESKTOP)
    seen = visit(browser)
    for width, dark in ((DESKTOP, False), (DESKTOP, True), (PHONE, True), (PHONE, False)):
        emulate(browser, width, dark)
        state = browser.value(STATE)
        assert state["width"] <= state["inner"] == width
        assert state["beyond"] == []
        assert {one["name"] for one in state["drawn"]} >= set(seen)
        assert [
            one for one in state["drawn"] if one["plots"] != one["panels"] or one["static"] != "none"
        ] == []
        if width == DESKTOP:  # on a phone a table scrolls in its own box
            assert state["cut"] == []
    assert browser.complaints() == []
    if name == "whole":
        assert len(seen) > 20


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_without_scripts_the_static_figures_stay(browser, pages, width):
    browser.open(pages["whole"], width, scripts=False)
    tree = browser.tell("DOM.getDocument", depth=-1)
    assert tree["root"]
    size = browser.tell("Page.getLayoutMetrics")["cssContentSize"]
    assert size["width"] <= width
    found = browser.tell("DOM.querySelectorAll", nodeId=tree["root"]["nodeId"], selector=".static > svg")
    boxes = [browser.tell("DOM.getBoxModel", nodeId=node)["model"] for node in found["nodeIds"]]
    assert len(boxes) > 20
    assert all(100 < box["width"] <= width and box["height"] > 60 for box in boxes)
    assert browser.complaints() == []


NAMED = {"button", "link", "combobox", "table", "region", "img", "image", "figure", "navigation", "toolbar"}


def test_whatever_is_used_or_looked_at_has_a_name_for_a_screen_reader(browser, pages):
    browser.open(pages["whole"], DESKTOP)
    visit(browser, "#excess, #pair_matrix, #nulls, #barriers")
    nodes = browser.tell("Accessibility.getFullAXTree")["nodes"]
    told = [
        (node["role"]["value"], node.get("name", {}).get("value", "").strip())
        for node in nodes
        if not node.get("ignored")
    ]
    roles = {role for role, _ in told}
    assert {"button", "link", "combobox", "table", "region", "navigation", "toolbar"} <= roles
    without = [role for role, name in told if role in NAMED - {"table", "figure"} and not name]
    assert without == []
    assert browser.value(
        "[...document.querySelectorAll('h1, h2, h3, h4, h5')].every((h) => h.textContent.trim())"
    )


def press(browser, key, code):
    for kind in ("keyDown", "keyUp"):
        more = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
        browser.tell("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)


def test_tables_sort_legends_toggle_and_layers_are_picked_by_the_keyboard(browser, pages):
    browser.open(pages["whole"], DESKTOP)
    visit(browser, "#error_by_width, #cross_width")
    first = "[...document.querySelectorAll('#answer tbody:not([hidden])')].map((b) => b.dataset.layer)"
    assert browser.value(first) == ["2", "3"]
    browser.value("document.querySelector('#answer thead button').focus()")
    press(browser, "Enter", 13)
    press(browser, "Enter", 13)
    assert browser.value("document.querySelector('#answer th').getAttribute('aria-sort')") == "descending"
    assert browser.value(first) == ["3", "2"]

    count = "document.querySelectorAll('#error_by_width .scatterlayer .trace').length"
    before = browser.value(count)
    browser.value("document.querySelector('#error_by_width .legend button').focus()")
    press(browser, "Enter", 13)
    assert browser.value("document.activeElement.getAttribute('aria-pressed')") == "false"
    assert browser.value(count) < before

    browser.value("document.querySelector('.pickers select').focus()")
    press(browser, "ArrowDown", 40)
    assert browser.value(first) == ["2"]
    titles = "[...document.querySelectorAll('#cross_width h5')].map((h) => h.textContent)"
    assert browser.value(titles) == ["2 · conv2"]
    assert browser.value(
        "[...document.querySelectorAll('.pickers label')].map((l) => l.firstChild.data)"
    ) == [
        "Layer",
        "Measure",
    ]


MARK = """(() => {
  const mark = document.querySelector("#drop_by_layer .point");
  mark.scrollIntoView({ block: "center" });
  const box = mark.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})()"""
TOLD = """(async () => {
  for (let k = 0; k < 100; k += 1) {
    const text = document.querySelector("#drop_by_layer .hovertext");
    if (text) return text.textContent;
    await new Promise((done) => setTimeout(done, 10));
  }
  return "";
})()"""


def test_a_pointer_over_a_mark_shows_its_value_and_its_interval(browser, pages):
    browser.open(pages["whole"], DESKTOP)
    visit(browser, "#drop_by_layer")
    x, y = browser.value(MARK)
    browser.tell("Input.dispatchMouseEvent", type="mouseMoved", x=x + 40, y=y + 40)
    browser.tell("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    told = browser.value(TOLD)
    assert "re-fitted layer: 2 conv2" in told
    assert "[" in told


NUMBERS = """(async () => {
  const figure = [...document.querySelectorAll("figure")].pop();
  const there = async (selector) => {
    for (let k = 0; k < 100 && !figure.querySelector(selector); k += 1) {
      await new Promise((done) => setTimeout(done, 10));
    }
    return figure.querySelector(selector);
  };
  const marks = { label: "a", x: [16384], y: [0.123456], color: "#112233" };
  const panel = (label, end) => ({
    title: label, x: { label: "width", range: [1, 20000] }, y: { label, range: [0, 1] },
    series: [{ ...marks, low: [end], high: [end] }],
  });
  const data = { panels: [panel("loss", null), panel("share", 0)] };
  figure.querySelector("script").textContent = JSON.stringify(data);
  figure.scrollIntoView();
  (await there(".numbers")).open = true;
  await there("td");
  const bars = figure.querySelector(".plot").data[0].error_y;
  const rows = [...figure.querySelectorAll("tr")];
  return [rows.map((row) => [...row.cells].map((cell) => cell.textContent)), bars.array, bars.arrayminus];
})()"""


def test_numbers_are_headed_by_what_panels_share_and_whole_ones_are_whole(browser, pages):
    browser.open(pages["whole"], DESKTOP)
    (heads, first, second), more, less = browser.value(NUMBERS)
    assert heads == ["panel", "series", "width", "y", "low", "high"]
    assert first == ["loss", "a", "16384", "0.1235", "", ""]
    assert second == ["share", "a", "16384", "0.1235", "0", "0"]
    assert more == less == [0]  # an end that is not known is no bar
    assert browser.complaints() == []


def test_print_shows_the_static_figures_and_nothing_to_press(browser, pages):
    browser.open(pages["unfitted"], DESKTOP)
    visit(browser)
    browser.tell("Emulation.setEmulatedMedia", media="print", features=[])
    shown = "[...document.querySelectorAll('{}')].map((n) => getComputedStyle(n).display)"
    assert set(browser.value(shown.format("figure > .static"))) == {"block"}
    assert set(browser.value(shown.format(".live, .pickers"))) == {"none"}
    assert browser.value("document.documentElement.scrollWidth <= innerWidth")
