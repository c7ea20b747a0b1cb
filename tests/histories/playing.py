"""Plays a history of runs in one folder, and judges the folder after each of them.

A history is plain data, drawn by hypothesis: sessions in one folder, each of which may first add to the
config, then runs the sweep against a simulated pool, or compacts the folder. A session ends by itself, is
interrupted or killed at a chosen change of a file, or meets a failing disk. Nothing else is random.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import pyarrow as pa

from espalier.cluster.pool import Job
from espalier.orchestrator import sweep as sweep_module
from espalier.orchestrator.planning.identity import probe_key
from espalier.orchestrator.planning.kind import Choice
from espalier.orchestrator.planning.nets import nets, used
from espalier.orchestrator.planning.plan import Plan
from espalier.orchestrator.store import known_parts, local_files
from espalier.orchestrator.store.files import BLOBS
from espalier.orchestrator.store.sweep_store import Store
from espalier.orchestrator.summary import Summary
from espalier.orchestrator.sweep import Sweep
from espalier.tasks.spec import TrainMode, blob_name, is_state, segments_of
from tests.histories import synthetic
from tests.histories.asked import DIGITS, Ask, Doomed, blob_names, due_rows, excused, expected, identities
from tests.histories.power import Killed, Power
from tests.histories.simulated_pool import Act, Book, Clock, SimulatedPool, units
from tests.histories.synthetic import TABLES

FOLDERS = next((path for path in ("/dev/shm",) if Path(path).is_dir()), None)
"""Where folders of histories are made: in memory if there is such a place."""


@dataclass(frozen=True)
class Session:
    """One process in the folder.

    Attributes:
        grows: What is added to the config before.
        acts: What happens in the pool.
        fault: What happens at change `step` of a file, if it comes to that; see `Power`.
        compacts: It does not run the sweep, but compacts the tables.
    """

    grows: str = ""
    acts: tuple[Act, ...] = ()
    fault: str = ""
    step: int = 0
    compacts: bool = False


@dataclass(frozen=True)
class History:
    """Sessions in one folder; `doomed` nets (width, seed) diverge when they pass that epoch."""

    sessions: tuple[Session, ...]
    doomed: Doomed = frozenset()


class Simulated(Sweep):
    """A sweep whose jobs nobody computes: checkpoints are judged by what the simulated jobs write."""

    def __init__(self, ask: Ask, path: Path, clock: Clock) -> None:
        super().__init__(ask.config, path)
        self.store, self.facts = Store(path, clock), DIGITS

    def _check(self, names, starts):
        return self.store.check_blobs(sorted(names), synthetic.verify)

    def _ways(self, plan, pool, recorded):
        together = Choice(TrainMode(grouped=True), nets=2)
        every = nets(self.config, used(self.config, self.facts))
        return {probe_key(net, "cpu"): together for net in every}, []


class Counted:
    """A run's progress: units that were done and lost, by kind, and the plan that it works on."""

    def __init__(self, plan: Plan) -> None:
        self.planned = Counter[str]()
        for task in plan.tasks:
            self.planned[task.job.kind] += task.size
        self.ended = Counter[str]()

    def recall(self, worked):
        pass

    def done(self, task, seconds):
        self.ended[task.job.kind] += task.size

    def failed(self, task, error):
        self.ended[task.job.kind] += task.size

    def skipped(self, task, units):
        self.ended[task.job.kind] += units

    def note(self, text):
        pass

    def tick(self, in_flight, waits=""):
        pass


@dataclass(frozen=True)
class Held:
    """What a folder holds: the pieces whose rows are there by table, and checkpoints."""

    pieces: dict[str, set[tuple]] = field(default_factory=lambda: {table: set() for table in TABLES})
    blobs: set[str] = field(default_factory=set)


