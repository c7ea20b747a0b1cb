"""The templates that ship with the package: each is a sweep, tells what it is for, and can be planned."""

import io
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from espalier import Sweep, SweepConfig
from espalier.orchestrator.cli import app
from espalier.orchestrator.planning.kind import Have
from espalier.orchestrator.planning.plan import make_plan
from espalier.orchestrator.planning.task import Limits
from espalier.orchestrator.templates import find, templates
from espalier.tasks.data import images
from espalier.tasks.data.images import DataFacts

ROOT = Path(__file__).parents[3]
NAMES = [
    *("demo", "barriers", "cifar10", "cluster", "exchangeable", "label-noise", "own-images", "sp-vs-mup"),
    *("through-training", "tuned"),
]
DOWNLOADED = {"cifar10", "cluster"}
RGB32 = DataFacts("images", "", 3, 32, 32, 10, 50_000, 10_000)
"""Images of the form that the costs of some templates speak of; planning needs no more of them than this."""


def test_the_templates_are_these_with_the_demo_first():
    assert list(templates()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_template_is_a_sweep_that_allows_a_fit_of_its_width_limit(name):
    config = SweepConfig.parse_toml(templates()[name].text.encode(), name)
    assert len(config.sweep.widths) >= 4
    assert len(config.sweep.seeds) >= 3


@pytest.mark.parametrize("name", NAMES)
def test_each_template_says_first_what_it_answers_and_what_it_costs(name):
    template = templates()[name]
    lines = template.text.splitlines()
    assert lines[0].startswith("# Answers: ")
    assert next(line for line in lines[1:] if not line.startswith("#   ")).startswith("# Costs: ")
    assert template.answers.endswith("?")
    assert re.search(r"\b(minutes?|hours?|days?)\b", template.costs)
    assert "espalier plan" in template.costs or "measured" in template.costs


@pytest.mark.parametrize("name", NAMES)
def test_each_template_costs_what_the_planner_says(name):
    config = SweepConfig.parse_toml(templates()[name].text.encode(), name)
    at_hand = not (name in DOWNLOADED or name == "own-images")
    facts = images.facts(config.data.dataset, None) if at_hand else RGB32
    slots = 8 * 8 if name == "cluster" else 2
    plan = make_plan(config, facts, Have(), Limits(memory=8 * 2**30, slots=slots))
    told = float(cost(templates()[name]).removesuffix(" TFLOP").replace(",", ""))
    # how grafts are cut into jobs depends on memory and slots, and moves the sum by a few per cent
    assert told == pytest.approx(sum(task.cost.flops for task in plan.tasks) / 1e12, rel=0.08)


def cost(template):
    """What stands first of a template's costs, such as `2.7 TFLOP`."""
    found = re.match(r"[\d,.]+ TFLOP(?=, )", template.costs)
    assert found, template.costs
    return found[0]


def test_the_page_of_examples_lists_every_template_with_its_question_and_cost():
    page = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    wanted = [
        f"| [{each.name}](../orchestrator/templates/{each.name}.toml) | {each.answers} | {cost(each)} |"
        for each in templates().values()
    ]
    assert [line for line in page.splitlines() if line.startswith("| [")] == wanted


def grey(side):
    """A PNG of one grey image."""
    data = io.BytesIO()
    Image.fromarray(np.arange(side * side, dtype=np.uint8).reshape(side, side)).save(data, "PNG")
    return {"bytes": data.getvalue(), "path": ""}


def put_images(folder):
    """A small data set of two classes, in the form that the template asks for."""
    folder.mkdir()
    for split, count in (("train", 40), ("test", 20)):
        columns = {"image": [grey(16)] * count, "label": [number % 2 for number in range(count)]}
        pq.write_table(pa.table(columns), folder / f"{split}-00000-of-00001.parquet")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in DOWNLOADED])
def test_each_template_whose_images_are_at_hand_is_planned_as_it_is(tmp_path, name):
    if name == "own-images":
        put_images(tmp_path / "images")
    (tmp_path / "sweep.toml").write_text(templates()[name].text)
    todo = Sweep(tmp_path).plan()
    assert todo.tasks
    assert not any(todo.done.values())


def test_the_committed_demo_is_the_template():
    assert (ROOT / "results" / "demo" / "sweep.toml").read_text(encoding="utf-8") == find("demo", ROOT).text


def test_a_name_is_a_template_and_a_path_a_folder_here_or_beside_the_new_one(tmp_path, monkeypatch):
    text = "# Answers: Mine?\n"
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "sweep.toml").write_text(text)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sweep.toml").write_text(text)
    assert find("demo", tmp_path) == templates()["demo"]
    assert find(str(tmp_path / "demo"), Path()).text == text
    assert find("other", tmp_path).text == text
    monkeypatch.chdir(tmp_path)
    assert find("demo", Path()) == templates()["demo"]
    assert find("./demo", Path()).text == text


def test_an_unknown_name_is_answered_with_the_templates(tmp_path):
    with pytest.raises(ValueError, match="--from nothing: no template") as info:
        find("nothing", tmp_path)
    assert all(name in str(info.value) for name in NAMES)
    assert "\n" not in str(info.value)


def test_new_writes_through_no_link(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sweep.toml").symlink_to(tmp_path / "elsewhere")
    answer = CliRunner().invoke(app, ["new", str(tmp_path / "mine")])
    assert answer.exit_code == 1
    assert "exists already" in answer.stderr
    assert not (tmp_path / "elsewhere").exists()
