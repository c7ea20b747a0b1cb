"""A folder says what made it, grows in place, and refuses another experiment by naming what differs."""

import json
from dataclasses import replace
from importlib.metadata import version

import pytest

from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.record import provenance, recorded_config, refuse_another
from espalier.orchestrator.record import record as write_record
from espalier.orchestrator.store.sweep_store import Store
from espalier.tasks.data.images import facts


def config(**sections):
    return SweepConfig.parse(sections)


def record(store, made, content=None):
    """What a run does: refuse another config, then write this one down."""
    of_data = facts(made.data.dataset) if content is None else replace(facts("digits"), content=content)
    refuse_another(store, made, of_data)
    write_record(store, made, of_data, provenance())


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "sweep")


def recorded(store):
    return store.read_json("run.json")


def test_the_config_read_back_is_the_config(store):
    made = config(train={"lr": 0.2, "epochs": 7, "snapshots": [0, 7]}, sweep={"seeds": [3, 5]})
    record(store, made)
    assert SweepConfig.parse(json.loads(json.dumps(recorded(store)["config"]))) == made


def test_versions_machine_and_commit_are_kept(store):
    record(store, config())
    assert recorded(store)["versions"]["torch"] == version("torch")
    assert {"versions", "machine", "commit"} < recorded(store).keys()
    assert recorded(store)["machine"]["cpu"]


@pytest.mark.parametrize(
    "grown",
    [
        {"sweep": {"widths": [4, 8, 16, 32, 64]}},
        {"sweep": {"seeds": 9}},
        {"train": {"snapshots": [0, 1, 2, 3, 5, 10, 20]}},
        {"graft": {"nulls": ["self"]}},
        {"run": {"slots": 3, "memory_gib": 2, "attempts": 1}},
    ],
    ids=str,
)
def test_more_of_an_axis_and_another_machine_go_into_the_same_folder(store, grown):
    record(store, config())
    record(store, config(**grown))
    record(store, config())


def test_partners_and_seeds_above_the_others_may_become_more(store):
    for partners, seeds in ((1, 4), (2, 6), (2, [0, 1, 2, 3, 4, 5, 9]), ("all", [0, 1, 7]), (2, [0, 1, 7])):
        record(store, config(graft={"partners": partners}, sweep={"seeds": seeds}))


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ([1, 2, 3, 4, 5], "seed 3 was put between those of the folder (1 to 5)"),
        ([0, 1, 2, 4, 5], "seed 0 was put"),
        ([1, 2, 5], "seed 4 was put"),
    ],
    ids=str,
)
def test_seeds_that_would_pair_others_anew_are_refused_in_one_line(store, seeds, words):
    record(store, config(graft={"partners": 2}, sweep={"seeds": [1, 2, 4, 5]}))
    with pytest.raises(ConfigError) as caught:
        record(store, config(graft={"partners": 2}, sweep={"seeds": seeds}))
    assert words in str(caught.value)
    assert "add seeds above 5" in str(caught.value)
    assert "\n" not in str(caught.value)
    record(store, config(graft={"partners": "all"}, sweep={"seeds": seeds}))


def test_what_turns_the_partners_stays_where_it_turned_some(store):
    record(store, config(graft={"partners": 2}))
    with pytest.raises(ConfigError, match=r"graft\.partners_seed: 0 there, 1 now"):
        record(store, config(graft={"partners": 2, "partners_seed": 1}))
    record(store, config(graft={"partners": "all"}))
    record(store, config(graft={"partners": 2, "partners_seed": 1}))


