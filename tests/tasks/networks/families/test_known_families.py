"""A family is one value in one list: what the list holds is what the config takes and the docs tell."""

import subprocess
import sys
from pathlib import Path

import pytest

from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.tasks.networks.families.known_families import FAMILIES, having

ROOT = Path(__file__).parents[4]


def docs_row(page, start):
    """The lines of a table in docs/ that begin so."""
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    return " ".join(line for line in lines if line.startswith(start))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_in_the_docs_and_its_usual_fields_are_the_configs_defaults(name):
    assert f"`{name}`" in docs_row("sweep.md", "| `network.family`")
    assert f"| `{name}`" in docs_row("method.md", "| `") or f", `{name}` |" in docs_row("method.md", "| `")
    network = SweepConfig.parse({"network": {"family": name}}).network
    told = {field: getattr(network, field) for field in ("layers", "batch_norm", "dropout", "activation")}
    assert told == {**FAMILIES[name].fixed, **FAMILIES[name].usual}
    assert not set(FAMILIES[name].fixed) & set(FAMILIES[name].usual)


def test_the_families_that_have_a_field_are_those_that_read_it():
    assert {"conv", "vgg16", "vgg19"} <= {*having("batch_norm")}
    assert {"conv", "dense"} <= {*having("layers")}
    assert not {"dense", "resnet20"} & {*having("batch_norm")}
    assert not {"vgg16", "resnet20"} & {*having("layers")}


def test_families_are_known_without_torch():
    code = (
        "import sys, espalier.tasks.networks.families.known_families; "
        "print([name for name in ('torch', 'ray') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
