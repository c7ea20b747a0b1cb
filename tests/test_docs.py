"""The words follow the code: files, modules and tables that the docs name are there."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("analysis", "benchmarks", "cluster", "orchestrator", "tasks")
PAGES = [
    *(ROOT / name for name in ("README.md", "SECURITY.md", "examples/README.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
]
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).glob("**/*.py"))]

QUOTED = re.compile(r"`([^`\n]+)`")
PATH = re.compile(rf"(?:{'|'.join((*PACKAGES, 'docs', 'examples', 'tests', 'results'))})(?:/[\w.-]+)+")
NAME = re.compile(rf"(?:espalier\.)?(?:{'|'.join(PACKAGES)})(?:\.\w+)+")


def docstrings(path):
    """Every string of a module that documents something: a statement of its own."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)


def words(path):
    return "\n".join(docstrings(path)) if path.suffix == ".py" else path.read_text(encoding="utf-8")


def named_in(node):
    """The names that a statement gives to something, those of an `if` or `try` around it included."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.ClassDef | ast.FunctionDef):
            yield inner.name
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            yield inner.id
        elif isinstance(inner, ast.alias):
            yield inner.asname or inner.name


def exists(name):
    """Whether a dotted name is a package, a module, or something that a module names."""
    parts = name.removeprefix("espalier.").split(".")
    for end in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:end])
        module = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
        if module.is_file():
            rest = parts[end : end + 1]
            return not rest or rest[0] in named_in(ast.parse(module.read_text(encoding="utf-8")))
    return False


def missing(text):
    """Files and names in backticks that are not there."""
    for quoted in QUOTED.findall(text):
        if PATH.fullmatch(quoted) and not (ROOT / quoted).exists():
            yield quoted
        if NAME.fullmatch(quoted) and not quoted.endswith(".py") and not exists(quoted):
            yield quoted


LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def short(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_every_file_and_module_that_a_page_names_is_there(page):
    assert list(missing(words(page))) == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "results" / "README.md"], ids=short)
def test_every_link_of_a_page_leads_to_a_file(page):
    links = [link for link in LINK.findall(words(page)) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_file_and_module_that_a_docstring_names_is_there():
    lacking = {short(path): found for path in MODULES if (found := list(missing(words(path))))}
    assert len(MODULES) > 100
    assert lacking == {}


def test_every_page_that_a_docstring_names_is_there():
    named = {page for path in MODULES for page in re.findall(r"docs/[\w/-]+\.md", words(path))}
    assert "docs/method.md" in named
    assert [page for page in sorted(named) if not (ROOT / page).is_file()] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`tasks/spec.py`, `docs/method.md`, `tasks.spec.Layer`, `espalier.tasks.grafting.graft`", []),
        ("`analysis.tables.load` and `tasks.networks.layout.laid`", []),
        ("`tasks/gone.py`", ["tasks/gone.py"]),
        ("`tasks.gone.graft` in `docs/gone.md`", ["tasks.gone.graft", "docs/gone.md"]),
        ("`tasks.spec.Gone`", ["tasks.spec.Gone"]),
        ("`python -m benchmarks train` writes `tables/grafts`; tasks/gone.py is not quoted", []),
    ],
)
def test_a_name_without_a_thing_is_found(text, found):
    assert sorted(missing(text)) == sorted(found)


def table(page, heading):
    """The cells of the rows below a table's first heading."""
    lines = (ROOT / page).read_text(encoding="utf-8").partition(f"| {heading}")[2].splitlines()[2:]
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines[: lines.index("")]
    ]
    return {row[0]: row[1:] for row in rows}


