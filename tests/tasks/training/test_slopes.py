"""The slope of a coordinate check, its error over seeds, and what may be said of a layer."""

import math

import numpy as np
import pytest

from espalier.orchestrator.coordcheck import Check
from espalier.tasks.training.slopes import FLAT, LayerSlope, layer_slopes, slope


def rows(power, seeds, spread=0.0, widths=(8, 16, 32, 64, 128), rng=None, step=1, layer=1):
    """Changes as `width^power`, each net's times a factor of its own with that relative spread."""
    rng = rng or np.random.default_rng(0)
    return [
        {
            "step": step,
            "layer": layer,
            "width": width,
            "seed": seed,
            "change": width**power * math.exp(rng.normal(0, spread)),
        }
        for width in widths
        for seed in range(seeds)
    ]


def test_a_slope_is_the_mean_of_the_seeds_slopes_at_the_step_asked_for():
    both = [*rows(0.0, 2, step=1), *rows(0.5, 2, step=2)]
    assert layer_slopes(both, 1)[1].slope == pytest.approx(0.0, abs=1e-12)
    found = layer_slopes(both, 2)[1]
    assert (found.slope, found.error, found.seeds) == (pytest.approx(0.5), pytest.approx(0, abs=1e-12), 2)


def test_the_error_is_that_of_a_mean_over_seeds():
    noisy = rows(0.3, 6, spread=0.4)
    each = [
        slope(*zip(*[(row["width"], row["change"]) for row in noisy if row["seed"] == seed], strict=True))
        for seed in range(6)
    ]
    found = layer_slopes(noisy, 1)[1]
    assert found.slope == pytest.approx(np.mean(each))
    assert found.error == pytest.approx(np.std(each, ddof=1) / math.sqrt(6))


@pytest.mark.parametrize("seeds", [3, 8])
def test_its_interval_covers_the_true_slope_at_its_nominal_rate(seeds):
    rng = np.random.default_rng(3)
    found = [layer_slopes(rows(0.5, seeds, spread=0.5, rng=rng), 1)[1] for _ in range(300)]
    covers = np.mean([low <= 0.5 <= high for low, high in (each.interval(0.9) for each in found)])
    assert 0.85 <= covers <= 0.95  # 3 binomial deviations


@pytest.mark.parametrize(
    ("power", "spread", "seeds", "said"),
    [
        (0.0, 0.05, 8, "level"),
        (0.05, 0.05, 8, "level"),
        (0.5, 0.05, 8, "rises"),
        (1.0, 0.05, 8, "rises"),
        (-0.5, 0.05, 8, "falls"),
        (0.0, 1.5, 3, "unsure"),  # an estimate near 0 is no level line if its error is large
        (0.5, 1.5, 3, "unsure"),
        (FLAT, 0.05, 8, "unsure"),
        (0.0, 0.0, 1, "unsure"),  # one seed has no error
    ],
)
def test_a_verdict_knows_the_error(power, spread, seeds, said):
    assert layer_slopes(rows(power, seeds, spread), 1)[1].verdict.partition(":")[0] == said


def test_a_level_layer_is_seldom_called_anything_else_and_never_by_noise_alone():
    """Verdicts of 200 checks of 8 seeds, whose slope is 0 or 1/2 and whose spread is that of real ones."""
    rng = np.random.default_rng(5)
    for power, wrong in ((0.0, ("rises", "falls")), (0.5, ("level", "falls"))):
        said = [
            layer_slopes(rows(power, 8, spread=0.25, rng=rng), 1)[1].verdict.partition(":")[0]
            for _ in range(200)
        ]
        assert sum(word in wrong for word in said) <= 2
        assert sum(word == "unsure" for word in said) <= 20


@pytest.mark.parametrize("bad", [math.inf, math.nan, 0.0])
def test_a_seed_that_diverges_leaves_its_layer_without_a_slope(bad):
    some = rows(0.5, 3)
    some[4]["change"] = bad
    found = layer_slopes(some, 1)[1]
    assert math.isnan(found.slope)
    assert found.verdict == "diverged"


@pytest.mark.parametrize("changes", [[1.0, math.inf], [1.0, math.nan], [0.0, 1.0]])
def test_a_net_that_diverges_has_no_slope(changes):
    assert math.isnan(slope([4, 8], changes))
    assert math.isnan(slope([4], [1.0]))


def test_the_seeds_of_a_check_by_default_tell_a_level_layer_at_the_scatter_that_seeds_have():
    """On digits the slopes of single seeds scatter by 0.13 to 0.21."""
    seeds = Check().seeds
    assert LayerSlope(0.0, 0.21 / seeds**0.5, seeds).verdict == "level"
    assert LayerSlope(0.5, 0.21 / seeds**0.5, seeds).verdict == "rises"
