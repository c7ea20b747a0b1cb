"""The rooms of the packages: sizes, names and docstrings, and the import rules that keep their floors."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("tasks", "orchestrator", "analysis", "cluster")
FOLDERS = sorted(
    {path.parent for top in (*PACKAGES, "benchmarks", "examples") for path in ROOT.glob(f"{top}/**/*.py")}
    | {ROOT / "espalier"}
)
ROOMS = [folder for folder in FOLDERS if folder.relative_to(ROOT).parts[0] in PACKAGES]
FILES = [path for folder in FOLDERS for path in sorted(folder.glob("*.py"))]
MIRRORED = {
    "__init__.py": "a folder's docstring, and what it offers",
    "__main__.py": "what `python -m` runs",
}
"""Names that stand in several folders, and why."""
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}


def name_of(path):
    return str(path.relative_to(ROOT))


def docstring(room):
    return ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""


def sentences(text):
    return [part for part in re.split(r"[.?](?:\s+|$)", text) if part.strip()]


def test_the_packages_have_rooms():
    assert {name_of(room) for room in ROOMS} >= {"tasks", "tasks/grafting", "orchestrator/planning/kinds"}
    assert len(FILES) > 150


def test_no_folder_of_code_has_more_than_25_files_directly_in_it():
    assert {name_of(folder): len(list(folder.glob("*.py"))) for folder in FOLDERS if crowded(folder)} == {}


def crowded(folder):
    return len(list(folder.glob("*.py"))) > 25


def test_no_file_repeats_the_name_of_its_folder():
    assert [name_of(path) for path in FILES if path.stem == path.parent.name] == []


def test_no_two_files_share_a_name_but_those_that_mirror_each_other():
    names = Counter(path.name for path in FILES)
    assert {name for name, count in names.items() if count > 1} == set(MIRRORED)


def test_no_file_has_a_name_that_says_nothing():
    assert [name_of(path) for path in FILES if path.stem in NAMES_THAT_SAY_NOTHING] == []


@pytest.mark.parametrize("room", ROOMS, ids=name_of)
def test_a_room_says_what_is_in_it_what_it_may_import_and_where_to_start(room):
    text = docstring(room)
    assert len(sentences(text)) >= 2
    assert re.search(r"import|from the ground|needs neither", text, re.IGNORECASE)
    assert re.search(r"\bstart\s+(with|there|reading)", text, re.IGNORECASE)


def imported_anywhere(path):
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    whole = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    parts = [
        (node.module or "", alias.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    return whole | {module for module, _ in parts} | {f"{module}.{name}" for module, name in parts}


def test_the_protocol_of_files_knows_no_implementation():
    store = ROOT / "orchestrator" / "store"
    names = ("local_files", "fsspec_files", "object_files")
    implementations = {f"espalier.orchestrator.store.{name}" for name in names}
    assert not implementations & imported_anywhere(store / "files.py")
    assert implementations <= imported_anywhere(store / "places.py")


def test_the_room_of_data_offers_load_and_loads_no_torch_before():
    code = (
        "import sys, espalier.tasks.data as data; before = 'torch' in sys.modules; data.load; "
        "print(before, 'torch' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100
    )
    assert answer.stdout.split() == ["False", "True"]


TASKS, ORCHESTRATOR = "The floors of tasks", "The floors of orchestrator"
ANALYSIS, CLUSTER = "The floors of analysis", "The floors of cluster"
HOUSE, DOOR = "The floors: analysis", "The compiled kernels have one door"
PLANNING, CIRCLES = "Planning reads and writes no files", "No rooms, and no files of one room"
RAY, TORCH = "Only cluster.on_ray imports ray", "Torch is imported by tasks alone"

PLANTED = [
    ("tasks.networks.planted", "espalier.tasks.grafting.graft", TASKS),
    ("tasks.tables.planted", "espalier.orchestrator.sweep", HOUSE),
    ("tasks.training.planted", "espalier.tasks.kernels.winograd", DOOR),
    ("new_room", "espalier.tasks.kernels.tiling", DOOR),
    ("orchestrator.store.planted", "espalier.orchestrator.running.driver", ORCHESTRATOR),
    ("orchestrator.planning.planted", "espalier.orchestrator.store.files", PLANNING),
    ("orchestrator.running.planted", "torch", TORCH),
    ("orchestrator.tuning.planted", "espalier.analysis.tables", HOUSE),
    ("analysis.limits.planted", "espalier.analysis.report.html_page", ANALYSIS),
    ("analysis.figures.planted", "torch", TORCH),
    ("analysis.report.planted", "ray", RAY),
    ("cluster.on_ray.planted", "espalier.tasks.spec", HOUSE),
    ("cluster.pool", "ray", RAY),
    ("cluster.submit", "espalier.orchestrator.sweep", HOUSE),
]
"""Who imports, what it may not import, and how the name of the contract begins that says so."""

CIRCLE = ("orchestrator.store.files", "espalier.orchestrator.store.local_files")
"""An import that closes a circle; the linter names the folder where it is, not the import."""


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """What lint-imports says of a copy of the packages with the planted imports: text by contract."""
    copy = tmp_path_factory.mktemp("planted")
    shutil.copytree(ROOT / "espalier", copy / "espalier", ignore=shutil.ignore_patterns("__pycache__"))
    for importer, imported in [*((importer, imported) for importer, imported, _ in PLANTED), CIRCLE]:
        path = copy / "espalier" / f"{importer.replace('.', '/')}.py"
        with path.open("a", encoding="utf-8") as file:
            file.write(f"\nimport {imported}\n")
    shutil.copy(ROOT / "pyproject.toml", copy)
    script = Path(sys.executable).with_name("lint-imports")
    answer = subprocess.run(
        [script, "--config", "pyproject.toml", "--no-cache"],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "400"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert answer.returncode == 1, answer.stdout + answer.stderr
    return by_contract(answer.stdout)


def by_contract(text):
    """The text below each heading, a line underlined with hyphens."""
    parts = re.split(r"^(.+)\n-{3,}$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(("importer", "imported", "contract"), PLANTED)
def test_a_planted_forbidden_import_is_named_in_its_contract(broken, importer, imported, contract):
    (said,) = (text for heading, text in broken.items() if heading.startswith(contract))
    assert f"espalier.{importer} -> {imported}" in said


def test_a_planted_circle_of_files_is_named_in_its_contract(broken):
    (said,) = (text for heading, text in broken.items() if heading.startswith(CIRCLES))
    assert "No cycles are allowed in espalier.orchestrator.store." in said
