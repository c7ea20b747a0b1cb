"""The sweeps that are committed can be read as they are, and those that were not run say so."""

from pathlib import Path

import pytest

from espalier.orchestrator.config.sweep_config import SweepConfig

ROOT = Path(__file__).parents[3]
SWEEPS = sorted((ROOT / "results").glob("*/sweep.toml"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.parent.name)
def test_a_committed_sweep_is_one_and_says_if_it_was_not_run(path):
    config = SweepConfig.parse_toml(path.read_bytes(), path.parent.name)
    made = (path.parent / "tables").is_dir()
    told = path.read_text(encoding="utf-8").startswith("# Not run:")
    assert made or told or path.parent.name == "demo"
    assert not (made and told)
    assert config.sweep.widths
    assert f"`{path.parent.name}/`" in (ROOT / "results" / "README.md").read_text(encoding="utf-8")
