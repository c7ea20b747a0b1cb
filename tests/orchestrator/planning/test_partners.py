"""Who is whose partner: exact counts and degrees, and nothing is lost when seeds or partners become more."""

import pytest

from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.partners import Partners, offsets
from espalier.orchestrator.planning.plan import make_plan
from espalier.orchestrator.planning.task import Limits
from espalier.tasks.data.images import facts
from tests.orchestrator.folder import Folder


def design(nets, count, turn=0):
    """(source, target) of all pairs."""
    line = Partners(range(nets), count, turn)
    return {(source, target) for target in range(nets) for source in line.sources(target)}


def test_every_distance_has_one_offset_and_the_seed_turns_them():
    for turn in range(20):
        assert sorted(map(abs, offsets(6, turn))) == [1, 2, 3, 4, 5, 6]
        assert sum(one > 0 for one in offsets(6, turn)) == 3
        assert offsets(5, turn) == offsets(6, turn)[:5]
    assert len({offsets(6, turn) for turn in range(50)}) == 8


@pytest.mark.parametrize("count", range(1, 8))
def test_more_seeds_and_more_partners_add_pairs_and_take_none_away(count):
    for nets in range(count + 1, 20):
        for turn in range(4):
            here = design(nets, count, turn)
            assert here < design(nets + 1, count, turn)
            assert here < design(nets + 1, count + 1, turn)
            assert count + 1 == nets or here < design(nets, count + 1, turn)


@pytest.mark.parametrize("count", range(1, 8))
def test_a_net_has_k_sources_and_k_targets_but_for_k_nets_at_either_end(count):
    for nets in range(count + 1, 20):
        for turn in range(4):
            hold_to_the_bounds(nets, count, design(nets, count, turn))


def hold_to_the_bounds(nets, count, made):
    assert len(made) == nets * count - count * (count + 1) // 2
    assert not {(target, source) for source, target in made} & made  # so no net with itself
    for net in range(nets):
        out, into = (sum(pair[side] == net for pair in made) for side in (0, 1))
        if count <= net < nets - count:
            assert out == into == count
        assert count // 2 <= min(out, into) <= max(out, into) <= count or nets <= 2 * count
        assert abs(out - into) <= 2
    assert {(low, low + 1) for low in range(nets - 1)} <= {tuple(sorted(pair)) for pair in made}  # connected


def test_targets_are_sources_seen_from_the_other_side_and_only_the_order_of_seeds_counts():
    seeds = (7, 3, 100, 20, 5)
    line, plain = Partners(seeds, 2, 1), design(5, 2, 1)
    rising = sorted(seeds)
    of_targets = {(source, target) for source in seeds for target in line.targets(source)}
    assert of_targets == {(source, target) for target in seeds for source in line.sources(target)}
    assert of_targets == {(rising[source], rising[target]) for source, target in plain}


def config(seeds=6, partners=2, pairings=("same_width",), **sections):
    return SweepConfig.parse(
        {
            "network": {"layers": [1, "pool", 1, 1]},
            "sweep": {"widths": [2, 3], "seeds": seeds, **sections.pop("sweep", {})},
            "train": {"epochs": 2, "snapshots": [0, 2], "schedule": "constant"},
            "graft": {"partners": partners, "pairings": list(pairings), **sections},
        }
    )


def planned(sweep, folder=None):
    """(source, target, null, skips) of the pairs that are missing, by key."""
    made = make_plan(sweep, facts("digits"), (folder or Folder()).have, Limits(memory=2**40, slots=1), {})
    tiles = [task.job.payload for task in made.tasks if task.job.kind == "graft"]
    return {
        pair.key: (tile.snapshots[pair.source], tile.snapshots[pair.target], pair.null, tile.options.skips)
        for tile in tiles
        for pair in tile.pairs
    }


def seeds_of(pairs, null="none"):
    return {(s.net.seed, t.net.seed) for s, t, which, _ in pairs.values() if which == null}


def test_nulls_follow_the_pairs_and_every_net_is_its_own_null():
    found = planned(config())
    assert seeds_of(found) == design(6, 2)
    for null in ("untrained", "shuffled_images"):
        assert seeds_of(found, null) == design(6, 2)
    for null in ("self", "permuted"):
        assert seeds_of(found, null) == {(seed, seed) for seed in range(6)}


def test_a_sweep_with_more_seeds_or_partners_plans_what_is_new_alone():
    before = planned(config())
    for grown in (config(seeds=9), config(partners=3), config(partners="all")):
        assert before.keys() < planned(grown).keys()


@pytest.mark.parametrize("pairing", ["cross_epoch", "cross_setting", "skip"])
def test_the_other_pairings_take_the_same_partners(pairing):
    cross = {"cross": {"train.reg_weight": [1e-4, 1e-3]}} if pairing == "cross_setting" else {}
    chosen = config(pairings=[pairing], sweep=cross, nulls=[])
    assert seeds_of(planned(chosen)) == design(6, 2)
    every = planned(config(partners="all", pairings=[pairing], sweep=cross, nulls=[]))
    assert planned(chosen).keys() < every.keys()


def test_across_widths_each_net_has_its_partners_in_both_directions():
    found = planned(config(pairings=["cross_width"], nulls=[]))
    for narrow in (2, 3):
        some = {key: pair for key, pair in found.items() if pair[0].net.width == narrow}
        assert seeds_of(some) == design(6, 2)
        assert all(target.net.width != narrow for _, target, *_ in some.values())
