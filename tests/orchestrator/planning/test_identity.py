"""Keys hold what a result is, never how, where or under which name it was made."""

import itertools
import os
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest

from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.identity import (
    IdentityError,
    canonical,
    content_key,
    net_key,
    pair_keys,
    snapshot,
    tile_key,
)
from espalier.orchestrator.planning.kind import Have
from espalier.orchestrator.planning.kinds.pair_blocks import graft_key
from espalier.orchestrator.planning.kinds.pairings import graft_options
from espalier.orchestrator.planning.nets import nets
from espalier.orchestrator.planning.plan import make_plan
from espalier.orchestrator.planning.task import Limits
from espalier.tasks.data.images import facts
from espalier.tasks.spec import GraftOptions, Layer, Schedule

DIGITS = facts("digits")
SMALL = {"sweep": {"widths": [2], "seeds": 2}, "train": {"epochs": 4, "snapshots": [0, 4]}}


def config(**sections):
    """A small sweep with sections changed."""
    names = SMALL.keys() | sections.keys()
    return SweepConfig.parse({name: SMALL.get(name, {}) | sections.get(name, {}) for name in names})


def first_net(**sections):
    return nets(config(**sections), DIGITS)[0]


def first_key(**sections):
    return net_key(first_net(**sections))


@dataclass(frozen=True)
class Holder:
    inner: object


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), b"bytes", bytearray(b"b"), {1, 2}, object(), np.int64(3), Layer, len],
    ids=["nan", "inf", "bytes", "bytearray", "set", "object", "numpy", "class", "function"],
)
def test_identity_refuses_what_it_cannot_write_down_and_says_where(value):
    for wrapped, place in (
        (value, "value"),
        ({"a": [value]}, r"value\.a\[0\]"),
        (Holder(value), r"value\.inner"),
    ):
        with pytest.raises(IdentityError, match=rf"^{place} is "):
            canonical(wrapped)


@pytest.mark.parametrize("name", [1, None, ("a",), b"a"])
def test_identity_refuses_names_that_are_no_strings(name):
    with pytest.raises(IdentityError, match="only strings can name a field"):
        canonical({"outer": {name: 1}})


def test_a_key_does_not_depend_on_the_order_of_a_mapping():
    entries = [("a", 1), ("b", [2.5, None]), ("c", {"d": True, "e": "x"})]
    keys = {content_key("net", dict(order)) for order in itertools.permutations(entries)}
    assert len(keys) == 1


def test_a_key_depends_on_kind_parameters_and_the_order_of_inputs():
    variants = [
        content_key("net", {"a": 1}),
        content_key("graft", {"a": 1}),
        content_key("net", {"a": 2}),
        content_key("net", {"a": True}),
        content_key("net", {"a": "1"}),
        content_key("net", {"a": 1}, ["x", "y"]),
        content_key("net", {"a": 1}, ["y", "x"]),
        content_key("net", {"a": 1}, ["xy"]),
    ]
    assert len(set(variants)) == len(variants)


def test_the_data_set_counts_by_content_not_by_name():
    here = nets(config(), DIGITS)[0]
    renamed = nets(config(), replace(DIGITS, name="parquet:elsewhere/digits"))[0]
    other = nets(config(), replace(DIGITS, content="sha256:0"))[0]
    assert net_key(here) == net_key(renamed)
    assert net_key(here) != net_key(other)


def all_keys(sweep, limits, where):
    plan = make_plan(sweep, DIGITS, Have(), limits, where)
    trained = {task.job.key for task in plan.tasks if task.job.kind == "train"}
    pairs = {pair.key for task in plan.tasks if task.job.kind == "graft" for pair in task.job.payload.pairs}
    return trained, pairs


@pytest.mark.parametrize("run", [{"slots": 7}, {"memory_gib": 3}, {"attempts": 9}], ids=str)
def test_where_and_how_it_runs_changes_no_key(run):
    here = all_keys(config(), Limits(2**40, 1), {"dataset": "digits", "folder": "/here"})
    there = all_keys(config(run=run), Limits(2**31, 9), {"dataset": "parquet:x", "folder": None})
    assert here == there


@pytest.mark.parametrize("schedule", ["constant", "multi_step"])
def test_a_longer_run_of_a_schedule_without_horizon_extends_the_same_nets(schedule):
    steps = {"schedule": schedule} | ({"milestones": [2]} if schedule == "multi_step" else {})
    short, long = (first_key(train={"epochs": epochs, **steps}) for epochs in (4, 40))
    assert short == long


