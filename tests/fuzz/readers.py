"""The readers of files that may come from strangers, each with sound files and what it may answer."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.record import RECORD, recorded_config
from espalier.orchestrator.running import probing
from espalier.orchestrator.running.heartbeat import HEARTBEAT, heartbeat
from espalier.orchestrator.store import part_columns
from espalier.orchestrator.store.parquet_parts import PartError, decode, encode
from espalier.orchestrator.store.part_columns import open_columns
from espalier.orchestrator.store.sweep_store import Store
from espalier.orchestrator.templates import templates
from espalier.tasks.data.raw_images import DataError
from espalier.tasks.data.sources import parquet_images
from espalier.tasks.networks.checkpoint import pack_network, pack_state, verify
from espalier.tasks.networks.network import initialise
from espalier.tasks.networks.sealed_tensors import CheckpointError, pack, unpack
from espalier.tasks.spec import blob_name, state_name
from espalier.tasks.tables.rows import table
from espalier.tasks.tables.schemas import SCHEMAS
from tests.analysis.conftest import graft_rows, net_rows
from tests.tasks.conftest import make_net, make_snapshot


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        files: Sound files.
        read: Reads a file's bytes; what it gives is handed to `same`.
        refusals: The errors by which it may refuse.
        same: Whether what was read of damaged bytes is what one of the sound files holds; None where a
            changed file may be read as what it now says (a config is what its author writes).
    """

    files: tuple[bytes, ...]
    read: Callable[[bytes], Any]
    refusals: tuple[type[Exception], ...]
    same: Callable[[Any], bool] | None = None


NET = make_net(entries=(1, "pool"))
SNAPSHOT = make_snapshot(NET, 2)
CHECKPOINT = pack_network(initialise(NET), SNAPSHOT, (0.25, 0.5), (1.5, 2.0))


def checkpoints(folder: Path) -> Reader:
    """Checkpoints of nets: sealed, so what is read is what was written."""
    return _sealed(blob_name(SNAPSHOT.key), CHECKPOINT)


def states(folder: Path) -> Reader:
    """Optimizer states, from which training resumes."""
    tensors, momentum = (dict(initialise(NET).parameters) for _ in range(2))
    return _sealed(state_name(SNAPSHOT.key), pack_state(tensors, momentum, 2, SNAPSHOT.key))


def resealed(folder: Path) -> Reader:
    """Checkpoints whose seal holds and whose metadata a stranger has written."""
    tensors, metadata = unpack(CHECKPOINT)
    name = blob_name(SNAPSHOT.key)

    def read(data: bytes) -> Any:
        try:
            said = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise CheckpointError("no JSON") from error
        if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
            raise CheckpointError("no metadata that a file can hold")
        said.pop("seal", None)
        return verify(name, pack(tensors, said))

    return Reader((json.dumps(metadata).encode(),), read, (CheckpointError, UnicodeEncodeError))


def _sealed(name: str, data: bytes) -> Reader:
    sound, metadata = unpack(data)

    def read(found: bytes) -> Any:
        verify(name, found)
        return unpack(found)

    def same(found: Any) -> bool:
        tensors, said = found
        return said == metadata and all(torch.equal(tensors[key], sound[key]) for key in sound)

    return Reader((data,), read, (CheckpointError,), same)


def parts(folder: Path) -> Reader:
    """Parts of tables, small ones and one that a compaction has written."""
    kinds = {"nets": net_rows(widths=(4, 8), seeds=(0, 1)), "grafts": graft_rows(widths=(4, 8), seeds=(0, 1))}
    tables = [(name, table(name, rows)) for name, rows in kinds.items()]
    sound = [rows for _, rows in tables]

    def read(data: bytes) -> pa.Table:
        try:
            return decode("nets", data)
        except PartError:
            return decode("grafts", data)

    def same(found: pa.Table) -> bool:
        return any(found.equals(rows) for rows in sound)

    return Reader(tuple(encode(name, rows) for name, rows in tables), read, (PartError,), same)


