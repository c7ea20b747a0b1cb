"""The tables' schemas and the axes that every row carries."""

from dataclasses import FrozenInstanceError, fields, is_dataclass, replace

import pyarrow as pa
import pytest

from espalier.tasks import spec
from espalier.tasks.tables.axes import net_axes, recipe_text
from espalier.tasks.tables.image_blocks import WIDE_COLUMNS
from espalier.tasks.tables.rows import table
from espalier.tasks.tables.schemas import ROW_IDENTITY, SCHEMAS, completed
from tests.tasks.conftest import make_net, make_snapshot

DESIGN = {
    "nets": "loss_train loss_test accuracy_train accuracy_test parameters checkpoint",
    "curves": "loss_train loss_test accuracy_train accuracy_test learning_rate seconds",
    "grafts": "layer layer_name method null bn fvu_train fvu_test fvu_channel_mean loss_test accuracy_test "
    "target_accuracy_test source_accuracy_test accuracy_drop ridge patch_dim effective_rank "
    "condition_number images_train images_test dead_channels",
    "downstream": "method null bn graft_layer layer fvu_test",
    "hybrids": "share loss_train accuracy_train loss_test accuracy_test source_accuracy_test "
    "target_accuracy_test fvu_last ridge images_train images_test warning",
    "exchangeability": "null layer layer_name nets one_width null_width partitions fvu_one fvu_null ratio "
    "ratio_low ratio_high p_value p_spread ridge products patch_dim images_train images_test warning",
    "jobs": "kind node device start seconds flops bytes_in outcome error",
}
AXES = "net architecture width parametrization init regularizer reg_weight recipe dataset seed epoch tuned"


def wanted_columns(name):
    """Section 3 of the design: the key, the axes (twice for pairs), the table's own columns."""
    alone = {"nets": [""], "curves": [""], "jobs": [], "exchangeability": ["target_"]}
    sides = alone.get(name, ["source_", "target_"])
    return ["key", *(side + axis for side in sides for axis in AXES.split()), *DESIGN[name].split()]


@pytest.mark.parametrize("name", DESIGN)
def test_a_table_has_every_column_of_the_design(name):
    assert set(wanted_columns(name)) <= set(SCHEMAS[name].names)


def test_every_column_is_described_and_named_once():
    for name, schema in SCHEMAS.items():
        assert len(set(schema.names)) == len(schema.names), name
        for column in schema:
            assert column.metadata[b"description"], (name, column.name)


def test_the_columns_that_name_a_piece_of_work_exist():
    for name, identity in ROW_IDENTITY.items():
        assert set(identity) <= set(SCHEMAS[name].names)


def test_a_snapshots_axes_are_its_own():
    snapshot = make_snapshot(make_net(seed=5, width=4), epoch=9)
    axes = net_axes(snapshot)
    assert list(axes) == AXES.split()
    assert (axes["seed"], axes["width"], axes["epoch"]) == (5, 4, 9)
    assert list(net_axes(snapshot, "source_")) == [f"source_{axis}" for axis in AXES.split()]


def curve_row():
    axes = net_axes(make_snapshot(make_net(), 1))
    numbers = dict.fromkeys(DESIGN["curves"].split(), 0.5)
    return {"key": "k", **axes, **numbers}


def test_rows_become_a_table_of_the_schema_and_no_rows_an_empty_one():
    made = table("curves", [curve_row()])
    assert made.schema == SCHEMAS["curves"]
    assert made.to_pylist() == [curve_row()]
    assert table("curves", []).schema == SCHEMAS["curves"]


@pytest.mark.parametrize(("extra", "less"), [({"los": 1.0}, None), ({}, "loss_test")])
def test_a_row_with_other_columns_is_refused_by_name(extra, less):
    row = curve_row() | extra
    row.pop(less, None)
    with pytest.raises(ValueError, match=less or "los"):
        table("curves", [row])


def test_a_text_for_a_number_is_refused():
    with pytest.raises((pa.ArrowException, TypeError, ValueError)):
        table("curves", [curve_row() | {"loss_test": "low"}])


def test_specs_are_frozen_values():
    for thing in vars(spec).values():
        if isinstance(thing, type) and is_dataclass(thing):
            assert thing.__dataclass_params__.frozen, thing
    net = make_net()
    with pytest.raises(FrozenInstanceError):
        net.seed = 3
    assert make_net() == net
    assert hash(make_net()) == hash(net)
    assert {field.name for field in fields(net)}.isdisjoint({"device", "path", "folder"})


def test_a_part_from_before_a_column_existed_gets_it_and_others_stay_as_they_are():
    whole = SCHEMAS["downstream"].empty_table()
    before = whole.drop_columns(["bn"])
    assert completed("downstream", before).schema == whole.schema
    assert completed("downstream", whole) is whole
    other = before.drop_columns(["fvu_test"])
    assert completed("downstream", other) is other


def test_a_graft_from_before_there_were_draws_is_of_one_net():
    row = dict.fromkeys(SCHEMAS["downstream"].names) | {"key": "k", "bn": "target"}
    before = table("downstream", [row]).drop_columns(["draw", "source_nets"])
    (read,) = completed("downstream", before).to_pylist()
    assert read == row | {"draw": 0, "source_nets": 1}


def test_the_recipe_in_words_tells_every_setting_of_training_apart():
    net = make_net()
    plain = net.recipe
    adam = replace(plain, optimizer="adamw", momentum=0.0, nesterov=False)
    recipes = [
        plain, adam, replace(adam, beta1=0.5), replace(adam, beta2=0.5), replace(adam, eps=1e-6),
        replace(plain, augment="crop_flip"), replace(plain, label_noise=0.1),
        replace(plain, label_noise=0.1, data_seed=1), replace(plain, class_keep=(1.0, 0.1)),
        replace(plain, class_keep=(0.1, 1.0)), replace(plain, class_keep=(1.0, 0.1), data_seed=1),
    ]  # fmt: skip
    made = [replace(net, recipe=recipe) for recipe in recipes]
    made += [replace(net, parametrization="mup", base_width=width) for width in (2, 4)]
    made += [replace(net, parametrization="mean_field", richness=richness) for richness in (0.5, 2.0)]
    assert len({recipe_text(one) for one in made}) == len(made)
    assert recipe_text(net) == "sgd lr 0.05, momentum 0.9 nesterov, batch 16, constant, warm-up 0, own order"


def test_a_graft_from_before_lost_images_were_counted_says_that_it_does_not_know():
    row = dict.fromkeys(SCHEMAS["grafts"].names) | {"key": "k", "accuracy_drop": 0.1}
    before = table("grafts", [row]).drop_columns(["lost_images", "gained_images", *WIDE_COLUMNS])
    (read,) = completed("grafts", before).to_pylist()
    assert read == row
