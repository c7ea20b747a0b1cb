"""The studies of a sweep as a whole: what is missing of them, running them, and choosing each one's best.

The best is chosen once, when a study has its trials, and written to table `tuned`. A study may be given more
trials later; a better one is then told, and the nets keep what they were trained with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from espalier.cluster.pool import Pool
from espalier.orchestrator.config.tune_space import Parameters
from espalier.orchestrator.planning.kinds.trials import missing_trials
from espalier.orchestrator.planning.plan import Plan
from espalier.orchestrator.planning.studies import Study, chosen, counted, parameters_of, tuned_row
from espalier.orchestrator.planning.task import Task
from espalier.orchestrator.running.progress import Lines
from espalier.orchestrator.store.sweep_store import Store
from espalier.tasks.tables.axes import in_words
from espalier.tasks.tables.columns import SETTING_AXES
from espalier.tasks.tables.rows import table

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Tuned:
    """What running the studies came to: trials that ended, why some study has no best, and what to know."""

    trials: int = 0
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Means:
    """What running studies needs of a run.

    Attributes:
        pool: Gives the pool, which may start it.
        states: What that pool reads trials' states from.
        show: Makes the display.
        attempts: `run.attempts`.
        where: Goes into each job.
        origin: Versions, machine and commit, for the rows' metadata.
    """

    pool: Callable[[], Pool]
    states: dict[str, bytes]
    show: Callable[[Plan, int], Lines]
    attempts: int
    where: Mapping[str, Any]
    origin: Mapping[str, Any] = field(default_factory=dict[str, Any])


def read_rows(store: Store, name: str) -> list[dict[str, Any]]:
    """Rows of a table, those of broken parts left out."""
    return store.read_table(name, skip_broken=True).to_pylist() if store.row_count(name) else []


def tuned_parameters(rows: Rows) -> dict[str, Parameters]:
    """What was chosen, by the key of the study."""
    return {row["study"]: parameters_of(row) for row in rows}


def better_since(studies: Iterable[Study], rows: Rows, tuned: Rows) -> list[str]:
    """Of each study that went on to a better trial than the chosen one, a sentence."""
    by_study, told = {row["study"]: row for row in tuned}, list[str]()
    for study in studies:
        row, best = by_study.get(study.key), chosen(study, rows)
        if row is not None and best is not None and best["number"] != row["number"]:
            told.append(
                f"study {study.name}: trial {best['number']} ({study.tune.objective} {best['value']:.4g}) is "
                f"better than trial {row['number']} ({row['value']:.4g}), which was chosen from "
                f"{row['trials']} trials and which the nets keep; a folder of its own would take the other"
            )
    return told


def run_studies(store: Store, studies: Sequence[Study], means: Means) -> Tuned:
    """Run what is missing of the studies, and choose the best of each that has none yet."""
    rows, tuned = read_rows(store, "trials"), read_rows(store, "tuned")
    known = {row["study"] for row in tuned}
    missing = missing_trials(studies, {study.key: counted(study, rows) for study in studies}, means.where)
    ended, failures, notes = 0, list[str](), list[str]()
    if missing:
        ended, failures, notes = _run(store, studies, rows, missing, means)
        rows = read_rows(store, "trials")
    failed_studies = {failure.split(":")[0] for failure in failures}
    for study in studies:
        if study.key not in known and f"study {study.name}" not in failed_studies:
            failures += _choose(store, study, rows, means.origin)
    notes += better_since(studies, rows, read_rows(store, "tuned"))
    return Tuned(ended, tuple(failures), tuple(notes))


def _run(
    store: Store, studies: Sequence[Study], rows: Rows, missing: Sequence[Task], means: Means
) -> tuple[int, list[str], list[str]]:
    # here, since Optuna takes most of a second that other commands need not
    from espalier.orchestrator.tuning.journal import open_storage
    from espalier.orchestrator.tuning.optuna_study import Book
    from espalier.orchestrator.tuning.trial_driver import Tuner, publisher

    curves = read_rows(store, "trial_curves")
    storage, notes = open_storage(store, studies[0].tune.storage)
    publish = publisher(store, means.origin)
    owner = _address(store) if studies[0].tune.storage else None
    books = [Book(study, storage, owner, rows, curves, publish) for study in studies]
    total = sum(study.tune.trials for study in studies)
    plan = Plan(tuple(missing), done={"tune": total - len(missing)}, total={"tune": total})
    pool = means.pool()
    try:
        with means.show(plan, pool.slots) as progress:
            tuner = Tuner(
                books,
                pool,
                store,
                progress,
                means.states,
                means.attempts,
                means.where,
                partial(datetime.now, UTC),
            )
            tuner.run()
    finally:
        means.states.clear()
        storage.remove_session()
    return tuner.ended, tuner.failures, notes


def _address(store: Store) -> str:
    """The sweep's folder as everyone would call it."""
    return store.root if "://" in store.root else str(Path(store.root).resolve())


def _choose(store: Store, study: Study, rows: Rows, origin: Mapping[str, Any]) -> list[str]:
    """Write down a study's best, for good; a failure in words if no trial was completed."""
    row = tuned_row(study, rows)
    if row is None:
        states = [line["state"] for line in rows if line["study"] == study.key]
        each = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
        return [
            f"study {study.name}: none of its trials was completed ({each}), so there is no recipe for width "
            f"{study.width}: give tune.space lower learning rates, or more tune.trials"
        ]
    part = table("tuned", [row]).replace_schema_metadata({"espalier": json.dumps(dict(origin))})
    store.commit(f"tuned-{study.key}", {"tuned": part})
    return []


def choices_in_words(studies: Sequence[Study], tuned: Rows) -> list[str]:
    """What was chosen for each study, a line each; of its setting what not all studies share."""
    by_study = {row["study"]: row for row in tuned}
    axes = [study.axes() for study in studies]
    differing = [name for name, _, _ in SETTING_AXES if len({each[name] for each in axes}) > 1]
    lines = list[str]()
    for study, own in zip(studies, axes, strict=True):
        row = by_study.get(study.key)
        if row is not None:
            place = ", ".join([f"width {study.width}", *(f"{name} {own[name]}" for name in differing)])
            lines.append(
                f"{place}: {in_words(parameters_of(row))} ({row['objective']} {row['value']:.4g}, trial "
                f"{row['number']} of {row['trials']})"
            )
    return lines
