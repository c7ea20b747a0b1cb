"""The Python API: a sweep is a folder; run it, plan it, look at it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from espalier.cluster.pool import Pool
from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.planning.identity import probe_key
from espalier.orchestrator.planning.kind import Choices, Have
from espalier.orchestrator.planning.nets import nets, used
from espalier.orchestrator.planning.plan import Missing, Plan, halves, scope_of, what_is_missing, without
from espalier.orchestrator.planning.rates import on_device
from espalier.orchestrator.planning.state_machine import Machine
from espalier.orchestrator.planning.studies import Study, choices, counted, wanted_studies
from espalier.orchestrator.planning.task import Limits
from espalier.orchestrator.planning.time_left import worked
from espalier.orchestrator.record import provenance, record, recorded_config, refuse_another
from espalier.orchestrator.running import probing, recorded_bits
from espalier.orchestrator.running.driver import Driver, Outcome
from espalier.orchestrator.running.pool_makers import (
    Heard,
    PoolMaker,
    limits_before,
    ray_pool,
    slot_limits,
    slot_memory,
)
from espalier.orchestrator.running.progress import Lines, display
from espalier.orchestrator.running.straight_pool import straight
from espalier.orchestrator.running.time_limits import longest_attempt
from espalier.orchestrator.store.places import open_files
from espalier.orchestrator.store.sweep_store import Inventory, Store
from espalier.orchestrator.summary import Summary
from espalier.orchestrator.templates import make_one
from espalier.orchestrator.track import open_trackers
from espalier.orchestrator.tuning.run_studies import (
    Means,
    Tuned,
    better_since,
    read_rows,
    run_studies,
    tuned_parameters,
)
from espalier.tasks.data import images
from espalier.tasks.data.images import DataFacts
from espalier.tasks.data.sources.known_sources import is_path
from espalier.tasks.spec import is_state, segments_of


class Sweep:
    """A sweep in a folder (or at an fsspec URL).

    Args:
        where: The folder with `sweep.toml`, or a config.
        path: Where the results are kept: needed with a config, else by default where sweep.toml is. A run
            copies the sweep.toml of another folder there.

    Raises:
        ConfigError: The config describes no sweep.
    """

    def __init__(self, where: str | Path | SweepConfig, path: str | Path | None = None) -> None:
        self._origin: dict[str, Any] = {}
        self._recipe: bytes | None = None
        if isinstance(where, SweepConfig):
            if path is None:
                raise ConfigError(
                    "path: a sweep from a config needs the folder to write to, Sweep(config, path=...)"
                )
            self._home = self.path = path
            self.store, self.config = Store(path), where
        else:
            self._home, self.path = where, path or where
            self.store = Store(self.path)
            self.config = self._read_config()

    def _read_config(self) -> SweepConfig:
        """`sweep.toml`; a sweep begun in Python has none, and is told by `run.json`."""
        files = open_files(self._home)
        place = f"{files.root}/sweep.toml"
        try:
            recipe = files.read("sweep.toml")
        except FileNotFoundError:
            earlier = recorded_config(self.store) if self._home == self.path else None
            if earlier is None:
                raise ConfigError(make_one(place, str(self._home))) from None
            return earlier
        if self._home != self.path:
            self._recipe = recipe
        return SweepConfig.parse_toml(recipe, place)

    @cached_property
    def facts(self) -> DataFacts:
        """Shape and number of the images (docs/data.md)."""
        return images.facts(self.config.data.dataset, self.folder)

    @property
    def folder(self) -> str | None:
        """Where a relative `parquet:PATH` starts: the sweep's folder. Downloads have their own."""
        here = is_path(self.config.data.dataset) and "://" not in str(self._home)
        return str(Path(self._home).resolve()) if here else None

    @property
    def slots(self) -> int:
        """Slots of this machine: `run.slots`, or one per core."""
        return self.config.run.slots or os.cpu_count() or 1

    def plan(self, slots: int | None = None, slots_per_node: int | None = None) -> Plan:
        """What is missing now. Changes nothing in the folder.

        Without `run.memory_gib`, `slots_per_node` slots (default: all) share a memory such as this machine's.

        Raises:
            ConfigError: The layer list makes no network, or a job exceeds a slot's memory.
        """
        refuse_another(self.store, self.config, self.facts)
        count = slots or self.slots
        limits = Limits(slot_memory(self.config, slots_per_node or count), count)
        return self._missing(self.have(self.store.scan(repair=False)), limits).plan()

    def _missing(self, have: Have, limits: Limits) -> Missing:
        """What is missing, trained as the folder records."""
        ways = probing.choices(self.store)
        return what_is_missing(scope_of(self.config, self.facts, have, limits, self._where, ways))

    @property
    def _where(self) -> dict[str, Any]:
        run = self.config.run
        place = {"dataset": self.config.data.dataset, "folder": self.folder}
        return {**place, "device": run.device, "kernels": run.kernels}

    @cached_property
    def studies(self) -> list[Study]:
        """The studies that `[tune]` asks for, none without a space."""
        return wanted_studies(self.config, self.facts)

    def have(self, inventory: Inventory) -> Have:
        """What the folder holds."""
        log = self.store.read_table("jobs", skip_broken=True)
        diverged = log.filter(pc.field("outcome") == "diverged")["key"].to_pylist()
        trials = read_rows(self.store, "trials") if self.studies else []
        return Have(
            present=inventory.present,
            blobs=frozenset(inventory.blobs),
            hopeless=frozenset(diverged),
            tuned=tuned_parameters(read_rows(self.store, "tuned")),
            trials={study.key: counted(study, trials) for study in self.studies},
        )

    def run(
        self,
        *,
        address: str | None = None,
        pool: PoolMaker | None = None,
        show: Callable[[Plan, int], Lines] = display,
    ) -> Summary:
        """Do what is missing, and no more. Running again goes on where the last run stopped.

        Args:
            address: A Ray cluster to join (`auto`, or as RAY_ADDRESS); None starts Ray on this machine.
            pool: Another pool, such as `in_process`.
            show: Makes the progress display from the plan and the number of slots.

        Raises:
            ConfigError: The folder holds another config's sweep, a job exceeds a slot's memory, or a library
                that the config asks for is not installed.
            SharedFault: The images cannot be had or used, as a worker found.
            StoreLocked: Another run writes to this folder.
            StoreWriteError: The disk is full, say; what was published is whole.
        """
        start = time.monotonic()
        with self.store.lock():
            inventory = self.store.scan()
            if any(inventory.rows.values()):
                refuse_another(self.store, self.config, self.facts)
            self._bring_recipe()
            told = list[str]()
            trackers = open_trackers(self.config.track, self.store, told.append)
            limits = limits_before(self.config, self.slots, address)
            missing, plan, repaired = self._sound_plan(inventory, limits)
            self._collect(plan, told.append)
            if self.config.track.to:
                trackers.follow({"curves": self.store.read_table("curves", skip_broken=True)})
            if not plan.tasks and self._all_chosen():
                notes = better_since(
                    self.studies, *(read_rows(self.store, name) for name in ("trials", "tuned"))
                )
                tuned = Tuned(notes=(*notes, *told))
                return Summary(plan, Outcome(), time.monotonic() - start, repaired, tuned)
            self._origin = provenance()
            record(self.store, self.config, self.facts, self._origin)
            maker = pool or (lambda fetch, config, largest: ray_pool(fetch, config, largest, address))
            tuned, outcome = Tuned(), Outcome()
            with ExitStack() as stack:
                means = self._means(maker, plan, show, stack, told.append)
                try:
                    if self.studies:
                        tuned = run_studies(self.store, self.studies, means)
                        missing, plan, mended = self._sound_plan(self.store.inventory, limits)
                        repaired = tuple(dict.fromkeys((*repaired, *mended)))
                    if plan.tasks and not tuned.failures:
                        outcome = self._drive(missing, plan, means.pool(), show, trackers.follow, told.append)
                finally:
                    self.store.flush()
            tuned = replace(tuned, notes=(*tuned.notes, *told))
            return Summary(plan, outcome, time.monotonic() - start, repaired, tuned)

    def _collect(self, plan: Plan, tell: Callable[[str], None]) -> None:
        """Remove what workers left that were cut off from earlier runs, once none can be at it any more."""
        if self.store.inventory.strays:
            log = self.store.read_table("jobs", skip_broken=True)
            if line := self.store.collect(longest_attempt(plan.tasks, log, self.config.run.attempts)):
                tell(line)

    def _bring_recipe(self) -> None:
        """Put the sweep.toml of another folder beside the results."""
        if self._recipe is not None and self._recipe != self._beside():
            self.store.files.replace("sweep.toml", self._recipe)

    def _beside(self) -> bytes | None:
        return self.store.files.read("sweep.toml") if self.store.files.exists("sweep.toml") else None

    def verify(self) -> list[str]:
        """Read every part and checkpoint, whatever is remembered of them, and put aside what is broken.

        Returns:
            A message for each; the next run makes it again.

        Raises:
            StoreLocked: A run writes to this folder.
        """
        with self.store.lock():
            problems = self.store.scan(everything=True).problems
            return [*problems, *self._check(set(self.store.blobs()), {}), *self.store.files.mended()]

    def _all_chosen(self) -> bool:
        known = {row["study"] for row in read_rows(self.store, "tuned")}
        return all(study.key in known for study in self.studies)

    def _means(
        self,
        maker: PoolMaker,
        plan: Plan,
        show: Callable[[Plan, int], Lines],
        stack: ExitStack,
        tell: Callable[[str], None],
    ) -> Means:
        """What a run works with; the pool starts with its first use and ends with the stack.

        `tell` hears the notes of the jobs.
        """
        states: dict[str, bytes] = {}

        def fetch(name: str) -> bytes:
            return states[name] if name in states else self.store.read_blob(name)

        @cache
        def pool() -> Pool:
            largest = max((task.cost.memory for task in plan.tasks), default=0)
            run = self.config.run
            made = straight(maker(fetch, self.config, largest), self.store, run.blobs, tell)
            made = Heard(made, tell, run.attempts)
            stack.callback(made.close)
            return made

        return Means(pool, states, show, self.config.run.attempts, self._where, self._origin)

    def _sound_plan(self, inventory: Inventory, limits: Limits) -> tuple[Missing, Plan, tuple[str, ...]]:
        """What is missing, and the plan, made again while it rests on checkpoints that turn out broken."""
        problems = list(inventory.problems)
        while True:
            missing = self._missing(self.have(self.store.inventory), limits)
            plan = missing.plan()
            starts = {
                name: segment.start
                for task in plan.tasks
                for segment, name in zip(segments_of(task.job.payload), task.job.inputs, strict=False)
            }
            produced = {name for task in plan.tasks for name in task.produces}
            inputs = {name for task in plan.tasks for name in task.job.inputs}
            # What a job is to produce may lie there, broken: it would be kept, since published files are.
            broken = self._check((inputs | produced) & set(self.store.blobs()), starts)
            if not broken:
                self._drop_stale_states(plan)
                return missing, plan, (*problems, *self.store.files.mended())
            problems += broken

    def _check(self, names: set[str], starts: Mapping[str, int | None]) -> list[str]:
        """Messages about the broken among some checkpoints, which are put aside.

        `starts` gives by the name of a state the epoch from which training goes on.
        """
        if not names:
            return []
        from espalier.tasks.networks.checkpoint import verify

        return self.store.check_blobs(sorted(names), lambda name, data: verify(name, data, starts.get(name)))

    def _drop_stale_states(self, plan: Plan) -> None:
        """Optimizer states that no segment goes on from."""
        inputs = {name for task in plan.tasks for name in task.job.inputs}
        for name in self.store.blobs():
            if is_state(name) and name not in inputs:
                self.store.remove_blob(name)

    def _drive(
        self,
        missing: Missing,
        plan: Plan,
        pool: Pool,
        show: Callable[[Plan, int], Lines],
        follow: Callable[[Mapping[str, Any]], None],
        tell: Callable[[str], None],
    ) -> Outcome:
        facts = used(self.config, self.facts)
        slots = max(pool.slots, self.slots)
        limits, before = missing.scope.limits, missing.scope.ways
        there = slot_limits(limits, slots, pool.memories)
        if self.config.run.gpus_per_slot == "auto":  # the share of a GPU was chosen for jobs cut as before
            there = replace(there, memory=min(there.memory, limits.memory))
        ways, notes = self._ways(plan, pool, before)
        if ways != before or there != limits:
            plan = missing.on(there, ways).plan()
        machine = Machine(
            plan.tasks,
            self.store.blobs(),
            room=pool.slots,
            attempts=self.config.run.attempts,
            reduce=lambda task, lost: without(task, lost, facts),
            halve=lambda task: halves(task, facts),
        )
        with show(plan, pool.slots) as progress:
            log = on_device(self.store.read_table("jobs", skip_broken=True), self.config.run.device == "cuda")
            progress.recall(worked(log))
            for note in notes:
                progress.note(note)
                tell(note)
            driver = Driver(
                machine, pool, self.store, progress, partial(datetime.now, UTC), self._origin, follow
            )
            return driver.run()

    def _ways(self, plan: Plan, pool: Pool, recorded: Choices) -> tuple[Choices, list[str]]:
        """How this run trains the nets of a plan, tested on the pool that trains them, and what to tell."""
        device, facts = self.config.run.device, used(self.config, self.facts)
        trained = [segment for task in plan.tasks for segment in segments_of(task.job.payload)]
        asked = {probe_key(segment.snapshot.net, device) for segment in trained if segment.snapshot.epoch}
        if not asked:
            return recorded, []
        chosen = choices(self.config, self.facts, tuned_parameters(read_rows(self.store, "tuned")))
        every = probing.alike(nets(self.config, self.facts, chosen), self.config.train.epochs, facts, device)
        wanted = {key: every[key] for key in sorted(asked)}
        return recorded_bits.settle(self.store, pool, wanted, self._where, partial(datetime.now, UTC))
