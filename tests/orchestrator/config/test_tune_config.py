"""`[tune]`: what can be tuned, within what, and which studies a sweep then asks for."""

import pytest

from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.config.tune_space import is_whole, tunable, with_parameters
from espalier.orchestrator.planning.identity import net_key
from espalier.orchestrator.planning.kinds.trials import whole_trial
from espalier.orchestrator.planning.nets import nets
from espalier.orchestrator.planning.studies import assignments, choices, chosen, wanted_studies
from espalier.tasks.data.images import facts
from espalier.tasks.spec import Snapshot
from espalier.tasks.tables.axes import in_words, net_axes, recipe_text, setting

DIGITS = facts("digits")
RATE = {"train.lr": {"low": 1e-3, "high": 1.0, "log": True}}


def config(tune, **sections):
    return SweepConfig.parse({"tune": {"space": RATE} | tune, **sections})


@pytest.mark.parametrize(
    ("tune", "words"),
    [
        ({"objective": "loss_test"}, ["tune.objective", "'loss_test'", "test images", "tune.validation"]),
        ({"objective": "accuracy_test"}, ["tune.objective", "'accuracy_test'"]),
        ({"space": {"train.lr": {"low": 0.0, "high": 1.0, "log": True}}}, ["tune.space.train.lr", "above 0"]),
        ({"space": {"train.lr": {"low": 2.0, "high": 1}}}, ["tune.space.train.lr", "low = 2, high = 1"]),
        ({"space": {"train.lr": {"low": 0.1}}}, ["tune.space.train.lr", "low and high, or choices"]),
        (
            {"space": {"train.lr": {"low": -1, "high": 1}}},
            ["tune.space.'train.lr'", "-1.0", "greater than 0"],
        ),
        (
            {"space": {"train.momentum": {"low": 0.1, "high": 1.5}}},
            ["'train.momentum'", "1.5", "less than 1"],
        ),
        ({"space": {"train.batch_size": {"low": 8, "high": 9.5}}}, ["'train.batch_size'", "whole number"]),
        ({"space": {"train.batch_size": {"choices": [8, 0]}}}, ["'train.batch_size'", "0 is no value"]),
        ({"space": {"train.regularizer": {"choices": ["l2", "l3"]}}}, ["'train.regularizer'", "'l3'"]),
        ({"space": {"train.nesterov": {"low": 0, "high": 1}}}, ["'train.nesterov'", "choices"]),
        ({"space": {"train.epochs": {"low": 1, "high": 9}}}, ["'train.epochs' cannot be tuned", "train.lr"]),
        ({"space": {"lr": {"low": 1, "high": 9}}}, ["'lr' cannot be tuned", "train.lr"]),
        ({"space": {"train.lr": {"low": 0.1, "hihg": 1}}}, ["tune.space.train.lr.hihg", "low, high, log"]),
        ({"space": {"train.lr": {"choices": [0.1, 0.1]}}}, ["tune.space.train.lr", "without repeats"]),
        ({"seeds": [7, 3]}, ["tune.seeds", "sweep.seeds", "[3]"]),
        ({"storage": "postgresql://me:secret@host/studies"}, ["tune", "storage", "$PASSWORD"]),
        ({"pruner": "mean"}, ["tune.pruner", "'mean'", "median"]),
        ({"trials": 0}, ["tune.trials", "0"]),
    ],
)
def test_a_fault_is_refused_by_its_fields_name(tune, words):
    with pytest.raises(ConfigError) as caught:
        config(tune)
    for word in words:
        assert word in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_preset_keeps_its_recipe_but_for_what_is_free_beside_it():
    preset = {"preset": "gu2020", "epochs": 20}
    with pytest.raises(ConfigError, match=r"'train\.lr' is set by train\.preset = 'gu2020'"):
        config({}, train=preset)
    space = {"train.reg_weight": {"low": 1e-3, "high": 1, "log": True}}
    free = config({"space": space, "epochs": 3}, train=preset)
    (study, *_) = wanted_studies(free, DIGITS)
    (net,) = study.nets({"reg_weight": 0.25})
    assert (net.recipe.reg_weight, net.recipe.regularizer, net.recipe.lr) == (0.25, "l12", 0.01)


