"""The preset gu2020: every field as docs/method.md has it, what is free beside it, and what is refused."""

import pytest

from espalier.orchestrator.config.presets import FREE
from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.planning.nets import nets
from espalier.tasks.data.images import facts
from espalier.tasks.spec import Schedule

GU = {
    "epochs": 200,
    "snapshots": (0, 1, 2, 5, *range(10, 201, 10)),
    "optimizer": "sgd",
    "lr": 0.01,
    "momentum": 0.9,
    "nesterov": True,
    "batch_size": 64,
    "schedule": "multi_step",
    "milestones": (60, 120, 180),
    "gamma": 0.2,
    "warmup_epochs": 1.0,
    "regularizer": "l12",
    "reg_weight": 1.0,
    "reg_biases": True,
    "augment": "crop_flip",
    "data_order": "shared",
    "class_keep": (),
    "label_noise": 0.0,
}
OTHER = {
    "optimizer": "adamw",
    "lr": 0.02,
    "momentum": 0.8,
    "nesterov": False,
    "batch_size": 32,
    "schedule": "cosine",
    "milestones": [60, 120],
    "gamma": 0.1,
    "warmup_epochs": 0,
    "reg_biases": False,
    "augment": "none",
    "data_order": "independent",
    "class_keep": [1, 0.5],
    "label_noise": 0.1,
}


SYNTHETIC = {
    "epochs": 20,
    "snapshots": (0, 1, 2, 5, 10, 20),
    "optimizer": "sgd",
    "lr": 1e-3,
    "momentum": 0.9,
    "nesterov": True,
    "batch_size": 100,
    "schedule": "constant",
    "milestones": (),
    "warmup_epochs": 0.0,
    "regularizer": "l2",
    "reg_weight": 2e-4,
    "reg_biases": True,
    "augment": "none",
    "data_order": "shared",
    "class_keep": (),
    "label_noise": 0.0,
}


def preset(network=None, **train):
    return SweepConfig.parse({"train": {"preset": "gu2020"} | train, "network": network or {}})


@pytest.mark.parametrize("field", SYNTHETIC)
def test_the_preset_of_the_synthetic_study_has_its_fields(field):
    train = SweepConfig.parse({"train": {"preset": "gu2020-synthetic"}}).train
    assert getattr(train, field) == SYNTHETIC[field]


def test_the_synthetic_study_is_three_layers_of_tanh_on_drawn_points():
    sections = {
        "data": {"dataset": "cosine-draws"},
        "network": {"family": "dense"},
        "train": {"preset": "gu2020-synthetic"},
    }
    (net, *_) = nets(SweepConfig.parse(sections | {"sweep": {"widths": [1000]}}), facts("cosine-draws"))
    assert [layer.out for layer in net.architecture.layers] == [1000, 1000, 1000, 1]
    assert [layer.activation for layer in net.architecture.layers] == ["tanh"] * 3 + ["none"]
    assert (net.recipe.loss, net.recipe.reg_biases, net.order) == ("mse", True, ())
    with pytest.raises(ConfigError, match=r"batch_size is 100 in the preset 'gu2020-synthetic', found 64"):
        SweepConfig.parse({"train": {"preset": "gu2020-synthetic", "batch_size": 64}})


@pytest.mark.parametrize("field", GU)
def test_a_field_left_out_takes_the_presets_value(field):
    assert getattr(preset().train, field) == GU[field]


@pytest.mark.parametrize("field", OTHER)
def test_another_value_beside_the_preset_is_refused_by_name(field):
    with pytest.raises(ConfigError, match=rf"train: {field} is .* in the preset 'gu2020', found") as caught:
        preset(**{field: OTHER[field]})
    assert "leave the preset out" in str(caught.value)


@pytest.mark.parametrize("field", GU)
def test_the_presets_own_value_may_be_written_down(field):
    value = GU[field]
    written = list(value) if isinstance(value, tuple) else value
    assert preset(**{field: written}) == preset()


def test_every_field_of_the_preset_is_free_or_refused():
    assert set(GU) == set(OTHER) | set(FREE)


def test_fewer_epochs_keep_the_milestones_at_their_share_of_the_training():
    few = preset(epochs=30).train
    assert few.milestones == (9, 18, 27)
    assert few.warmup_epochs == 1.0
    assert few.snapshots == (0, 1, 2, 5, 10, 20, 30)
    assert preset(epochs=3).train.milestones == (1, 2)
    assert (preset(epochs=1).train.schedule, preset(epochs=1).train.milestones) == ("constant", ())
    assert preset(epochs=12, snapshots=[0, 12]).train.snapshots == (0, 12)


def test_the_regularizer_and_its_weight_are_free_and_l12s_weight_is_not_another_ones():
    assert preset(reg_weight=8).train.reg_weight == 8.0
    l2 = preset(regularizer="l2").train
    assert (l2.regularizer, l2.reg_weight) == ("l2", 5e-4)


def test_the_net_of_the_preset_is_that_of_the_paper():
    (net, *_) = nets(preset({"family": "vgg16"}), facts("cifar10"))
    assert net.recipe.schedule == Schedule("multi_step", 1.0, (60, 120, 180), 0.2)
    assert net.order == ()
    assert [layer.dropout for layer in net.architecture.layers[12:]] == [0.5, 0.5, 0.5, 0.0]
    assert not net.recipe.reg_biases  # l12 is of weights alone
    (net, *_) = nets(preset({"family": "vgg16"}, regularizer="l2"), facts("cifar10"))
    assert net.recipe.reg_biases
    assert not any(layer.batch_norm for layer in net.architecture.layers)


def test_the_preset_reads_as_it_was_written_down_and_can_be_crossed_with_what_is_free():
    config = preset(epochs=10)
    assert SweepConfig.parse(config.model_dump(mode="json")) == config
    varied = SweepConfig.parse(
        {
            "train": {"preset": "gu2020"},
            "sweep": {"cross": {"train.reg_weight": [0.5, 8], "network.init": ["uniform"]}},
        }
    )
    assert [one.train.reg_weight for one in varied.settings()] == [0.5, 8.0]


@pytest.mark.parametrize("epochs", [0, "many", True])
def test_a_wrong_number_of_epochs_is_an_error_of_epochs(epochs):
    with pytest.raises(ConfigError, match=r"train\.epochs"):
        preset(epochs=epochs)


def test_regularizers_are_varied_under_a_preset_with_their_weights_alone():
    train, fields = {"preset": "gu2020"}, "train.regularizer"
    for varied in (
        {"sweep": {"cross": {fields: ["l12", "l2"]}}},
        {"tune": {"space": {fields: {"choices": ["l12", "l2"]}}}},
    ):
        with pytest.raises(ConfigError, match=r"vary 'train\.reg_weight' with it"):
            SweepConfig.parse({"train": train, **varied})
    listed = [{fields: "l2", "train.reg_weight": 5e-4}, {fields: "l12", "train.reg_weight": 1.0}]
    made = SweepConfig.parse({"train": train, "sweep": {"settings": listed}})
    assert [one.train.reg_weight for one in made.settings()] == [5e-4, 1.0]
