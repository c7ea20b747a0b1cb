"""What a report needs to know of one sweep's folder: its tables, its chapters, and what was run."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from espalier.analysis.limits.selection import measured, warnings_of, where
from espalier.analysis.report.chapters import Chapter, chapters
from espalier.analysis.tables import Tables, load
from espalier.orchestrator.store.files import Files
from espalier.orchestrator.store.places import open_files


@dataclass(frozen=True, eq=False)
class OneSweep:
    """A sweep: the name of its folder, its tables and chapters, what was run, and what failed."""

    name: str
    place: Path
    tables: Tables
    chapters: list[Chapter]
    facts: list[tuple[str, str]]
    problems: list[dict[str, Any]]
    toml: str
    run: dict[str, Any]

    def reason(self) -> str:
        """Why there may be no fit."""
        snapshots = [chapter.snapshots[0] for chapter in self.chapters if chapter.snapshots]
        return snapshots[0].reason if snapshots else "there are no grafts between nets of one width yet"


def read_sweep(folder: str | os.PathLike[str], level: float, bootstraps: int) -> OneSweep:
    """Read a sweep's folder, finished or running, and make its chapters.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: A table is damaged, or its rows cannot be compared.
    """
    place = Path(folder)
    tables = load(place, image_blocks=True)
    files = open_files(place)
    return OneSweep(
        name=place.resolve().name,
        place=place,
        tables=tables,
        chapters=chapters(tables, level, bootstraps),
        facts=_facts(tables),
        problems=_problems(tables.jobs),
        toml=_text(files, "sweep.toml"),
        run=_run(files),
    )


def _facts(tables: Tables) -> list[tuple[str, str]]:
    """What was run, as pairs of words and numbers."""
    nets, grafts, jobs = tables.nets, tables.grafts, tables.jobs
    warned = (warnings_of(grafts) != "").mean() if len(grafts) else 0.0
    widths = ", ".join(map(str, sorted(nets["width"].unique()))) or "none yet"
    mute = len(grafts) - len(measured(grafts, "fvu_test"))
    left_out = [("rows left out of means", f"{mute} grafts: constant target, or error below its floor")]
    return [
        ("nets", f"{nets['net'].nunique()} ({len(nets)} snapshots)"),
        ("widths", widths),
        ("seeds", str(nets["seed"].nunique())),
        ("grafts", f"{_pairs_in_words(grafts)} (pair × layer × epoch)"),
        ("rows with a warning", f"{100 * warned:.1f} % of grafts"),
        *(left_out if mute else []),
        ("tables", ", ".join(f"{len(rows):,} {name}" for name, rows in tables.frames().items() if len(rows))),
        ("computing time", _hours(float(jobs.loc[jobs["outcome"] == "done", "seconds"].sum()))),
        (
            "jobs",
            ", ".join(f"{n} {outcome}" for outcome, n in jobs["outcome"].value_counts().items()) or "none",
        ),
    ]


def _pairs_in_words(grafts: pd.DataFrame) -> str:
    real = where(grafts, grafts["null"] == "none")
    each = [f"{count:,} {name}" for name, count in real["pairing"].value_counts().items()]
    told = f" ({', '.join(each)})" if len(each) > 1 else ""
    return f"{len(real):,} of real pairs{told}, {len(grafts) - len(real):,} nulls"


def _hours(seconds: float) -> str:
    """A time in words, from `12 s` to `3.4 h` (of work inside workers, all of them together)."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _problems(jobs: pd.DataFrame) -> list[dict[str, Any]]:
    diverged_trial = (jobs["kind"] == "tune") & (
        jobs["outcome"] == "diverged"
    )  # the studies' chapter counts them
    return where(jobs, (jobs["outcome"] != "done") & ~diverged_trial).to_dict("records")


def _text(files: Files, name: str) -> str:
    """A file's text; nothing if there is none."""
    try:
        return files.read(name).decode(errors="replace")
    except OSError:
        return ""


def _run(files: Files) -> dict[str, Any]:
    """`run.json` without its copy of the config; empty if it is missing or is not JSON."""
    try:
        found = json.loads(_text(files, "run.json") or "{}")
    except (json.JSONDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