def test_keys_of_results_that_exist_are_as_they_were():
    """Written down before strides, BN, shortcuts, losses and methods became fields."""
    one, *_, last = nets(SweepConfig(), DIGITS)
    a, b = (snapshot(net, net_key(net), 4) for net in nets(SweepConfig(), DIGITS)[:2])
    assert (net_key(one), net_key(last)) == ("685820bbcb2c978899af81ad", "c0cf0362a443a046aa2825bc")
    assert a.key == "c5872d83054c86489e6dce45"
    assert graft_key(a, b, "none", GraftOptions()) == "95290f34d62529ae8ab6eb43"
    assert graft_key(a, b, "untrained", GraftOptions(ridge=1e-6)) == "c39dad5c4896ad05cf37c2a6"


def test_methods_and_statistics_change_a_grafts_key_but_not_their_order():
    def options(**graft):
        return graft_options(config(graft=graft))

    assert options(bn=["reestimated", "target"]) == options() == GraftOptions()
    assert options(bn=["target"]) != options()
    both = options(methods=["stitch", "exact"])
    assert both == options(methods=["exact", "stitch"])
    assert both != options()


def test_adams_schedule_changes_the_keys_of_its_grafts_alone():
    def options(**graft):
        return graft_options(config(graft=graft))

    schedules = [{"adam_lr": 1e-4}, {"adam_epochs": 2}, {"adam_batches": 10}]
    assert {options(), *(options(**schedule) for schedule in schedules)} == {GraftOptions()}
    made = {options(methods=["adam"], **schedule) for schedule in [{}, *schedules]}
    assert len(made) == 4
    assert GraftOptions(methods=("adam",)) in made


def test_ridges_and_their_validation_change_keys_and_validation_alone_does_not():
    def options(**graft):
        return graft_options(config(graft=graft))

    assert options(validation=0.5) == GraftOptions()
    made = {options(ridges=[0, 1]), options(ridges=[0]), options(ridges=[0, 1], validation=0.5)}
    assert len({graft_key(*two_snapshots(), "none", one) for one in made | {GraftOptions()}}) == 4


def test_grafts_that_keep_errors_by_blocks_are_other_results_than_those_without():
    kept = graft_options(config(graft={"error_blocks": True}))
    assert graft_options(config(graft={"error_blocks": False})) == GraftOptions()
    assert graft_key(*two_snapshots(), "none", kept) != graft_key(*two_snapshots(), "none", GraftOptions())


def two_snapshots():
    return [snapshot(net, net_key(net), 4) for net in nets(config(), DIGITS)[:2]]


def test_a_cosine_depends_on_its_end():
    assert first_key(train={"epochs": 4}) != first_key(train={"epochs": 5})


