"""A config is a frozen value; every fault is one error that says where, what, and what would do."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.planning.nets import architecture, nets, recipe
from espalier.tasks.data.images import facts
from espalier.tasks.tables.axes import recipe_text

DIGITS = facts("digits")

FAULTS = {
    "an unknown section": ({"trian": {}}, ["trian", "unknown field", "train"]),
    "an unknown field": ({"train": {"learning_rate": 0.1}}, ["train.learning_rate", "unknown field", "lr"]),
    "a text for a number": ({"train": {"lr": "fast"}}, ["train.lr", "'fast'", "number"]),
    "a truth value for a number": ({"train": {"epochs": True}}, ["train.epochs", "True", "integer"]),
    "a real for a whole number": ({"train": {"epochs": 2.5}}, ["train.epochs", "2.5", "integer"]),
    "a number for a list": ({"sweep": {"widths": 4}}, ["sweep.widths", "4", "tuple"]),
    "a number for a section": ({"train": 3}, ["train", "3"]),
    "width 0": ({"sweep": {"widths": [4, 0]}}, ["sweep.widths.1", "found 0", "greater than or equal to 1"]),
    "no width": ({"sweep": {"widths": []}}, ["sweep.widths", "at least 1"]),
    "one seed": ({"sweep": {"seeds": [7]}}, ["sweep", "seeds is [7]", "2 or more"]),
    "one seed by count": ({"sweep": {"seeds": 1}}, ["sweep", "seeds is [0]", "2 or more"]),
    "no seed": ({"sweep": {"seeds": 0}}, ["sweep", "seeds is []", "2 or more"]),
    "a negative seed": ({"sweep": {"seeds": [0, -1]}}, ["sweep.seeds.1", "-1", "greater than or equal to 0"]),
    "a seed twice": ({"sweep": {"seeds": [0, 1, 1]}}, ["sweep", "seeds has repeats", "[0, 1, 1]"]),
    "a width twice": ({"sweep": {"widths": [4, 4]}}, ["sweep", "widths has repeats", "[4, 4]"]),
    "a snapshot after the end": (
        {"train": {"epochs": 3, "snapshots": [0, 5]}},
        ["train", "snapshots", "5", "epochs is 3"],
    ),
    "snapshots that fall": (
        {"train": {"epochs": 5, "snapshots": [0, 5, 2]}},
        ["train", "snapshots", "rise", "[0, 5, 2]"],
    ),
    "a snapshot twice": (
        {"train": {"epochs": 5, "snapshots": [0, 5, 5]}},
        ["train", "snapshots", "[0, 5, 5]"],
    ),
    "no snapshots": ({"train": {"snapshots": []}}, ["train", "snapshots is empty", "[0, 1, 5, 20]"]),
    "milestones without multi_step": (
        {"train": {"milestones": [3]}},
        ["train", "milestones", "schedule = 'multi_step'"],
    ),
    "multi_step without milestones": ({"train": {"schedule": "multi_step"}}, ["train", "milestones"]),
    "an unknown schedule": ({"train": {"schedule": "linear"}}, ["train.schedule", "'linear'", "'cosine'"]),
    "nesterov without momentum": ({"train": {"momentum": 0}}, ["train", "nesterov", "momentum"]),
    "a learning rate of 0": ({"train": {"lr": 0}}, ["train.lr", "found 0", "greater than 0"]),
    "a learning rate of nan": ({"train": {"lr": float("nan")}}, ["train.lr", "nan", "finite"]),
    "a field that cannot be varied": (
        {"sweep": {"cross": {"data.dataset": ["digits"]}}},
        ["'data.dataset' cannot be varied", "train.reg_weight", "network.init"],
    ),
    "blobs by another way": ({"run": {"blobs": "worker"}}, ["run.blobs", "'worker'", "'auto' or 'driver'"]),
    "epochs cannot be varied": (
        {"sweep": {"settings": [{"train.epochs": 3}]}},
        ["'train.epochs' cannot be varied"],
    ),
    "a value that a varied field cannot have": (
        {"sweep": {"cross": {"train.lr": [0.1, -1]}}},
        ["the setting train.lr = -1", "lr", "greater than 0"],
    ),
    "settings that contradict each other": (
        {"sweep": {"settings": [{"train.momentum": 0.0}]}},
        ["the setting train.momentum = 0.0", "nesterov"],
    ),
    "a varied value twice": (
        {"sweep": {"cross": {"train.lr": [0.1, 0.1]}}},
        ["sweep", "'train.lr' has repeats", "[0.1, 0.1]"],
    ),
    "nothing to vary": ({"sweep": {"cross": {"train.lr": []}}}, ["sweep.cross.train.lr", "at least 1"]),
    "cross_setting without settings": (
        {"graft": {"pairings": ["cross_setting"]}},
        ["graft.pairings", "one setting", "[sweep.cross]"],
    ),
    "pooled of two seeds": (
        {"graft": {"nulls": ["pooled"]}, "sweep": {"seeds": 2}},
        ["graft.nulls has 'pooled'", "against 2 others", "more sweep.seeds", "[0, 1]"],
    ),
    "wider_subset of one width": (
        {"graft": {"nulls": ["wider_subset"]}, "sweep": {"widths": [4]}},
        ["graft.nulls has 'wider_subset'", "2 or more sweep.widths"],
    ),
    "a pool of one net": ({"graft": {"pool_nets": 1}}, ["graft.pool_nets", "found 1", "or equal to 2"]),
    "few partitions": ({"graft": {"partitions": 3}}, ["graft.partitions", "found 3", "or equal to 9"]),
    "shares that fall": ({"hybrids": {"shares": [1, 0]}}, ["hybrids", "shares must rise", "[1.0, 0.0]"]),
    "a share above 1": ({"hybrids": {"shares": [0, 1.5]}}, ["hybrids.shares.1", "1.5", "or equal to 1"]),
    "a path of two places": ({"barriers": {"points": 2}}, ["barriers.points", "found 2", "or equal to 3"]),
    "an unknown matching": (
        {"barriers": {"matchings": ["weight"]}},
        ["barriers.matchings.0", "'weight'", "'weights'"],
    ),
    "no matching": ({"barriers": {"matchings": []}}, ["barriers.matchings", "at least 1"]),
    "an unknown pairing": ({"graft": {"pairings": ["all"]}}, ["graft.pairings.0", "'all'", "'cross_width'"]),
    "no pairing": ({"graft": {"pairings": []}}, ["graft.pairings", "at least 1"]),
    "a skip of 0": ({"graft": {"skips": [0]}}, ["graft.skips.0", "found 0", "greater than or equal to 1"]),
    "no partners": ({"graft": {"partners": 0}}, ["graft.partners: found 0; give 'all', or a number of 1"]),
    "partners in words": ({"graft": {"partners": "some"}}, ["graft.partners: found 'some'; give 'all'"]),
    "partners by halves": ({"graft": {"partners": 1.5}}, ["graft.partners: found 1.5; give 'all'"]),
    "as many partners as nets": (
        {"graft": {"partners": 4}},
        ["graft.partners is 4, but a net of 4 seeds has 3 others", "up to 3", "'all'", "more sweep.seeds"],
    ),
    "nulls at an epoch without a snapshot": (
        {"graft": {"null_epochs": [3, 20]}},
        ["graft.null_epochs has [3]", "train.snapshots is [0, 1, 2, 5, 10, 20]"],
    ),
    "null epochs that fall": ({"graft": {"null_epochs": [20, 10]}}, ["graft", "null_epochs must rise"]),
    "an unknown null": ({"graft": {"nulls": ["slef"]}}, ["graft.nulls.0", "'slef'", "'self'"]),
    "a layer multiple of 0": ({"network": {"layers": [1, 0]}}, ["network.layers.1", "found 0"]),
    "a layer of an unknown name": (
        {"network": {"layers": [1, "pol"]}},
        ["network.layers.1", "'pol'", "'pool'"],
    ),
    "a list for vgg": (
        {"network": {"family": "vgg16", "layers": [1, 2]}},
        ["network", "layers is no field of family 'vgg16'", "(1, 2)", "conv, dense"],
    ),
    "a residual net without bn": (
        {"network": {"family": "resnet18", "batch_norm": False}},
        ["network", "batch_norm is no field of family 'resnet18'", "conv, vgg16, vgg19"],
    ),
    "dropout in a residual net": (
        {"network": {"family": "resnet20", "dropout": 0.5}},
        ["dropout is no field of family 'resnet20'", "0.5"],
    ),
    "tanh in vgg": (
        {"network": {"family": "vgg19", "activation": "tanh"}},
        ["activation is no field of family 'vgg19'", "'tanh'"],
    ),
    "bn in a dense net": (
        {"network": {"family": "dense", "batch_norm": True}},
        ["batch_norm is no field of family 'dense'"],
    ),
    "pools in a dense net": (
        {"network": {"family": "dense", "layers": [1, "pool"]}},
        ["layers of family 'dense' are width multiples alone", "[1, 'pool']"],
    ),
    "an unknown family": ({"network": {"family": "vgg11"}}, ["network.family", "'vgg11'", "'vgg16'"]),
    "dropout of all": ({"network": {"dropout": 1}}, ["network.dropout", "less than 1"]),
    "no method": ({"graft": {"methods": []}}, ["graft.methods", "at least 1"]),
    "an unknown method": ({"graft": {"methods": ["sgd"]}}, ["graft.methods.0", "'sgd'", "'stitch'"]),
    "ridge and ridges": (
        {"graft": {"ridge": 1e-6, "ridges": [0, 0.1]}},
        ["graft", "ridge is 1e-06", "ridges is [0.0, 0.1]", "one of the two"],
    ),
    "ridges that fall": ({"graft": {"ridges": [0.1, 0]}}, ["graft", "ridges must rise", "[0.1, 0.0]"]),
    "a ridge twice": ({"graft": {"ridges": [0.1, 0.1]}}, ["ridges must rise without repeats", "[0.1, 0.1]"]),
    "a negative ridge": ({"graft": {"ridges": [-1]}}, ["graft.ridges.0", "-1", "greater than or equal to 0"]),
    "ridges for adam": (
        {"graft": {"methods": ["adam"], "ridges": [0, 1]}},
        ["graft", "ridges is of no use to methods = ['adam']", "'exact'"],
    ),
    "nothing held back": ({"graft": {"validation": 0}}, ["graft.validation", "found 0", "greater than 0"]),
    "all held back": ({"graft": {"validation": 1}}, ["graft.validation", "found 1", "less than 1"]),
    "a rate of 0 for adam": ({"graft": {"adam_lr": 0}}, ["graft.adam_lr", "found 0", "greater than 0"]),
    "no batches for adam": ({"graft": {"adam_batches": 0}}, ["graft.adam_batches", "found 0"]),
    "unknown statistics": ({"graft": {"bn": ["source"]}}, ["graft.bn.0", "'source'", "'reestimated'"]),
    "an unknown parametrization": (
        {"network": {"parametrization": "mu"}},
        ["network.parametrization", "'mup'"],
    ),
    "a base width of 0": ({"network": {"base_width": 0}}, ["network.base_width", "found 0"]),
    "a richness of 0": ({"network": {"richness": 0}}, ["network.richness", "found 0", "greater than 0"]),
    "an unknown optimizer": ({"train": {"optimizer": "adam"}}, ["train.optimizer", "'adam'", "'adamw'"]),
    "a beta of 1": ({"train": {"beta2": 1}}, ["train.beta2", "found 1", "less than 1"]),
    "an epsilon of 0": ({"train": {"eps": 0}}, ["train.eps", "found 0", "greater than 0"]),
    "an unknown augmentation": ({"train": {"augment": "flip"}}, ["train.augment", "'flip'", "'crop_flip'"]),
    "noise above 1": (
        {"train": {"label_noise": 1.5}},
        ["train.label_noise", "1.5", "less than or equal to 1"],
    ),
    "a share of a class above 1": ({"train": {"class_keep": [1, 2]}}, ["train.class_keep.1", "found 2"]),
    "no image of any class": (
        {"train": {"class_keep": [0, 0]}},
        ["train", "class_keep is [0.0, 0.0]", "no image would be kept"],
    ),
    "an unknown preset": ({"train": {"preset": "gu"}}, ["train.preset", "'gu'", "'gu2020'"]),
    "another dropout than the preset's": (
        {"train": {"preset": "gu2020"}, "network": {"family": "vgg16", "dropout": 0.2}},
        ["network.dropout is 0.5 of a vgg16", "'gu2020'", "found 0.2"],
    ),
    "a varied field that the preset sets": (
        {"train": {"preset": "gu2020"}, "sweep": {"cross": {"train.lr": [0.01, 0.1]}}},
        ["the setting train.lr = 0.1", "lr is 0.01 in the preset 'gu2020', found 0.1"],
    ),
    "an unknown axis": (
        {"sweep": {"cross": {"network.parametrisation": ["sp"]}}},
        ["'network.parametrisation' cannot be varied", "network.parametrization", "train.optimizer"],
    ),
    "a preset cannot be varied": (
        {"sweep": {"cross": {"train.preset": ["gu2020"]}}},
        ["'train.preset' cannot be varied"],
    ),
    "an empty data limit": ({"data": {"limit_train": 0}}, ["data.limit_train", "found 0"]),
}


@pytest.mark.parametrize(("values", "words"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_gives_one_error_that_names_field_finding_and_cure(values, words):
    with pytest.raises(ConfigError) as caught:
        SweepConfig.parse(values, "sweep.toml")
    text = str(caught.value)
    assert text.startswith("sweep.toml describes no sweep")
    for word in words:
        assert word in text
    assert "pydantic" not in text
    assert "https://" not in text


def test_all_faults_are_told_at_once_one_line_each():
    values = {"train": {"lr": "fast", "epoch": 3}, "sweep": {"widths": [0]}}
    with pytest.raises(ConfigError) as caught:
        SweepConfig.parse(values)
    faults = str(caught.value).splitlines()[1:]
    assert [line.split(":")[0].strip() for line in faults] == ["train.lr", "train.epoch", "sweep.widths.0"]


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (["pool", 1], ["['pool', 1]", "pool that follows no conv"]),
        ([1, "pool", "pool"], ["entry 3", "pool that follows no conv"]),
        ([], ["no conv", "[1, 'pool', 2]"]),
        ([1, "pool", 1, "pool", 1, "pool", 1, "pool"], ["1x1 into 0x0", "8x8", "pool less often"]),
    ],
)
def test_an_impossible_layer_list_is_an_error_of_network_layers(layers, words):
    config = SweepConfig.parse({"network": {"layers": layers}})
    with pytest.raises(ConfigError, match=r"^network\.layers: ") as caught:
        architecture(config, DIGITS, width=4)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("network", "label", "hidden"),
    [
        ({"layers": [1, "pool", 2]}, "conv-1-p-2", 2),
        (
            {"layers": [1], "batch_norm": True, "dropout": 0.5, "activation": "tanh"},
            "conv-1-bn-drop0.5-tanh",
            1,
        ),
        ({"family": "vgg16"}, "vgg16", 15),
        ({"family": "vgg19", "batch_norm": True, "dropout": 0}, "vgg19-bn-drop0", 18),
        ({"family": "resnet18"}, "resnet18", 17),
        ({"family": "resnet20"}, "resnet20", 19),
        ({"family": "dense"}, "dense-1-1-1-tanh", 3),
        ({"family": "dense", "layers": [2], "activation": "relu"}, "dense-2", 1),
    ],
)
def test_each_family_has_its_defaults_and_a_label_of_its_own(network, label, hidden):
    config = SweepConfig.parse({"network": network})
    again = SweepConfig.parse(config.model_dump(mode="json"))
    assert again == config
    net = nets(config, facts("cifar10"))[0]
    assert net.family == label
    assert net.architecture.depth == hidden + 1
    has_bn = net.architecture.layers[0].batch_norm
    assert has_bn == config.network.batch_norm


def test_images_too_small_for_a_vgg_are_an_error_of_network_family():
    config = SweepConfig.parse({"network": {"family": "vgg16"}})
    with pytest.raises(ConfigError, match=r"^network\.family: vgg16 pools five times .* found 8x8"):
        architecture(config, DIGITS, width=4)


def test_a_regression_is_trained_on_the_squared_error():
    config = SweepConfig.parse({"data": {"dataset": "cosine"}, "network": {"family": "dense"}})
    net = nets(config, facts("cosine"))[0]
    assert net.recipe.loss == "mse"
    assert [layer.out for layer in net.architecture.layers] == [4, 4, 4, 1]
    assert {layer.activation for layer in net.architecture.layers} == {"tanh", "none"}
    assert nets(SweepConfig(), DIGITS)[0].recipe.loss == "cross_entropy"


def test_a_config_with_ridges_reads_as_it_was_written_down():
    config = SweepConfig.parse({"graft": {"ridges": [0, 1e-3], "methods": ["exact", "adam"]}})
    assert SweepConfig.parse(config.model_dump(mode="json")) == config
    assert config.graft.ridges == (0.0, 1e-3)


def test_the_defaults_make_a_sweep():
    config = SweepConfig.parse({})
    assert config == SweepConfig()
    assert len(nets(config, DIGITS)) == len(config.sweep.widths) * len(config.sweep.seeds)


def test_a_config_cannot_be_changed():
    config = SweepConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.train.lr = 1.0
    with pytest.raises(ValidationError, match="frozen"):
        config.train = config.train
    assert isinstance(config.sweep.seeds, tuple)


def test_a_number_of_seeds_stands_for_the_seeds_from_0():
    assert SweepConfig.parse({"sweep": {"seeds": 3}}) == SweepConfig.parse({"sweep": {"seeds": [0, 1, 2]}})


def test_whole_and_real_numbers_mean_the_same_net():
    whole, real = (SweepConfig.parse({"train": {"lr": lr, "warmup_epochs": lr}}) for lr in (1, 1.0))
    assert nets(whole, DIGITS) == nets(real, DIGITS)
    assert type(whole.train.lr) is float


def test_fields_that_a_schedule_does_not_use_change_no_recipe():
    one, other = (SweepConfig.parse({"train": {"gamma": gamma}}) for gamma in (0.2, 0.5))
    assert recipe(one.train) == recipe(other.train)
    one, other = (
        SweepConfig.parse({"train": {"regularizer": "none", "reg_weight": weight}}) for weight in (0.1, 0.2)
    )
    assert recipe(one.train) == recipe(other.train)


def test_a_limit_that_takes_every_image_is_no_limit():
    free = SweepConfig.parse({})
    bound = SweepConfig.parse({"data": {"limit_train": DIGITS.train, "limit_test": 10**6}})
    assert nets(free, DIGITS) == nets(bound, DIGITS)


def test_a_file_reads_as_its_values(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text('[sweep]\nwidths = [2, 3]\nseeds = 2\n[network]\nlayers = [1, "pool"]\n')
    config = SweepConfig.read(path)
    assert config.sweep.widths == (2, 3)
    assert config.network.layers == (1, "pool")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["does not exist", "--from TEMPLATE", "the templates are demo, barriers, "]),
        (b"[train\nlr = 1", ["not valid TOML", "line 1"]),
        (b"\xff\xfe", ["not valid TOML"]),
        (b"[sweep]\nseeds = 1", ["sweep.toml describes no sweep", "seeds"]),
    ],
    ids=["missing", "torn", "not text", "no sweep"],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, content, words):
    path = tmp_path / "sweep.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        SweepConfig.read(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


def varied(**sweep):
    return SweepConfig.parse({"sweep": {"widths": [2], "seeds": 2} | sweep})


def test_crossed_fields_give_every_combination_and_listed_ones_those_alone():
    cross = {"train.reg_weight": [1e-4, 1e-2], "network.init": ["he_normal", "uniform"]}
    crossed = [(one.train.reg_weight, one.network.init) for one in varied(cross=cross).settings()]
    assert sorted(crossed) == [(1e-4, "he_normal"), (1e-4, "uniform"), (1e-2, "he_normal"), (1e-2, "uniform")]
    listed = [{"train.lr": 0.1, "train.batch_size": 32}, {"train.lr": 0.2}]
    found = [(one.train.lr, one.train.batch_size) for one in varied(settings=listed).settings()]
    assert found == [(0.1, 32), (0.2, 64)]
    both = varied(settings=listed, cross={"network.init": ["he_normal", "uniform"]}).settings()
    assert len({(one.train.lr, one.network.init) for one in both}) == 4


def test_each_setting_has_every_seed_and_no_net_is_there_twice():
    cross = varied(cross={"train.reg_weight": [1e-4, 1e-2]})
    assert len(nets(cross, DIGITS)) == 2 * 2
    # Without a regularizer its weight means nothing: one setting, not two.
    same = varied(cross={"train.reg_weight": [1e-4, 1e-2]}, settings=[{"train.regularizer": "none"}])
    assert len(nets(same, DIGITS)) == 2


def test_a_sweep_without_settings_is_its_own_only_setting():
    config = SweepConfig()
    assert config.settings() == [config]


def test_an_unquoted_dotted_field_is_the_quoted_one(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text("[sweep.cross]\ntrain.lr = [0.1, 0.2]\n[[sweep.settings]]\ntrain.momentum = 0.5\n")
    made = SweepConfig.read(path)
    assert made.sweep.cross == {"train.lr": (0.1, 0.2)}
    assert [(one.train.lr, one.train.momentum) for one in made.settings()] == [(0.1, 0.5), (0.2, 0.5)]


def test_pairings_that_would_find_no_pair_are_refused():
    for graft, words in (
        ({"pairings": ["cross_width"]}, "2 or more sweep.widths"),
        ({"pairings": ["cross_setting"]}, "one setting"),
    ):
        with pytest.raises(ConfigError, match=words):
            SweepConfig.parse({"graft": graft, "sweep": {"widths": [4]}})


def test_a_field_is_listed_or_crossed_and_not_both():
    axes = {"cross": {"train.lr": [0.1, 0.2]}, "settings": [{"train.lr": 0.3}]}
    with pytest.raises(ConfigError, match=r"'train\.lr' is in sweep\.cross and in sweep\.settings"):
        SweepConfig.parse({"sweep": axes})


def test_the_new_axes_can_be_crossed_and_listed():
    cross = {
        "network.parametrization": ["sp", "mup", "ntk", "mean_field"],
        "train.optimizer": ["sgd", "adamw"],
        "train.augment": ["none", "crop_flip"],
        "train.regularizer": ["l2", "l12", "none"],
    }
    listed = [{"train.label_noise": 0.2}, {"train.class_keep": [1, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.1]}]
    made = nets(varied(cross=cross, settings=listed), DIGITS)
    assert len(set(made)) == 4 * 2 * 2 * 3 * 2 * 2
    assert (
        len({recipe_text(net) + net.parametrization + net.recipe.regularizer for net in made})
        == 4 * 2 * 2 * 3 * 2
    )


def test_fields_that_are_not_used_change_no_net():
    plain = nets(varied(), DIGITS)
    for fields in (
        {"network.base_width": 3, "network.richness": 0.3},
        {"train.beta1": 0.5, "train.beta2": 0.5, "train.eps": 0.1},
        {"train.data_seed": 3},
        {"train.class_keep": [1] * 10},
    ):
        assert nets(varied(settings=[fields]), DIGITS) == plain, fields
    adam = {"train.optimizer": "adamw"}
    assert nets(varied(settings=[adam | {"train.momentum": 0.5}]), DIGITS) == nets(
        varied(settings=[adam]), DIGITS
    )


@pytest.mark.parametrize(
    ("dataset", "train", "words"),
    [
        ("digits", {"class_keep": [1, 0.5]}, "train.class_keep: found 2 shares, but digits has 10 classes"),
        ("digits", {"class_keep": [0, 0.5] + [0] * 8}, "which keeps fewer than two classes: .* give two"),
        ("cosine", {"augment": "crop_flip"}, "train.augment: found 'crop_flip', but cosine is a regression"),
        ("cosine", {"label_noise": 0.1}, "train.label_noise: found 0.1, but cosine is a regression"),
    ],
)
def test_a_recipe_that_fits_no_such_images_is_refused(dataset, train, words):
    config = SweepConfig.parse({"data": {"dataset": dataset}, "network": {"family": "dense"}, "train": train})
    with pytest.raises(ConfigError, match=words):
        nets(config, facts(dataset))


@pytest.mark.parametrize("family", ["conv", "vgg16", "resnet20"])
@pytest.mark.parametrize(("batch", "limit", "refused"), [(65, 64, True), (64, 64, False), (1438, None, True)])
def test_a_batch_that_no_images_fill_is_refused_under_bn(family, batch, limit, refused):
    whole = replace(DIGITS, height=32, width=32)
    fields = {"data": {"limit_train": limit}, "train": {"batch_size": batch}}
    network = {"family": family} | ({} if family == "resnet20" else {"batch_norm": True})
    config = SweepConfig.parse(fields | {"network": network})
    if refused:
        with pytest.raises(ConfigError, match=rf"train.batch_size: found {batch}, but .* as many or fewer"):
            nets(config, whole)
    else:
        assert nets(config, whole)
    if family == "conv":
        assert nets(SweepConfig.parse(fields), whole)  # without BN such a batch is merely smaller
