"""A null is one value in one list: which sources it takes, how it changes them, and that the docs tell it."""

import subprocess
import sys
from pathlib import Path

import pytest

from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.tasks.grafting.nulls.known_nulls import DEFAULT_NULLS, NULLS, variant_name, variant_of
from espalier.tasks.grafting.nulls.null import PLAIN
from espalier.tasks.grafting.tile_parts import Source, gram_source
from espalier.tasks.spec import POOL_NULLS
from tests.tasks.conftest import make_net, make_snapshot

ROOT = Path(__file__).parents[4]
LADDER = [make_snapshot(make_net(), epoch) for epoch in (0, 2, 5)]


@pytest.mark.parametrize("name", NULLS)
def test_a_null_is_in_the_docs_and_has_a_name_that_no_pool_has(name):
    sweep, method = ((ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("sweep.md", "method.md"))
    assert f"`{name}`" in next(line for line in sweep.splitlines() if line.startswith("| `graft.nulls`"))
    assert f"\n| `{name}` | " in method
    assert name not in {*POOL_NULLS, "none"}


@pytest.mark.parametrize(
    ("name", "of_itself", "of_another"),
    [
        ("self", [0, 2, 5], []),
        ("permuted", [0, 2, 5], []),
        ("shuffled_images", [], [0, 2, 5]),
        ("untrained", [], [0, 0]),  # at epoch 0 the real graft is the untrained one
    ],
)
def test_the_sources_of_a_null_for_targets_at_each_place_of_a_ladder(name, of_itself, of_another):
    for same, epochs in ((True, of_itself), (False, of_another)):
        found = [snap.epoch for place in range(3) for snap in NULLS[name].sources(LADDER, place, same)]
        assert found == epochs


def test_without_an_initial_snapshot_nothing_is_untrained():
    assert [*NULLS["untrained"].sources(LADDER[1:], 1, False)] == []


def test_the_four_nulls_of_before_are_the_default_in_their_order():
    assert DEFAULT_NULLS == ("self", "untrained", "shuffled_images", "permuted")
    assert SweepConfig().graft.nulls == DEFAULT_NULLS


def test_a_source_that_is_not_changed_is_shared_and_one_that_only_permutes_shares_its_gram_matrix():
    assert variant_of(variant_name("none")) is variant_of(variant_name("untrained")) is PLAIN
    plain, shuffled, permuted = (Source(3, name) for name in ("plain", "shuffled_images", "permuted"))
    assert [gram_source(source) for source in (plain, shuffled, permuted)] == [plain, plain, permuted]


def test_a_null_that_nobody_knows_is_refused_rather_than_computed_as_a_real_graft():
    with pytest.raises(ValueError, match="called 'slef': known here are none, self, untrained"):
        variant_name("slef")


def test_nulls_are_known_without_torch():
    code = (
        "import sys, espalier.tasks.grafting.nulls.known_nulls, espalier.tasks.grafting.tile_parts; "
        "print([name for name in ('torch', 'ray') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
