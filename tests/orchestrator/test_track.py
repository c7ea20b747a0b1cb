"""Trackers: TensorBoard reads what was written, each epoch is told once, and none of it can stop a sweep."""

import sys
import types
from collections import defaultdict
from types import SimpleNamespace

import pytest

from espalier.orchestrator.config.sections import TrackConfig
from espalier.orchestrator.config.sweep_config import ConfigError
from espalier.orchestrator.store.sweep_store import Store
from espalier.orchestrator.track import TensorBoard, Trackers, open_trackers
from espalier.tasks.tables.rows import table
from tests.analysis.conftest import curve_rows


def rows(epochs, first=1):
    made = curve_rows(widths=(4,), seeds=(0, 1), epochs=epochs)
    return {"curves": table("curves", [row for row in made if row["epoch"] >= first])}


def seen(folder):
    """What TensorBoard itself reads: by run and tag the steps and values."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for place in sorted((folder / "tensorboard").iterdir()):
        events = EventAccumulator(str(place)).Reload()
        for tag in events.Tags()["scalars"]:
            found[place.name, tag] = [(event.step, event.value) for event in events.Scalars(tag)]
    return found


def follow(sweep, *batches, **track):
    notes = []
    trackers = open_trackers(TrackConfig(to=("tensorboard",), **track), Store(sweep), notes.append)
    for batch in batches:
        trackers.follow(batch)
    return notes


def test_tensorboard_reads_every_curve_of_every_net(tmp_path):
    assert follow(tmp_path, rows(3), {"grafts": None}) == []
    found = seen(tmp_path)
    wanted = rows(3)["curves"].to_pylist()
    assert len(found) == 2 * 5
    for row in wanted:
        name = f"width-4_seed-{row['seed']}_{row['net']}"
        for column, tag in (("loss_train", "loss/train"), ("accuracy_test", "accuracy/test")):
            (value,) = [value for step, value in found[name, tag] if step == row["epoch"]]
            assert value == pytest.approx(row[column], rel=1e-6)  # TensorBoard keeps float32
    assert all([step for step, _ in points] == [1, 2, 3] for points in found.values())


def test_each_epoch_is_told_once_whoever_tells_it_and_later_ones_are_added(tmp_path):
    follow(tmp_path, rows(2), rows(2))
    follow(tmp_path, rows(2))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*tfevents*")}
    assert len(before) == 2
    follow(tmp_path, rows(5, first=3), rows(5))
    found = seen(tmp_path)
    assert all([step for step, _ in points] == [1, 2, 3, 4, 5] for points in found.values())
    assert all(path.read_bytes() == data for path, data in before.items())


def test_a_regression_has_no_accuracy_and_another_folder_may_be_named(tmp_path):
    lines = [row | {"accuracy_train": None, "accuracy_test": None} for row in rows(1)["curves"].to_pylist()]
    follow(tmp_path / "sweep", {"curves": table("curves", lines)}, folder=str(tmp_path / "there"))
    assert {tag for _, tag in seen(tmp_path / "there")} == {"loss/train", "loss/test", "learning_rate"}
    assert not (tmp_path / "sweep").exists()


def test_a_tracker_that_fails_is_told_of_once_and_the_others_go_on(tmp_path):
    class Broken:
        def told(self, row):
            raise RuntimeError("no server there")

    notes = []
    trackers = Trackers([Broken(), TensorBoard(Store(tmp_path).files)], notes.append)
    trackers.follow(rows(1))
    trackers.follow(rows(2))
    (note,) = notes
    assert note == "Broken is told no more: RuntimeError: no server there"
    assert all([step for step, _ in points] == [1, 2] for points in seen(tmp_path).values())


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "tensorboard.compat.proto.event_pb2"), ("mlflow", "mlflow")]
)
def test_a_library_that_is_missing_is_told_with_its_extra(tmp_path, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"track\.to has '{name}'.*pip install 'espalier\[{name}\]'"):
        open_trackers(TrackConfig(to=(name,)), Store(tmp_path), print)


class FakeClient:
    """MLflow's client as far as it is used, with its files in `kept`."""

    kept = None

    def __init__(self, tracking_uri):
        self.kept = self.kept if FakeClient.kept is None else FakeClient.kept
        self.kept["uri"] = tracking_uri

    def get_experiment_by_name(self, name):
        return SimpleNamespace(experiment_id="7") if name in self.kept["experiments"] else None

    def create_experiment(self, name):
        self.kept["experiments"].append(name)
        return "7"

    def search_runs(self, experiments, filter_string):
        assert experiments == ["7"]
        return [
            SimpleNamespace(info=SimpleNamespace(run_id=run))
            for run, tags in self.kept["runs"].items()
            if filter_string == f"tags.\"espalier.key\" = '{tags['espalier.key']}'"
        ]

    def create_run(self, experiment, tags, run_name):
        run = f"run-{len(self.kept['runs'])}"
        self.kept["runs"][run] = {**tags, "name": run_name}
        return SimpleNamespace(info=SimpleNamespace(run_id=run))

    def get_metric_history(self, run, name):
        return [metric for metric in self.kept["metrics"][run] if metric.key == name]

    def log_batch(self, run, metrics, params):
        self.kept["metrics"][run] += metrics
        self.kept["params"][run] += params

    def set_terminated(self, run):
        self.kept["ended"].append(run)


@pytest.fixture
def fake_mlflow(monkeypatch):
    kept = {
        "experiments": [],
        "runs": {},
        "metrics": defaultdict(list),
        "params": defaultdict(list),
        "ended": [],
    }
    monkeypatch.setattr(FakeClient, "kept", kept)
    module, entities = types.ModuleType("mlflow"), types.ModuleType("mlflow.entities")
    module.MlflowClient = FakeClient
    entities.Metric = lambda key, value, timestamp, step: SimpleNamespace(key=key, value=value, step=step)
    entities.Param = lambda key, value: (key, value)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    return kept


def test_mlflow_has_a_run_a_net_with_its_axes_and_each_epoch_once(tmp_path, fake_mlflow):
    for batch in (rows(2), rows(2), rows(4)):
        open_trackers(TrackConfig(to=("mlflow",)), Store(tmp_path / "mine"), print).follow(batch)
    assert fake_mlflow["uri"] == (tmp_path / "mine" / "mlruns").as_uri()
    assert fake_mlflow["experiments"] == ["mine"]
    assert len(fake_mlflow["runs"]) == 2
    for run, metrics in fake_mlflow["metrics"].items():
        steps = [metric.step for metric in metrics if metric.key == "loss_test"]
        assert steps == [1, 2, 3, 4]
        assert ("width", "4") in fake_mlflow["params"][run]
        assert len(fake_mlflow["params"][run]) == 8


def test_mlflow_of_a_sweep_at_a_url_needs_a_place(fake_mlflow):
    store = Store("memory://tracked")
    with pytest.raises(ConfigError, match=r"track\.uri"):
        open_trackers(TrackConfig(to=("mlflow",)), store, print)
    open_trackers(TrackConfig(to=("mlflow",), uri="http://localhost:1"), store, print)
    assert fake_mlflow["uri"] == "http://localhost:1"