CHANGES = {
    "limit_train": {"data": {"limit_train": 100}},
    "limit_test": {"data": {"limit_test": 100}},
    "layers": {"network": {"layers": [1, "pool", 2]}},
    "lr": {"train": {"lr": 0.1}},
    "momentum": {"train": {"momentum": 0.8}},
    "nesterov": {"train": {"nesterov": False}},
    "batch_size": {"train": {"batch_size": 32}},
    "schedule": {"train": {"schedule": "constant"}},
    "milestones": {"train": {"schedule": "multi_step", "milestones": [1]}},
    "other milestones": {"train": {"schedule": "multi_step", "milestones": [2]}},
    "gamma": {"train": {"schedule": "multi_step", "milestones": [1], "gamma": 0.5}},
    "warmup_epochs": {"train": {"warmup_epochs": 0.5}},
    "regularizer": {"train": {"regularizer": "none"}},
    "reg_weight": {"train": {"reg_weight": 1e-3}},
    "reg_biases": {"train": {"reg_biases": True}},
    "data_order": {"train": {"data_order": "shared"}},
    "ntk": {"network": {"parametrization": "ntk"}},
    "mup": {"network": {"parametrization": "mup"}},
    "mup of another base width": {"network": {"parametrization": "mup", "base_width": 2}},
    "mean_field": {"network": {"parametrization": "mean_field"}},
    "a lazy mean_field": {"network": {"parametrization": "mean_field", "richness": 0.1}},
    "adamw": {"train": {"optimizer": "adamw"}},
    "beta1": {"train": {"optimizer": "adamw", "beta1": 0.5}},
    "beta2": {"train": {"optimizer": "adamw", "beta2": 0.5}},
    "eps": {"train": {"optimizer": "adamw", "eps": 1e-6}},
    "l12": {"train": {"regularizer": "l12"}},
    "precision": {"train": {"precision": "bf16"}},
    "augment": {"train": {"augment": "crop_flip"}},
    "label_noise": {"train": {"label_noise": 0.1}},
    "class_keep": {"train": {"class_keep": [0.5] * 10}},
    "data_seed": {"train": {"label_noise": 0.1, "data_seed": 1}},
    "batch_norm": {"network": {"batch_norm": True}},
    "dropout": {"network": {"dropout": 0.5}},
    "activation": {"network": {"activation": "tanh"}},
    "family": {"network": {"family": "resnet20"}},
    "another family": {"network": {"family": "resnet18"}},
    "dense": {"network": {"family": "dense"}},
    "width": {"sweep": {"widths": [3]}},
    "seed": {"sweep": {"seeds": [5, 6]}},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_each_field_of_the_recipe_changes_the_key(change):
    assert first_key(**change) != first_key()


def test_no_two_changes_give_the_same_key():
    keys = [first_key(), *(first_key(**change) for change in CHANGES.values())]
    assert len(set(keys)) == len(keys)


def test_snapshots_and_widths_of_the_sweep_do_not_reach_a_nets_key():
    assert first_key(train={"snapshots": [0, 1, 2, 4]}) == first_key()
    assert first_key(sweep={"widths": [2, 3, 4], "seeds": 5}) == first_key()


def test_grafts_differ_by_direction_null_epoch_and_ridge():
    one, two = nets(config(), DIGITS)
    a, b = (snapshot(net, net_key(net), 4) for net in (one, two))
    early = snapshot(one, net_key(one), 0)
    plain, ridge = GraftOptions(), GraftOptions(ridge=0.1)
    keys = [
        graft_key(a, b, "none", plain),
        graft_key(b, a, "none", plain),
        graft_key(early, b, "none", plain),
        graft_key(a, b, "shuffled_images", plain),
        graft_key(a, b, "none", ridge),
    ]
    assert len(set(keys)) == len(keys)


def test_a_tile_is_named_by_its_pairs():
    assert tile_key(["a", "b"]) == tile_key(("a", "b"))
    assert tile_key(["a", "b"]) != tile_key(["a"])


PROGRAM = """
from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.identity import net_key
from espalier.orchestrator.planning.nets import nets
from espalier.tasks.data.images import facts
print(*(net_key(net) for net in nets(SweepConfig(), facts("digits"))))
"""


def test_keys_are_the_same_in_every_process():
    def keys(hash_seed):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        answer = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
        )
        return answer.stdout.split()

    here = [net_key(net) for net in nets(SweepConfig(), DIGITS)]
    assert keys("1") == keys("2") == here


@dataclass(frozen=True)
class Old:
    kind: str
    rate: float = 1.0


@dataclass(frozen=True)
class New:
    kind: str
    rate: float = 1.0
    added: str = "as before"


def test_a_field_added_later_changes_no_key_until_it_is_used():
    for rate in (1.0, 2.0):
        assert content_key("net", New("x", rate)) == content_key("net", Old("x", rate))
    assert content_key("net", New("x", added="anew")) != content_key("net", Old("x"))
    assert content_key("net", New("x", 2.0)) != content_key("net", New("x"))


def test_a_field_without_a_default_is_always_written_down():
    assert canonical(Schedule("cosine", epochs=3)) == {"kind": "cosine", "epochs": 3}
    assert canonical(Holder(None)) == {"inner": None}


def test_keys_made_from_halves_are_the_very_keys_that_are_made_one_by_one():
    inputs = ["a" * 24, "b" * 24, 'c"\\d']
    sources, targets = (np.array(column, np.int32) for column in ((0, 1, 2, 2), (1, 0, 0, 1)))
    for parameters in ({"null": "none", "options": GraftOptions(ridge=1e-6)}, {}):
        made = pair_keys("graft", parameters, inputs, sources, targets, schema=2)
        one_by_one = [
            content_key("graft", parameters, [inputs[source], inputs[target]], 2)
            for source, target in zip(sources, targets, strict=True)
        ]
        assert [key.decode() for key in made] == one_by_one