@dataclass
class Folder:
    """A folder with its history so far: what was asked for, and what happened (`seen`)."""

    path: Path
    doomed: Doomed
    seen: Counter[str]
    asks: list[Ask] = field(default_factory=lambda: [Ask()])
    clock: Clock = field(default_factory=Clock)
    held: Held = field(default_factory=Held)

    @property
    def ask(self) -> Ask:
        """What is asked for now."""
        return self.asks[-1]

    @property
    def ever(self) -> frozenset[Ask]:
        """All that was ever asked for."""
        return frozenset(self.asks)

    def play(self, session: Session) -> None:
        """One session; then the folder is judged as who reads it sees it."""
        self.asks.append(self.ask.grown(session.grows))
        power, ended = Power(session.fault, session.step, self.seen), "by itself"
        try:
            with power.on():
                self._compact() if session.compacts else self._run(session.acts, power)
        except (Killed, KeyboardInterrupt, OSError) as error:
            ended = "OSError" if isinstance(error, OSError) else type(error).__name__
        self.seen[f"{'compactions' if session.compacts else 'runs'} that ended: {ended}"] += 1
        self.look()

    def _compact(self) -> None:
        Store(self.path, self.clock).compact()

    def _run(self, acts: tuple[Act, ...], power: Power) -> tuple[Summary, Book]:
        """A run that may be cut off; where it ends by itself nothing is left out but what it says."""
        book, shown, began = Book(self.seen), list[Counted](), self.held

        def show(plan, slots):
            shown.append(Counted(plan))
            return nullcontext(shown[0])

        def pool(fetch, config, largest):
            return SimulatedPool(
                fetch, acts, self.doomed, power, self.clock, book, self.look, lambda job: _needed(job, began)
            )

        summary = Simulated(self.ask, self.path, self.clock).run(pool=pool, show=show)
        for progress in shown:
            assert progress.ended == progress.planned, "the run does not say what became of each unit"
        self.look()
        left = self._missing(book.lost)
        assert not any(left.values()), f"left out and not told: {left}"
        return summary, book

    def look(self) -> None:
        """Nothing is lost or there twice, and nothing is of other content or that nobody asked for."""
        store, found = Store(self.path), dict[str, set[tuple]]()
        for table in TABLES:
            rows = store.read_table(table)
            found[table] = set(identities(table, rows))
            whole, names = due_rows(self.ever, self.doomed, table)
            gone = self.held.pieces[table] - found[table]
            assert not gone, f"{table}: rows that were there are gone: {gone}"
            odd = found[table].difference(names)
            assert not odd, f"{table}: rows that nobody asked for: {odd}"
            due = whole.filter(pa.array([name in found[table] for name in names], pa.bool_()))
            assert rows.num_rows == due.num_rows, (
                f"{table}: {rows.num_rows} rows, where {due.num_rows} are due"
            )
            assert synthetic.together(table, [rows]).equals(due), f"{table}: rows of other content"
        known = blob_names(self.ever)
        blobs = set(store.files.list(BLOBS))
        assert blobs <= known, f"checkpoints that nobody asked for: {blobs - known}"
        bare = {key for (key,) in found["nets"] if blob_name(key) not in blobs}
        assert not bare, f"snapshots with rows and without a checkpoint: {bare}"
        for name in blobs:
            assert store.read_blob(name) == synthetic.blob(name), f"{name}: a checkpoint of other content"
        self.held = Held(found, blobs)

    def _missing(self, lost: Iterable[str]) -> dict[str, set[tuple]]:
        """Pieces that the config of now asks for and that are not there, by table; `lost` were given up."""
        forgiven, due = excused(self.ask, self.doomed, lost), expected(frozenset([self.ask]), self.doomed)
        return {table: due[table].keys() - self.held.pieces[table] - forgiven[table] for table in TABLES}

    def end(self) -> None:
        """A run that nothing disturbs completes what can be had; after it there is nothing to do."""
        summary, _ = self._run((), Power("", 0, self.seen))
        left = self._missing(())
        assert not any(left.values()), f"not there in the end: {left}"
        assert summary.complete or self.doomed
        states = sorted(name for name in self.held.blobs if is_state(name))
        assert not states or self.doomed, f"states that nobody goes on from: {states}"
        if len(self.asks) <= 2:  # planning takes a third of the time of all histories: not after each of them
            _, idle = self._run((), Power("", 0, self.seen))
            assert not idle.attempts, f"done again: {idle.attempts}"


def _needed(job: Job, began: Held) -> bool:
    """Whether each of a job's units was missing when its run began: its rows, or its checkpoint."""
    if job.kind == "graft":
        return all(
            (key,) not in began.pieces["grafts"] or (key,) not in began.pieces["downstream"]
            for key in units(job)
        )
    return all(
        (snap.key,) not in began.pieces["nets"]
        or (snap.epoch > 0 and (snap.net_key, snap.epoch) not in began.pieces["curves"])
        or blob_name(snap.key) not in began.blobs
        for snap in (segment.snapshot for segment in segments_of(job.payload))
    )


@contextmanager
def small_world() -> Iterator[None]:
    """Few parts are merged and remembered at once, so that tiny sweeps come to that; no process is asked."""
    with ExitStack() as stack:
        for place, name, value in (
            (known_parts, "TOGETHER", 3),
            (known_parts, "NEW_PARTS", 2),
            (local_files, "SETTLED_NANOSECONDS", 0),  # the clock of a history stands still
            (sweep_module, "provenance", dict),
        ):
            stack.enter_context(mock.patch.object(place, name, value))
        yield


def play(history: History, seen: Counter[str] | None = None) -> None:
    """Play a history in a new folder. Raises AssertionError, or what the product raised, if it goes wrong."""
    with tempfile.TemporaryDirectory(dir=FOLDERS, prefix="history-") as place, small_world():
        folder = Folder(Path(place) / "sweep", history.doomed, Counter() if seen is None else seen)
        for session in history.sessions:
            folder.play(session)
        folder.end()
