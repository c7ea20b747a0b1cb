"""What a job's function is given in a worker, and what it gives back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from espalier.tasks.data.tensors import Data, Normalization
from espalier.tasks.networks.checkpoint import unpack_network, unpack_state
from espalier.tasks.networks.network import Network
from espalier.tasks.spec import DataSpec, NetSpec, Snapshot, blob_name, key_of
from espalier.tasks.training.train import State, initial_state
from espalier.tasks.worker.devices import load_on, on


@dataclass(frozen=True)
class Inputs:
    """The blobs that a job reads, by name in the order of its inputs, and where it runs.

    `where` (device, data set's place, how to bound the memory) changes no result but by rounding. `notes` are
    lines for the user about what was read.
    """

    blobs: Mapping[str, bytes]
    where: Mapping[str, Any]
    notes: list[str] = field(default_factory=list[str])

    @property
    def device(self) -> str:
        """`cpu` or `cuda`."""
        return self.where.get("device", "cpu")

    def images(self, spec: DataSpec) -> tuple[Data, Normalization]:
        """The images that `spec` identifies on the device, and how they were normalised."""
        dataset, folder = self.where["dataset"], self.where.get("folder")
        loaded = load_on(
            self.device, dataset, spec.limit_train, spec.limit_test, folder, content=spec.content
        )
        self.notes[:] = loaded.warnings
        return loaded.data, loaded.normalization

    def networks(self, snapshots: Iterable[Snapshot]) -> list[Network]:
        """The nets at some snapshots, on the device."""
        read = [unpack_network(self.blobs[blob_name(snap.key)], snap.key) for snap in snapshots]
        return [on(network, self.device) for network in read]

    def states(self, nets: Sequence[NetSpec], starts: Sequence[int | None]) -> list[State]:
        """Where nets stand at epochs `starts`: at the blobs, a state for each, or at their beginning."""
        if not self.blobs:
            return [initial_state(net) for net in nets]
        read = zip(self.blobs.items(), starts, strict=True)
        return [State(*unpack_state(blob, key_of(name), start)) for (name, blob), start in read]


Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Results:
    """What came of a job.

    Attributes:
        rows: By table, in the order in which they are published: the one that says that a unit is done last.
        blobs: Files by name.
        failures: By the key of a unit that can never be had, the error.
        answer: Of a job that belongs to no table, what it found: plain JSON values.
    """

    rows: Mapping[str, Rows] = field(default_factory=dict[str, Rows])
    blobs: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    failures: Mapping[str, Exception] = field(default_factory=dict[str, Exception])
    answer: Any = None