def columns(folder: Path) -> Reader:
    """Parts of tables as `load` reads large ones: a few columns at a time."""
    part = parts(folder)

    def read(data: bytes) -> pa.Table:
        with mock.patch.object(part_columns, "is_small", return_value=False):
            for name in ("nets", "grafts"):
                with suppress(PartError):
                    if (opened := open_columns(name, data, ())) is not None:
                        return _joined(name, opened.columns)
        return part.read(data)

    return Reader(part.files, read, part.refusals, part.same)


def _joined(name: str, columns: Iterator[pa.Table]) -> pa.Table:
    found = {
        key: column for some in columns for key, column in zip(some.column_names, some.columns, strict=True)
    }
    return pa.table(found).cast(SCHEMAS[name])


def configs(folder: Path) -> Reader:
    """`sweep.toml`."""
    files = tuple(template.text.encode() for template in templates().values())
    return Reader(files, lambda data: SweepConfig.parse_toml(data, "sweep.toml"), (ConfigError,))


def records(folder: Path) -> Reader:
    """`run.json`, `probes.json` and `running.json`."""
    store = Store(folder)
    config = SweepConfig().model_dump(mode="json")
    run = {"config": config, "data": "0123", "runs": [{"commit": "a"}], "versions": {}}
    probes = {"k" * 24: {"grouped": True, "layout": "channels_last", "nets": 4, "compiled": False}}
    now = "2026-01-31T12:00:00Z"
    beat = {"at": now, "since": now, "slots": 2, "queued": 1, "quiet": 0.5,
            "running": [{"key": "k", "label": "train", "seconds": 1.5}]}  # fmt: skip

    def read(data: bytes) -> Any:
        refused = []
        for name, reader in (
            (RECORD, recorded_config),
            (probing.RECORD, probing.choices),
            (HEARTBEAT, heartbeat),
        ):
            (folder / name).write_bytes(data)
            try:
                return reader(store)
            except ValueError as error:
                refused.append(error)
        raise refused[0]

    return Reader(
        tuple(json.dumps(value).encode() for value in (run, probes, beat)), read, (ValueError, OSError)
    )


def images(folder: Path) -> Reader:
    """Parquet files of images: the training file is damaged, the test file is sound."""
    draw = np.random.default_rng(0)

    def rows(kind: str, count: int) -> pa.Table:
        contents = []
        for _ in range(count):
            picture, file = Image.fromarray(draw.integers(0, 255, (4, 4, 3), dtype=np.uint8)), io.BytesIO()
            picture.save(file, kind)
            contents.append({"bytes": file.getvalue(), "path": None})
        return pa.table({"image": contents, "label": pa.array(range(count)).cast(pa.int64())})

    def written(rows: pa.Table) -> bytes:
        file = pa.BufferOutputStream()
        pq.write_table(rows, file, compression="none")  # so that damages meet the decoders of images too
        return file.getvalue().to_pybytes()

    (folder / "test.parquet").write_bytes(written(rows("PNG", 4)))
    files = tuple(written(rows(kind, 4)) for kind in ("PNG", "JPEG", "BMP", "WEBP"))

    def read(data: bytes) -> Any:
        (folder / "train.parquet").write_bytes(data)
        return parquet_images.read("parquet:.", str(folder), (None, None))

    return Reader(files, read, (DataError,))


READERS: dict[str, Callable[[Path], Reader]] = {
    "checkpoint": checkpoints,
    "state": states,
    "resealed": resealed,
    "part": parts,
    "columns": columns,
    "config": configs,
    "record": records,
    "images": images,
}


def workplace() -> tempfile.TemporaryDirectory[str]:
    """A folder in memory if the machine has one: files are written a million times."""
    fast = Path("/dev/shm")
    return tempfile.TemporaryDirectory(prefix="espalier-fuzz-", dir=fast if fast.is_dir() else None)
