"""One small digits sweep with every pairing, null and method: no row of it is ambiguous."""

import numpy as np
import pandas as pd
import pytest

from espalier import Sweep, SweepConfig, load
from espalier.orchestrator.running.pool_makers import in_process
from espalier.tasks.grafting.nulls.known_nulls import NULLS
from espalier.tasks.spec import METHODS, PAIRINGS, POOL_NULLS
from espalier.tasks.tables.schemas import SCHEMAS

CONFIG = {
    "data": {"dataset": "digits", "limit_train": 200, "limit_test": 80},
    "network": {"layers": [1, "pool", 1]},
    "train": {"epochs": 1, "snapshots": [0, 1]},
    "sweep": {"widths": [2, 3], "seeds": 3, "cross": {"train.reg_weight": [5e-4, 5e-2]}},
    "graft": {
        "pairings": list(PAIRINGS),
        "nulls": [*NULLS, *POOL_NULLS],
        "methods": list(METHODS),
        "ridge": 1e-6,
        "adam_epochs": 1,
        "adam_batches": 3,
        "partitions": 9,
    },
    "hybrids": {"pairs": 1, "shares": [0.0, 0.5, 1.0]},
    "barriers": {"pairs": 1, "points": 3, "images": 50},
}
SETTINGS, WIDTHS, SEEDS, EPOCHS = 2, 2, 3, 2
AXES = [
    "net",
    "width",
    "seed",
    "epoch",
    "init",
    "regularizer",
    "reg_weight",
    "recipe",
    "architecture",
    "dataset",
]
PAIR = [f"{side}_{axis}" for side in ("source", "target") for axis in AXES]
GRAFT = ["null", "pairing", "skip", "method", "bn", "draw", "source_nets"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("everything") / "sweep"
    summary = Sweep(SweepConfig.parse(CONFIG), path=place).run(pool=in_process)
    assert summary.complete
    return place


@pytest.fixture(scope="module")
def tables(folder):
    return load(folder, image_blocks=True)


@pytest.mark.timeout(300)
def test_no_row_is_ambiguous(tables):
    """The plain columns alone tell every row from every other, without its key."""
    told = {
        "nets": AXES,
        "grafts": [*PAIR, *GRAFT, "layer"],
        "downstream": [*PAIR, *GRAFT, "graft_layer", "layer"],
        "exchangeability": [f"target_{axis}" for axis in AXES] + ["null", "layer", "nets", "null_width"],
        "hybrids": [*PAIR, "share"],
        "barriers": [*PAIR, "matching", "correction"],
        "barrier_curves": [*PAIR, "matching", "correction", "t"],
    }
    for name, columns in told.items():
        frame = getattr(tables, name)
        assert len(frame), name
        assert list(frame.columns) == SCHEMAS[name].names, name
        assert not frame.duplicated(columns).any(), name


def test_every_pairing_null_and_method_has_the_rows_that_it_should(tables):
    real = tables.grafts[(tables.grafts["null"] == "none") & (tables.grafts["method"] == "exact")]
    pairs = real.groupby("pairing")["key"].nunique().to_dict()
    ordered = SEEDS * (SEEDS - 1)
    assert pairs == {
        "same_width": SETTINGS * WIDTHS * ordered * EPOCHS,
        "cross_width": SETTINGS * 2 * SEEDS**2 * EPOCHS,
        "cross_epoch": SETTINGS * WIDTHS * ordered * 2,
        "cross_setting": SETTINGS * WIDTHS * ordered * EPOCHS,
        "skip": SETTINGS * WIDTHS * ordered * EPOCHS,
    }
    nulls = tables.grafts[tables.grafts["null"] != "none"]
    assert set(nulls["null"]) == {*NULLS, *POOL_NULLS}
    assert set(nulls["pairing"]) == {"same_width"}
    for method in METHODS:
        counts = tables.grafts[tables.grafts["method"] == method].groupby("layer")["key"].nunique()
        assert len(counts) >= 2, method
    pooled = nulls[nulls["null"] == "pooled"]
    assert pooled["source_seed"].isna().all()
    assert set(pooled["draw"]) == {1, 2}
    assert set(pooled["source_nets"]) == {2}
    wider = nulls[nulls["null"] == "wider_subset"]
    assert {*zip(wider["source_width"], wider["target_width"], strict=True)} == {(3, 2)}


def test_scores_are_finite_and_what_holds_of_one_way_holds_of_the_other(tables):
    grafts = tables.grafts
    assert np.isfinite(grafts[["fvu_test", "loss_test", "accuracy_test"]]).all(axis=None)
    assert grafts.loc[grafts["method"] != "stitch", "fvu_train"].notna().all()
    keys = ["key", "layer", "skip", "bn", "draw"]
    by_method = {name: part.set_index(keys)["fvu_train"] for name, part in grafts.groupby("method")}
    both = pd.concat([by_method["exact"], by_method["adam"]], axis=1, keys=["exact", "adam"]).dropna()
    assert len(both)
    # A ridge of 1e-6 leaves a little more than the least squares that Adam goes to.
    assert (both["adam"] > both["exact"] - 1e-4).all()
    judged = tables.exchangeability
    assert judged["p_value"].between(0.1, 1.0).all()
    assert np.allclose(judged["ratio"], judged["fvu_one"] / judged["fvu_null"])
    assert set(tables.hybrids["share"]) == {0.0, 0.5, 1.0}
    assert tables.hybrids["fvu_last"].notna().all()
    assert (tables.barriers["loss_test_barrier"] >= 0).all()
    matched = tables.barriers[tables.barriers["matching"] != "none"]
    assert matched["cycle_share"].between(0, 1).all()
    assert set(matched["third_seed"]) == {2}


def test_running_again_finds_everything_done(folder):
    sweep = Sweep(folder)
    assert not sweep.plan().tasks
    assert sweep.run(pool=in_process).complete
