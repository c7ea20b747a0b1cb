"""Which pairs are compared, under which keys, and how they become jobs."""

import pytest

from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.planning.kind import Have
from espalier.orchestrator.planning.kinds.similarities import SIMILARITIES
from espalier.orchestrator.planning.plan import make_plan
from espalier.orchestrator.planning.task import Limits
from espalier.tasks.data.images import facts

DIGITS, ROOMY = facts("digits"), Limits(2**40, 1)


def planned(similarity, have=None, limits=ROOMY, **parts):
    rest = {
        "network": {"layers": [1, 2]},
        "train": {"epochs": 2, "snapshots": [0, 1, 2]},
        "graft": {"nulls": []},
    }
    axes = {"widths": [2, 4], "seeds": 4} | parts.pop("sweep", {})
    config = SweepConfig.parse({**rest, "sweep": axes, "similarity": similarity, **parts})
    made = make_plan(config, DIGITS, have or Have(), limits)
    return [task for task in made.tasks if task.job.kind == "similarity"]


def units(tasks):
    return [unit for task in tasks for unit in SIMILARITIES.units_of(task)]


def places(tasks):
    return sorted(
        (
            *(snap.net.width for snap in unit.reads),
            *(snap.epoch for snap in unit.reads),
            *(snap.net.seed for snap in unit.reads),
        )
        for unit in units(tasks)
    )


def test_without_a_measure_nothing_is_compared():
    assert planned({}) == []


def test_every_unordered_pair_of_seeds_is_compared_once_at_each_width_and_epoch():
    found = places(planned({"measures": ["cka"]}))
    assert len(found) == len(set(found)) == 2 * 3 * 6
    assert all(one == other and e == f and a < b for one, other, e, f, a, b in found)


def test_all_epochs_are_crossed_between_nets_and_never_within_one():
    found = places(planned({"measures": ["energy"], "epochs": "all"}))
    assert len(found) == len(set(found)) == 2 * 6 * 9
    assert all(a != b for *_, a, b in found)


def test_few_measures_make_the_map_of_training_and_one_more_adds_to_it():
    asked = {"measures": ["energy", "cka", "match"], "epochs": "all"}
    made = {
        count: {(unit.key, unit.measure) for unit in units(planned(asked | {"map_measures": some}))}
        for count, some in ((1, ["energy"]), (2, ["energy", "cka"]), (3, "all"))
    }
    assert {count: len(some) for count, some in made.items()} == {
        count: 2 * 6 * (3 * 3 + count * 6) for count in made
    }
    assert made[1] < made[2] < made[3]


def test_narrow_nets_are_compared_with_the_widest_ones():
    found = places(planned({"measures": ["cka"], "widths": "widest"}))
    across = [one for one in found if one[0] != one[1]]
    assert len(found) == 2 * 3 * 6 + 3 * 12
    assert all((one, other) == (2, 4) and e == f and a != b for one, other, e, f, a, b in across)


def test_keys_do_not_depend_on_the_order_of_seeds_or_on_how_jobs_are_cut():
    asked = {"measures": ["cka", "match"]}
    keys = {unit.key for unit in units(planned(asked))}
    assert keys == {unit.key for unit in units(planned(asked, sweep={"seeds": [3, 1, 0, 2]}))}
    assert keys == {unit.key for unit in units(planned(asked, limits=Limits(2**40, 50)))}
    assert keys.isdisjoint(unit.key for unit in units(planned(asked | {"images": 500})))


def test_a_measure_that_is_added_is_the_only_one_that_is_missing():
    done = frozenset((unit.key,) for unit in units(planned({"measures": ["cka"]})))
    rest = planned({"measures": ["cka", "rsa"]}, Have(present={"similarity": done}))
    assert {unit.measure for unit in units(rest)} == {"rsa"}
    assert len(units(rest)) == len(done)


def test_a_job_keeps_to_a_slots_memory_and_leaves_no_slot_idle():
    asked = {"measures": ["cka", "procrustes"]}
    wide = {"sweep": {"widths": [32], "seeds": 8}, "train": {"epochs": 1, "snapshots": [1]}}
    (whole,) = planned(asked, **wide)
    tight = planned(asked, limits=Limits(whole.cost.memory - 1, 1), **wide)
    assert len(tight) > 1
    assert all(task.cost.memory < whole.cost.memory for task in tight)
    assert places(tight) == places([whole])
    assert len(planned(asked, limits=Limits(2**40, 3), **wide)) >= 3
    assert sum(len(task.inputs) for task in (one.job for one in tight)) > len(whole.job.inputs)


def test_what_shapes_comparisons_may_be_anything_where_there_are_none():
    assert SIMILARITIES.idle(SweepConfig()) == {"similarity.images", "similarity.permutations"}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"measures": ["ckaa"]}, r"similarity\.measures\.0: found 'ckaa'.*'cka', 'cka_channels'"),
        ({"measures": ["cka", "cka"]}, "measures has repeats"),
        ({"images": 3}, r"similarity\.images: found 3"),
        ({"images": 2001}, r"similarity\.images: found 2001"),
        ({"epochs": "some"}, r"similarity\.epochs: found 'some'"),
        (
            {"measures": ["cka"], "epochs": "all", "map_measures": ["rsa"]},
            r"map_measures has 'rsa', which is not among measures: .* some of \['cka'\]",
        ),
        ({"measures": ["cka"], "map_measures": ["cka"]}, "makes no map of training: add epochs = 'all'"),
        (
            {"measures": ["cka"], "epochs": "all", "map_measures": ["cka", "cka"]},
            "map_measures has repeats",
        ),
    ],
)
def test_a_wrong_field_is_named_with_what_would_do(section, message):
    with pytest.raises(ConfigError, match=message):
        SweepConfig.parse({"similarity": section})
