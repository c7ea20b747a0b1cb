"""What is finished: checkpoints, and result tables as Parquet parts. The files are the memory.

A job is done when its rows are in the tables. One process, the driver's, commits; workers hand it
their rows. `tables/<table>/` is a plain folder of parts that `pd.read_parquet` reads as it is.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa

from espalier.cluster.pool import Receipt
from espalier.orchestrator.store.blob_folder import BlobFolder
from espalier.orchestrator.store.blob_names import signed
from espalier.orchestrator.store.files import BLOBS, TABLES
from espalier.orchestrator.store.inventory import Inventory
from espalier.orchestrator.store.parquet_parts import check_rows
from espalier.orchestrator.store.places import open_files
from espalier.orchestrator.store.stray_blobs import collect
from espalier.orchestrator.store.table_parts import PART_BYTES, TableParts
from espalier.tasks.plain_text import printable
from espalier.tasks.tables.rows import table as rows_table
from espalier.tasks.tables.schemas import SCHEMAS

JOB_ROWS, JOB_SECONDS = 64, 10.0  # what a crash may cost of the log of attempts
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Store:
    """Checkpoints and tables under `root`, a path or an fsspec URL; `clock` times the jobs' log.

    Write under `lock()`. A read-only look beside a running writer is `scan(repair=False)`.
    """

    def __init__(self, root: str | Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.files = open_files(root)
        self.root = self.files.root
        self._clock, self._flushed = clock, clock()
        self._jobs: list[Mapping[str, Any]] = []
        self._inventory: Inventory | None = None
        self._tables: dict[str, TableParts] = {}
        self._locked = False

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one writer until the end of the block, which also flushes the jobs' log.

        Raises:
            StoreLocked: Another process is.
        """
        with self.files.lock():
            self._locked, self._inventory, self._tables = (
                True,
                None,
                {},
            )  # what we saw before, another may have changed
            try:
                yield
                self.flush()
            finally:
                self._locked = False

    @property
    def inventory(self) -> Inventory:
        """What is there: found by a scan (which repairs only if we are the writer), kept up by commits."""
        return self._inventory or self.scan(repair=self._locked)

    def scan(self, repair: bool = True, everything: bool = False) -> Inventory:
        """Verify every part of every table: by reading it, or because it is as it was when it was read.

        What was verified is remembered (`orchestrator.store.remembered_parts`); `everything` reads all anew.

        A part that is torn, empty, foreign or of another schema moves to `.broken/`. Of a part that
        repeats pieces of others (copied here by hand) only the new ones stay. `repair=False` reports
        the same and moves nothing.

        Raises:
            StoreLocked: `repair` needs the lock, and another process holds it.
        """
        with self.lock() if repair and not self._locked else nullcontext():
            for folder in (BLOBS, *(f"{TABLES}/{table}" for table in SCHEMAS)) if repair else ():
                self.files.make_way(folder)
            self._inventory, self._tables = Inventory(), {}
            found = self._inventory
            found.problems += self.files.mended()
            try:
                for name, what in self._blobs.scan().items():
                    self._put_aside(f"{BLOBS}/{name}", what, "made again if something needs it", repair)
                for table in SCHEMAS:
                    self._parts(table).scan(repair, everything)
                self._blobs.count_straight()
            except BaseException:
                self._inventory, self._tables = (
                    None,
                    {},
                )  # half of what is there would make the rest be written twice
                raise
        return found

    @property
    def _blobs(self) -> BlobFolder:
        return BlobFolder(self.files, self.inventory, lambda: self.read_table("nets", skip_broken=True))

    def _parts(self, table: str) -> TableParts:
        """The parts of a table, which count in the inventory if there is one."""
        if table not in self._tables:
            self._tables[table] = TableParts(self.files, table, self._inventory or Inventory())
        return self._tables[table]

    def _put_aside(self, name: str, what: str, cure: str, repair: bool) -> None:
        place = f"moved to {printable(self.files.quarantine(name))}" if repair else "left in place"
        self.inventory.problems.append(f"{printable(name)}: {what}; {place}; {cure}")

    def commit(
        self,
        part_name: str,
        tables: Mapping[str, pa.Table],
        blobs: Mapping[str, bytes] | None = None,
        receipts: Mapping[str, Receipt] | None = None,
    ) -> dict[str, int]:
        """Publish what a job made: blobs first, then tables in the order given (the primary one last).

        Rows of a piece that is present already are dropped, so each is kept once whatever its part is
        called, and a commit cut off anywhere can be made again. A blob that exists is kept: same key,
        same bits. `receipts` are of blobs that a worker has written by itself; the rows of table `nets` name
        their files, and by that make them count.

        Returns:
            Rows written per table.

        Raises:
            ValueError: A name, a schema or an identity is not as it must be, or a file is not as its receipt
                says; nothing was written.
            StoreWriteError: The place took no more (`StoreFull`: no space); what it took is whole.
        """
        blobs = blobs or {}
        for name in (part_name, *blobs):
            _check_name(name)
        for table, rows in tables.items():
            check_rows(table, rows)
        self.inventory  # noqa: B018 - a first look, before anything is written
        if receipts:
            self._blobs.refuse(receipts, tables.get("nets"))
            receipts = self._blobs.accept(receipts)
            tables = {**tables, "nets": signed(tables["nets"], receipts)}
        for name, data in blobs.items():
            self._blobs.put(name, data)
        written = {table: self._parts(table).publish(part_name, rows) for table, rows in tables.items()}
        self._blobs.count(receipts or {})
        for table in tables:
            self._parts(table).tidy()
        return written

    def append_job(self, row: Mapping[str, Any]) -> None:
        """Log an attempt at a job; written once 64 wait, or the last write is 10 s ago.

        Raises:
            ValueError: The row has not exactly the columns of `jobs`.
            StoreWriteError: As `commit`; the rows wait for the next try.
        """
        rows_table("jobs", [row])
        self._jobs.append(row)
        if len(self._jobs) >= JOB_ROWS or self._clock() - self._flushed >= JOB_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the attempts that wait. Raises as `append_job`."""
        if self._jobs:
            self.inventory  # noqa: B018
            self._parts("jobs").publish(f"jobs-{uuid.uuid4().hex}", rows_table("jobs", self._jobs))
            self._jobs = []
            self._parts("jobs").tidy()
        self._flushed = self._clock()

    def read_table(self, table: str, skip_broken: bool = False) -> pa.Table:
        """All rows of a table, part by part in the order of their names.

        `skip_broken` leaves out parts that are broken.

        Raises:
            PartError: A part is broken; a scan moves it away.
        """
        return self._parts(table).read(skip_broken)

    def compact(self, table: str | None = None, part_bytes: int = PART_BYTES) -> dict[str, int]:
        """Merge the parts of a table (of all) into files of about `part_bytes` at most, sorted by identity.

        For a store that nobody writes to or, in a folder, reads meanwhile. The rows stay the same, each once.
        At a URL each width and epoch has files of its own, which are not sorted among each other.

        Returns:
            Files per table afterwards.

        Raises:
            StoreLocked: Another process writes to the store.
        """
        with nullcontext() if self._locked else self.lock():
            self.flush()
            self.scan()
            return {name: self._parts(name).compact(part_bytes) for name in ([table] if table else SCHEMAS)}

    def table_path(self, table: str) -> str:
        """The folder of a table's parts, as path or URL."""
        return f"{self.root}/{TABLES}/{table}"

    def row_count(self, table: str) -> int:
        """Rows of a table on disk."""
        return self.inventory.rows[table]

    def blobs(self) -> dict[str, int]:
        """Checkpoint name to size in bytes."""
        return dict(self.inventory.blobs)

    def receipt(self, name: str) -> Receipt | None:
        """Of a checkpoint whose file a worker wrote, which file that is."""
        return self.inventory.receipts.get(name)

    def read_blob(self, name: str) -> bytes:
        """A checkpoint's bytes.

        Raises:
            FileNotFoundError: There is none.
            ValueError: The bytes are not those that its row names.
        """
        return self._blobs.read(name)

    def remove_blob(self, name: str) -> None:
        """Delete a checkpoint; none there is fine."""
        self._blobs.remove(name)

    def check_blobs(self, names: Iterable[str], verify: Callable[[str, bytes], None]) -> list[str]:
        """Read checkpoints, and move away those that `verify`, given name and bytes, refuses by a ValueError.

        Returns:
            A message for each that is missing or was moved.
        """
        return [message for name in names if (message := self._blobs.check(name, verify))]

    def collect(self, seconds: float) -> str:
        """Remove checkpoints that no row names and that are older; see `stray_blobs.collect`."""
        return collect(self.files, self.inventory, seconds)

    def write_json(self, name: str, value: Any) -> None:
        """Write a small file such as `run.json` at the root, over an older one. Raises as `commit`."""
        _check_name(name)
        self.files.replace(name, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())

    def read_json(self, name: str) -> Any:
        """The value of a file that `write_json` wrote; None if there is none, ValueError if it is broken."""
        try:
            found = json.loads(self.files.read(name))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.root}/{name} is no JSON ({error}): mend or delete it") from error
        if found is None:  # which would say that there is no file
            raise ValueError(f"{self.root}/{name} holds no value but null: mend or delete it")
        return found


def _check_name(name: str) -> None:
    if not SAFE_NAME.fullmatch(name):
        raise ValueError(
            f"'{name}' is no file name here: letters, digits, '-', '_' and '.', the first not '._-'"
        )