def test_a_field_may_be_written_without_quotes_as_toml_allows():
    text = b"[tune.space]\ntrain.lr = {low = 0.1, high = 1.0}\n'train.momentum' = {choices = [0.5, 0.9]}\n"
    made = SweepConfig.parse_toml(text, "sweep.toml")
    assert {name: one.high for name, one in made.tune.space.items()} == {
        "train.lr": 1.0, "train.momentum": None,
    }  # fmt: skip


def test_a_field_that_the_sweep_varies_cannot_be_tuned_too():
    with pytest.raises(ConfigError, match=r"'train.lr', which \[sweep\] varies"):
        config({}, sweep={"cross": {"train.lr": [0.1, 0.2]}})
    with pytest.raises(ConfigError, match=r"'train.lr', which \[sweep\] varies"):
        config({}, sweep={"settings": [{"train.lr": 0.1}, {"train.lr": 0.2}]})


def test_what_can_be_tuned_is_part_of_a_recipe():
    assert {"lr", "momentum", "batch_size", "reg_weight", "warmup_epochs", "schedule"} <= set(tunable())
    compared = {"epochs", "snapshots", "milestones", "data_order", "class_keep", "label_noise", "data_seed"}
    assert not compared & set(tunable())
    assert [name for name in tunable() if is_whole(name)] == ["batch_size"]


def test_there_is_a_study_for_each_setting_and_width_or_fewer_as_per_says():
    sweep = {"widths": [8, 4], "cross": {"network.init": ["he_normal", "uniform"]}}
    counts = {("width", "setting"): 4, ("width",): 2, ("setting",): 2, (): 1}
    for per, count in counts.items():
        made = assignments(config({"per": list(per)}, sweep=sweep), DIGITS)
        assert set(made) == {(number, width) for number in (0, 1) for width in (8, 4)}
        assert len({study.key for study in made.values()}) == count
    # one study of all: at the least width, of the first setting
    (study,) = wanted_studies(config({"per": []}, sweep=sweep), DIGITS)
    assert (study.width, study.net.init) == (4, "he_normal")
    assert assignments(SweepConfig(), DIGITS) == {}


def test_a_study_is_another_if_its_shape_is_and_the_same_with_more_trials_widths_or_seeds():
    def key(tune, **sections):
        return wanted_studies(config(tune, **sections), DIGITS)[0].key

    same = [
        key({}), key({"trials": 99}), key({"storage": "sqlite:///x"}), key({}, sweep={"widths": [4, 99]}),
        key({}, sweep={"seeds": 9}), key({}, train={"snapshots": [0, 20]}), key({"epochs": 20}),
    ]  # fmt: skip
    assert len(set(same)) == 1
    others = [
        {"objective": "accuracy"}, {"validation": 0.3}, {"validation_seed": 1}, {"epochs": 5}, {"seeds": [9]},
        {"sampler": "random"}, {"sampler_seed": 1}, {"pruner": "none"}, {"least_epochs": 2},
        {"startup_trials": 1},
        {"space": RATE | {"train.momentum": {"choices": [0.5, 0.9]}}},
    ]  # fmt: skip
    assert len({same[0], *map(key, others)}) == len(others) + 1


