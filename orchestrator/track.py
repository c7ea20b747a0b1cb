"""Trackers: the published rows of `curves` told to TensorBoard or MLflow too, each epoch once.

What was told is read from the tracker's own files, so that any run can make good what an earlier one left.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from espalier.orchestrator.config.sections import TrackConfig
from espalier.orchestrator.config.sweep_config import ConfigError
from espalier.orchestrator.store.files import Files
from espalier.orchestrator.store.places import open_files
from espalier.orchestrator.store.sweep_store import Store

SCALARS = {
    "loss_train": "loss/train",
    "loss_test": "loss/test",
    "accuracy_train": "accuracy/train",
    "accuracy_test": "accuracy/test",
    "learning_rate": "learning_rate",
}
"""Columns of `curves` and how the trackers call them."""

Row = Mapping[str, Any]
Timed = list[tuple[float, Row]]
"""Rows of a net by epoch, each with the time at which its epoch ended, in seconds."""


class Tracker(Protocol):
    """Where the curves of nets go."""

    def told(self, row: Row) -> int:
        """The last epoch of the row's net that is there, 0 for none."""
        ...

    def tell(self, rows: Timed) -> None:
        """Write rows of one net."""
        ...


class TensorBoard:
    """Event files in `tensorboard/<net>/`, each named by the last epoch in it and whole or absent."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._event = import_module("tensorboard.compat.proto.event_pb2").Event
        self._summary = import_module("tensorboard.compat.proto.summary_pb2").Summary
        self._writer = import_module("tensorboard.summary.writer.record_writer").RecordWriter

    def told(self, row: Row) -> int:
        """See `Tracker`."""
        names = self._files.list(f"tensorboard/{run_name(row)}")
        return max((int(name.split(".")[3]) for name in names if ".tfevents." in name), default=0)

    def tell(self, rows: Timed) -> None:
        """See `Tracker`."""
        last, buffer = rows[-1][1], BytesIO()
        writer = self._writer(buffer)
        writer.write(self._event(wall_time=rows[0][0], file_version="brain.Event:2").SerializeToString())
        for wall_time, row in rows:
            values = [self._summary.Value(tag=tag, simple_value=value) for tag, value in scalars(row).items()]
            event = self._event(wall_time=wall_time, step=row["epoch"], summary=self._summary(value=values))
            writer.write(event.SerializeToString())
        # TensorBoard reads a folder's files in the order of their names
        name = f"events.out.tfevents.{last['epoch']:010d}.espalier"
        self._files.publish(f"tensorboard/{run_name(last)}/{name}", buffer.getvalue())


class MLflow:
    """A run of each net, told by its tag `espalier.key`, with the net's axes as parameters."""

    def __init__(self, uri: str, experiment: str) -> None:
        entities = import_module("mlflow.entities")
        self._client = import_module("mlflow").MlflowClient(tracking_uri=uri)
        self._metric, self._param = entities.Metric, entities.Param
        known = self._client.get_experiment_by_name(experiment)
        self._experiment = known.experiment_id if known else self._client.create_experiment(experiment)
        self._runs: dict[str, str] = {}

    def told(self, row: Row) -> int:
        """See `Tracker`."""
        run = self._run(row["key"])
        history = self._client.get_metric_history(run, "loss_train") if run else []
        return max((metric.step for metric in history), default=0)

    def _run(self, key: str) -> str | None:
        if key not in self._runs:
            found = self._client.search_runs([self._experiment], f"tags.\"espalier.key\" = '{key}'")
            self._runs.update((key, run.info.run_id) for run in found[:1])
        return self._runs.get(key)

    def tell(self, rows: Timed) -> None:
        """See `Tracker`."""
        first = rows[0][1]
        run, axes = self._run(first["key"]), []
        if run is None:
            made = self._client.create_run(
                self._experiment, tags={"espalier.key": first["key"]}, run_name=run_name(first)
            )
            run = self._runs[first["key"]] = made.info.run_id
            names = ("architecture", "width", "parametrization", "init", "recipe", "tuned", "dataset", "seed")
            axes = [self._param(name, str(first[name])) for name in names]
        metrics = [
            self._metric(tag.replace("/", "_"), value, round(1000 * wall_time), row["epoch"])
            for wall_time, row in rows
            for tag, value in scalars(row).items()
        ]
        self._client.log_batch(run, metrics=metrics, params=axes)
        self._client.set_terminated(run)


def run_name(row: Row) -> str:
    """What a net is called in a tracker."""
    return f"width-{row['width']}_seed-{row['seed']}_{row['net']}"


def scalars(row: Row) -> dict[str, float]:
    """What a tracker is told of an epoch; a regression has no accuracy."""
    return {tag: row[name] for name, tag in SCALARS.items() if row[name] is not None}


class Trackers:
    """All trackers of a sweep. One that fails is told of once and then left alone: it is no result."""

    def __init__(self, trackers: Iterable[Tracker], note: Callable[[str], None]) -> None:
        self._trackers, self._note = list(trackers), note

    def follow(self, tables: Mapping[str, pa.Table]) -> None:
        """Tell what is new among the rows of `curves` in some tables that were published."""
        if not self._trackers or "curves" not in tables:
            return
        nets: dict[str, list[Row]] = defaultdict(list)
        for row in tables["curves"].to_pylist():
            nets[row["key"]].append(row)
        for tracker in list(self._trackers):
            try:
                for rows in nets.values():
                    _tell(tracker, rows)
            except Exception as error:  # noqa: BLE001 - each library has its own; none may stop a sweep
                self._trackers.remove(tracker)
                self._note(f"{type(tracker).__name__} is told no more: {type(error).__name__}: {error}")


def _tell(tracker: Tracker, rows: list[Row]) -> None:
    told = tracker.told(rows[0])
    fresh = sorted((row for row in rows if row["epoch"] > told), key=lambda row: row["epoch"])
    if fresh:
        end, timed = time.time(), Timed()
        for row in reversed(fresh):
            timed.append((end, row))
            end -= row["seconds"]
        tracker.tell(timed[::-1])


def open_trackers(track: TrackConfig, store: Store, note: Callable[[str], None]) -> Trackers:
    """The trackers of `[track]`.

    Raises:
        ConfigError: A tracker's library is not installed, or there is no place for its files.
    """
    makers: dict[str, Callable[[], Tracker]] = {
        "tensorboard": lambda: TensorBoard(open_files(track.folder) if track.folder else store.files),
        "mlflow": lambda: MLflow(_mlflow_uri(track, store), track.experiment or Path(store.root).name),
    }
    made: list[Tracker] = []
    for name in track.to:
        try:
            made.append(makers[name]())
        except ImportError as error:
            raise ConfigError(
                f"track.to has '{name}', whose library is not installed ({error}): "
                f"pip install 'espalier[{name}]', or leave it out"
            ) from error
        except ConfigError:
            raise
        except Exception as error:  # each library has its own; said before hours of training
            text = str(error).split("\n")[0]
            raise ConfigError(
                f"track.to: '{name}' cannot be opened: {type(error).__name__}: {text}"
            ) from error
    return Trackers(made, note)


def _mlflow_uri(track: TrackConfig, store: Store) -> str:
    if track.uri:
        return track.uri
    if track.folder is None and "://" in store.root:
        raise ConfigError(
            "track.uri: MLflow keeps its files on a local disk, and this sweep is at a URL: give track.uri "
            "(a server) or track.folder (a local folder)"
        )
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # it would rather have a database
    return (Path(track.folder or store.root) / "mlruns").resolve().as_uri()
