"""A family, a data source and a null are added as one value and one entry, and nothing else knows of them."""

import numpy as np
import pandas as pd
import pytest

from espalier.analysis.report.chapters import chapters
from espalier.analysis.report.html_page import write_report
from espalier.analysis.tables import load
from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.running.pool_makers import in_process
from espalier.orchestrator.sweep import Sweep
from espalier.tasks.data.images import DataError
from espalier.tasks.data.raw_images import DataFacts
from espalier.tasks.data.sources.known_sources import SOURCES
from espalier.tasks.data.sources.source import whole
from espalier.tasks.grafting.nulls.known_nulls import NULLS
from espalier.tasks.grafting.nulls.null import Null, Variant, another
from espalier.tasks.networks.architectures import checked
from espalier.tasks.networks.families.family import Family, Values
from espalier.tasks.networks.families.known_families import FAMILIES
from espalier.tasks.spec import Layer

TINY = {
    "data": {"dataset": "digits", "limit_train": 60, "limit_test": 40},
    "network": {"layers": [1]},
    "train": {"epochs": 1, "snapshots": [0, 1]},
    "sweep": {"widths": [2], "seeds": 2},
    "graft": {"ridge": 1e-6, "nulls": ["self"]},
}


def finished(folder, **sections):
    """The folder of a tiny sweep that ran in this process, and what was planned for it."""
    sweep = Sweep(SweepConfig.parse({**TINY, **sections}), path=folder)
    planned = sweep.plan()
    assert sweep.run(pool=in_process).complete
    return planned


def table(folder, name):
    return pd.read_parquet(folder / "tables" / name)


def two_layers(fields, width, image, outputs):
    hidden = Layer("dense", 3 * width, activation=fields.activation)
    return checked(image, [hidden, Layer("dense", outputs, activation="none")])


SHALLOW = Family("shallow", two_layers, usual=Values(activation="tanh"))


def test_a_family_is_one_value_and_one_entry(tmp_path, monkeypatch):
    last = list(FAMILIES)[-1]
    with pytest.raises(ConfigError, match=rf"network\.family: found 'shallow'.*'conv', .* or '{last}'"):
        SweepConfig.parse({"network": {"family": "shallow"}})
    monkeypatch.setitem(FAMILIES, SHALLOW.name, SHALLOW)
    with pytest.raises(ConfigError, match=r"dropout is no field of family 'shallow', found 0\.5"):
        SweepConfig.parse({"network": {"family": "shallow", "dropout": 0.5}})
    with pytest.raises(ConfigError, match=r"activation is no field of .* has it .conv, dense, shallow"):
        SweepConfig.parse({"network": {"family": "vgg16", "activation": "tanh"}})

    planned = finished(tmp_path, network={"family": "shallow"})
    assert planned.tasks
    nets, grafts = table(tmp_path, "nets"), table(tmp_path, "grafts")
    assert set(nets["architecture"]) == {"shallow-tanh"}
    assert set(grafts["layer"]) == {2}
    assert set(grafts["null"]) == {"none", "self"}
    page = write_report(tmp_path, bootstraps=10)
    assert "4 of real pairs" in page.read_text(encoding="utf-8")  # 2 pairs of one layer at 2 epochs
    assert page.with_name("pair_matrix.svg").exists()


def random_images(folder):
    del folder
    generator = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = generator.integers(0, 200, (90, 1, 4, 4)).astype(np.uint8) + 20 * y[:, None, None, None]
    return x[:60].astype(np.uint8), y[:60], x[60:].astype(np.uint8), y[60:]


NOISE = whole(DataFacts("noise", "noise;seed 0", 1, 4, 4, 3, 60, 30), random_images, "as drawn")


def test_a_data_source_is_one_value_and_one_entry(tmp_path, monkeypatch):
    data = {"dataset": "noise", "limit_train": 45}
    with pytest.raises(DataError, match=r"no data set is called 'noise': use digits, .*, or parquet:PATH"):
        finished(tmp_path, data=data)
    monkeypatch.setitem(SOURCES, NOISE.name, NOISE)
    with pytest.raises(DataError, match=r"'nosie': use digits, .*, parquet:PATH, or noise"):
        finished(tmp_path, data={"dataset": "nosie"})

    assert finished(tmp_path, data=data).tasks
    nets, grafts = table(tmp_path, "nets"), table(tmp_path, "grafts")
    assert set(nets["dataset"]) == set(grafts["target_dataset"]) == {"noise"}
    assert set(grafts["null"]) == {"none", "self"}
    assert np.isfinite(grafts["fvu_test"]).all()
    page = write_report(tmp_path, bootstraps=10)
    assert "4 of real pairs" in page.read_text(encoding="utf-8")
    assert page.with_name("pair_matrix.svg").exists()


MIRRORED = Null("mirrored", another, Variant(look=lambda x_NCHW: x_NCHW.flip(-1)))


def test_a_null_is_one_value_and_one_entry(tmp_path, monkeypatch):
    graft = {"ridge": 1e-6, "nulls": ["self", "mirrored"]}
    with pytest.raises(ConfigError, match=r"graft\.nulls\.1: found 'mirrored'.*'pooled' or 'wider_subset'"):
        SweepConfig.parse({"graft": graft})
    monkeypatch.setitem(NULLS, MIRRORED.name, MIRRORED)
    assert "mirrored" not in SweepConfig().graft.nulls  # a null that is added changes no other sweep

    planned = finished(tmp_path, graft=graft)
    assert sum(task.size for task in planned.tasks if task.job.kind == "graft") == 4 + 4 + 4
    grafts = table(tmp_path, "grafts")
    assert grafts["null"].value_counts().to_dict() == {"none": 4, "self": 4, "mirrored": 4}
    ends = ["source_seed", "target_seed", "target_epoch", "layer"]
    real, mirrored = (
        grafts[grafts["null"] == null].set_index(ends)["fvu_test"] for null in ("none", "mirrored")
    )
    assert mirrored.mean() > real.mean()

    shown = [figure for chapter in chapters(load(tmp_path), 0.9, 10) for figure in chapter.figures]
    (nulls,) = [figure for figure in shown if figure.name == "nulls"]
    legend = [text.get_text() for text in nulls.figure.legends[0].get_texts()]
    assert legend == ["real grafts", "self", "mirrored", "the targets' own"]
    page = write_report(tmp_path, bootstraps=10)
    assert "Further nulls: mirrored." in page.read_text(encoding="utf-8")
    assert page.with_name("nulls.svg").exists()