def results(name):
    return json.loads((ROOT / "benchmarks" / "results" / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("width", [32, 64])
def test_the_table_of_grafts_is_that_of_the_committed_output_and_what_is_promised_holds(width):
    told = table("docs/benchmarks.md", "width, layer")
    output, floor = (
        results(f"graft-width{width}-xeon-1core.json"),
        table("docs/benchmarks.md", "width, phase"),
    )
    for row in output["rows"]:
        adam_fvu = "" if row["fvu_adam"] is None else f"{row['fvu_adam']:.4f}"
        assert told[f"{width}, {row['layer']}"][:7] == [
            f"{row['exact_seconds']:.2f}",
            f"{row['naive_seconds']:.1f}",
            f"{row['adam_seconds']:.0f}",
            f"{row['naive_ratio']:.1f}",
            f"{row['adam_ratio']:.0f}",
            f"{row['fvu_exact']:.4f}",
            adam_fvu,
        ]
    (mean,) = output["summary"]
    assert told[f"{width}, mean"][3:5] == [f"{mean['naive_ratio']:.1f}", f"{mean['adam_ratio']:.0f}"]
    assert mean["adam_ratio"] >= 700
    for row in output.get("floor", []):
        seconds = [row[f"{name}_seconds"] for name in ("gemm", "minimal", "engine")]
        expected = [f"{row['gigaops']:.1f}", *(f"{1e3 * part:.0f}" for part in seconds)]
        assert floor[f"{width}, {row['phase']}"] == expected


@pytest.mark.parametrize("network", ["digits", "mnist5k", "vgg16"])
def test_the_table_of_training_is_that_of_the_committed_output(network):
    told = table("docs/benchmarks.md", "images, width")
    label = {"vgg16": "32x32 RGB, VGG16 of {}"}.get(network, network + ", {}")
    for row in results(f"train-{network}-xeon-2core.json")["rows"]:
        ratios = ["loop_ratio", "machine_ratio", "kernel_ratio", "tune_ratio", "gemm_share"]
        assert told[label.format(row["width"])] == [
            row["mode"],
            f"{row['espalier_nets_per_hour']:,.0f}",
            *(f"{row[name]:.2f}" for name in ratios),
        ]


def test_the_tables_of_measures_are_those_of_the_committed_output_and_what_is_promised_holds():
    output = results("similarity-xeon-2core.json")
    (tile,), (every,) = output["tile"], output["summary"]
    told = table("docs/benchmarks.md", "work | rows")
    for name, shown in (("grafts", "grafts, with their nulls"), ("real grafts", "real grafts alone")):
        seconds, ratio = tile[f"{name}: seconds"], tile[f"measures / {name}"]
        assert told[shown] == [f"{tile[name]:,}", f"{seconds:.1f}", f"{ratio:.2f}"]
    assert told["measures, with their nulls"][:2] == [
        f"{tile['values']:,}",
        f"{tile['measure_seconds']:.1f}",
    ]
    assert tile["measures / grafts"] < 1
    told = table("docs/benchmarks.md", "measure | public implementation")
    for name, row in {f"`{row['measure']}`": row for row in output["public"]}.items():
        assert told[name][2:4] == [f"{row['seconds']:.1f}", f"{row['public_seconds']:,.0f}"]
        assert float(told[name][4].replace(",", "")) == pytest.approx(row["ratio"], rel=0.02)
    assert told["all of these"][4] == f"{every['ratio']:,.0f}"
    assert every["ratio"] >= 20


def test_the_table_of_reading_is_that_of_the_committed_output():
    told = table("docs/benchmarks.md", "folder, work")
    rows = results("tables-xeon-2core.json")["reading"]
    assert len(told) == len(rows)
    for row in rows:
        cells = told[f"{row['folder']}, {row['work']}"]
        assert cells[:2] == [f"{row['parts']:,}", f"{row['rows']:,}"]
        assert cells[2:5] == [f"{row['cpu_seconds']:.1f}", f"{row['seconds']:.1f}", f"{row['megabytes']:.0f}"]


def test_the_table_of_ten_million_rows_is_that_of_the_committed_output_and_what_is_promised_holds():
    told = table("docs/benchmarks.md", "of ten million rows")
    rows = {row["work"]: row for row in results("tables-columns-xeon-2core.json")["reading"]}
    assert list(told) == list(rows)
    assert {row["rows"] for row in rows.values()} == {10_000_000}
    for work, row in rows.items():
        assert told[work] == [
            f"{row['cpu_seconds']:.1f}",
            f"{row['seconds']:.1f}",
            f"{row['megabytes']:.0f}",
        ]
    assert rows["load the columns of a mean"]["cpu_seconds"] < 2
    assert rows["group"]["seconds"] < 10


def test_the_table_of_planning_is_that_of_the_committed_output():
    told = table("docs/benchmarks.md", "work, done")
    rows = results("planning-xeon-2core.json")["planning"]
    assert len(told) == len(rows)
    for row in rows:
        cells = [f"{row[name]:.1f}" for name in ("cpu_seconds", "seconds", "us_a_pair")]
        assert told[f"{row['work']}, {row['done']} of {row['pairs']:,}"] == [
            *cells[:2],
            f"{row['megabytes']:.0f}",
            cells[2],
        ]
        assert max(row["cpu_seconds"], row["seconds"]) < 10  # what is promised of a million
        assert row["megabytes"] < 1000


def test_the_tables_of_the_driver_are_those_of_the_committed_output():
    output = results("driver-xeon-2core.json")
    (slept,) = output["sleeping"]
    assert slept["over_ideal"] <= 0.01  # what is promised of jobs of 2 s on 2 slots
    told = table("docs/benchmarks.md", "slots | jobs a second")
    assert len(told) == len(output["through Ray"])
    for row in output["through Ray"]:
        rates = [f"{row[name]:,}" for name in ("jobs_a_second", "least", "most")]
        assert told[str(row["slots"])] == [*rates, f"{row['cpu_ms_a_job']:.2f}"]
        assert row["jobs_a_second"] >= 1000
    told = list(table("docs/benchmarks.md", "an answer").values())
    full = zip(output["committing"], output["full"], strict=True)
    assert [[cells[0], *cells[2:]] for cells in told] == [
        [
            f"{row['cpu_ms_a_job']:.1f}",
            f"{slots['slots_of_2_s_jobs']:,}",
            f"{slots['slots_of_20_s_jobs']:,}",
        ]
        for row, slots in full
    ]
    told = table("docs/benchmarks.md", "jobs done")
    assert told == {
        f"{row['jobs_done']:,}": [f"{row['cpu_ms_a_job']:.1f}", f"{row['resident_mb']:.0f}"]
        for row in output["flat"]
    }


def test_the_table_of_many_nets_is_that_of_the_committed_output():
    output = results("many-nets-xeon-2core.json")
    assert table("docs/benchmarks.md", "snapshots done") == {
        f"{row['snapshots']:,}": [
            f"{row['seconds']:.0f}",
            f"{row['cpu_ms_a_job']:.1f}",
            f"{row['resident_mb']:.0f}",
        ]
        for row in output["training"]
    }


def test_every_promise_names_a_test_that_is_there():
    rows = [
        line.rsplit("|", 2)[1].strip()
        for line in (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and not line.startswith(("| fault", "| ---"))
    ]
    assert len(rows) > 30
    for cell in rows:
        file, _, name = cell.strip("`").partition("::")
        assert (ROOT / file).is_file(), cell
        assert not name or f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), cell


def test_the_table_of_coverage_is_that_of_the_committed_output():
    told, output = table("docs/benchmarks.md", "plateau, seeds"), results("coverage.json")
    assert len(told) == len(output["summary"])
    for row in output["summary"]:
        shares = [f"{name}_{end}" for name in ("alpha_covers", "c_covers") for end in ("least", "mean")]
        lengths = ["floor_found", "length_4", "length_5", "length_7"]
        cells = [*((name, 3) for name in shares), *((name, 2) for name in lengths)]
        wanted = ["" if row[name] is None else f"{row[name]:.{digits}f}" for name, digits in cells]
        assert told[f"{row['plateau']}, {row['seeds']}"] == wanted


def test_every_case_of_the_committed_grid_is_covered_as_the_page_says():
    output = results("coverage.json")
    rows = output["cases"]
    assert (len(rows), output["machine"]["sets"]) == (243, 1000)
    assert min(row["alpha_covers"] for row in rows) >= 0.86
    assert min(row["c_covers"] for row in rows if row["c_covers"] is not None) >= 0.86
    rising = [row for row in rows if row["alpha"] < 0]
    few = [row for row in rising if row["reaches_0"] > 0.02]
    assert [(row["seeds"], row["widths"], row["noise"]) for row in few] == [(3, 4, "unequal")]
    assert all(row["alpha_high"] < 0 for row in rising)