def test_nets_take_what_was_chosen_for_their_width_and_their_keys_are_those_of_that_recipe():
    tuned = config({}, sweep={"widths": [4, 8], "seeds": 2})
    small, large = wanted_studies(tuned, DIGITS)
    found = choices(tuned, DIGITS, {small.key: {"lr": 0.25}, large.key: {"lr": 0.125}, "other": {"lr": 9}})
    made = nets(tuned, DIGITS, found)
    assert [(net.width, net.recipe.lr) for net in made] == [(4, 0.25), (4, 0.25), (8, 0.125), (8, 0.125)]
    plain = SweepConfig.parse({"train": {"lr": 0.25}, "sweep": {"widths": [4], "seeds": 2}})
    assert [net_key(net) for net in nets(plain, DIGITS)] == [net_key(net) for net in made[:2]]
    # half a choice: the other width keeps the recipe of [train] until its study is finished
    half = nets(tuned, DIGITS, choices(tuned, DIGITS, {small.key: {"lr": 0.25}}))
    assert [net.recipe.lr for net in half] == [0.25, 0.25, 0.05, 0.05]


def test_tuned_nets_of_all_widths_are_one_setting_and_the_tables_say_what_was_chosen():
    tuned = config(
        {"space": RATE | {"train.reg_weight": {"low": 0, "high": 1}}}, sweep={"widths": [4, 8], "seeds": 2}
    )
    places = {(0, 4): {"lr": 0.25, "reg_weight": 0.5}, (0, 8): {"lr": 0.1, "reg_weight": 0.0}}
    small, _, large, _ = nets(tuned, DIGITS, places)
    assert setting(small) == setting(large)
    assert recipe_text(small) == recipe_text(large)
    assert "lr tuned" in recipe_text(small)
    axes = net_axes(Snapshot("key", "net", small, 3))
    assert (axes["tuned"], axes["reg_weight"], axes["width"]) == ("lr 0.25, reg_weight 0.5", None, 4)
    plain = nets(SweepConfig(), DIGITS)[0]
    assert net_axes(Snapshot("key", "net", plain, 3))["tuned"] == ""
    assert setting(plain) != setting(small)


def test_a_trial_may_be_shorter_than_the_snapshots_and_has_a_schedule_of_its_own_length():
    (study, *_) = wanted_studies(config({"epochs": 3}), DIGITS)
    (net,) = study.nets({"lr": 0.5})
    assert (net.recipe.lr, net.recipe.schedule.epochs, net.seed) == (0.5, 3, 1000)
    with pytest.raises(ValueError, match=r"momentum.*nesterov"):
        study.nets({"momentum": 0.0})
    assert with_parameters(SweepConfig().train, {"batch_size": 7}).batch_size == 7


def test_the_best_is_the_least_loss_or_the_most_accuracy_of_complete_trials():
    rows = [
        {"number": number, "state": state, "value": value}
        for number, state, value in [
            (0, "complete", 0.4),
            (1, "pruned", 0.1),
            (2, "complete", 0.3),
            (3, "lost", None),
        ]
    ]
    for objective, best in (("loss", 2), ("accuracy", 0)):
        (study, *_) = wanted_studies(config({"objective": objective}), DIGITS)
        assert chosen(study, [row | {"study": study.key} for row in rows])["number"] == best
        assert chosen(study, [row | {"study": "other"} for row in rows]) is None


def test_a_share_that_leaves_nothing_and_an_accuracy_of_a_regression_are_refused():
    with pytest.raises(ConfigError, match=r"tune\.validation.*holds back 0"):
        wanted_studies(config({"validation": 0.01}, data={"limit_train": 10}), DIGITS)
    regression = config({"objective": "accuracy"}, data={"dataset": "cosine"}, network={"family": "dense"})
    with pytest.raises(ConfigError, match=r"tune\.objective.*regression"):
        wanted_studies(regression, facts("cosine"))


def test_a_plan_counts_a_trial_with_the_largest_batch():
    space = {"train.batch_size": {"low": 16, "high": 256}}
    (study, *_) = wanted_studies(config({"space": space, "seeds": [50, 51]}), DIGITS)
    task = whole_trial(study, 0, {})
    assert [net.recipe.batch_size for net in task.job.payload.nets] == [256, 256]
    assert in_words({"lr": 1 / 3, "schedule": "cosine"}) == "lr 0.333333, schedule cosine"