def test_epochs_extend_a_schedule_without_horizon(store):
    for epochs in (20, 30, 25):
        record(store, config(train={"schedule": "constant", "epochs": epochs}))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"train": {"lr": 0.3}}, ["train.lr: 0.05 there, 0.3 now"]),
        ({"train": {"epochs": 30}}, ["train.epochs: 20 there, 30 now"]),
        ({"data": {"dataset": "mnist5k"}}, ["data.dataset: 'digits' there, 'mnist5k' now"]),
        ({"data": {"limit_train": 100}}, ["data.limit_train: None there, 100 now"]),
        ({"network": {"layers": [1]}}, ["network.layers: [1, 1, 'pool', 2, 2, 'pool'] there, [1] now"]),
        ({"graft": {"ridge": 0.1}}, ["graft.ridge: 0.0 there, 0.1 now"]),
        (
            {"train": {"lr": 0.3, "momentum": 0.5}, "sweep": {"seeds": 9}},
            ["train.lr: 0.05 there, 0.3 now", "train.momentum: 0.9 there, 0.5 now"],
        ),
    ],
    ids=str,
)
def test_another_experiment_is_refused_with_exactly_what_differs(store, changed, words):
    record(store, config())
    before = recorded(store)
    with pytest.raises(ConfigError) as caught:
        record(store, config(**changed))
    text = str(caught.value)
    assert store.root in text
    assert [line.strip() for line in text.splitlines() if " there, " in line] == words
    assert "folder of its own" in text
    assert recorded(store) == before


def test_a_config_of_before_a_field_existed_takes_its_default(store):
    record(store, config())
    earlier = recorded(store)
    for section, field in (("graft", "products"), ("graft", "methods"), ("network", "batch_norm")):
        del earlier["config"][section][field]
    store.write_json("run.json", earlier)
    record(store, config())
    assert recorded_config(store) == config()
    with pytest.raises(ConfigError, match=r"network\.batch_norm: False there, True now"):
        record(store, config(network={"batch_norm": True}))


def test_images_that_moved_are_the_same_and_other_images_are_not(store):
    record(store, config(data={"dataset": "parquet:here"}), content="abc")
    record(store, config(data={"dataset": "parquet:/there"}), content="abc")
    with pytest.raises(ConfigError, match=r"data\.dataset"):
        record(store, config(data={"dataset": "parquet:elsewhere"}), content="def")


def test_every_kind_of_machine_and_version_that_ran_is_kept(store):
    of_data = facts("digits")
    for versions in ("1", "2", "1"):
        write_record(store, config(), of_data, {"versions": versions})
    assert recorded(store)["versions"] == "1"
    assert recorded(store)["runs"] == [{"versions": "1"}, {"versions": "2"}]


@pytest.mark.parametrize(
    "idle",
    [
        {"graft": {"partitions": 39}},
        {"graft": {"pool_nets": 3}},
        {"hybrids": {"shares": [0.5]}},
        {"barriers": {"points": 7}},
        {"barriers": {"pairs": 1, "matchings": ["none"]}},
    ],
    ids=str,
)
def test_fields_of_what_a_sweep_does_not_have_may_change(store, idle):
    record(store, config())
    record(store, config(**idle))


def test_fields_of_pools_and_hybrids_that_are_there_may_not_change(store):
    graft = {"nulls": ["pooled"], "partitions": 19}
    record(store, config(graft=graft, hybrids={"pairs": 1}))
    with pytest.raises(ConfigError, match=r"graft\.partitions: 19 there, 39 now"):
        record(store, config(graft=graft | {"partitions": 39}, hybrids={"pairs": 1}))
    with pytest.raises(ConfigError, match=r"hybrids\.shares"):
        record(store, config(graft=graft, hybrids={"pairs": 1, "shares": [0.5]}))


def test_the_number_of_paths_may_change_but_not_how_they_are_measured(store):
    record(store, config(barriers={"pairs": 1}))
    record(store, config(barriers={"pairs": 2, "epochs": [0]}))
    with pytest.raises(ConfigError, match=r"barriers\.points: 25 there, 9 now"):
        record(store, config(barriers={"pairs": 1, "points": 9}))


def test_epochs_count_where_any_setting_has_a_schedule_that_ends(store):
    """Under a constant base a crossed cosine still falls to its end."""
    sweep = {"cross": {"train.schedule": ["constant", "cosine"]}}
    record(store, config(train={"schedule": "constant"}, sweep=sweep))
    with pytest.raises(ConfigError, match=r"train\.epochs: 20 there, 30 now"):
        record(store, config(train={"schedule": "constant", "epochs": 30}, sweep=sweep))
