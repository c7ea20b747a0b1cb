"""The report of a sweep: one self-contained HTML page and its figures."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from espalier.analysis.figures.captioned import CaptionedFigure
from espalier.analysis.figures.style import png_bytes, svg_text
from espalier.analysis.limits.selection import measured, warnings_of, where
from espalier.analysis.report.chapters import Chapter, chapters
from espalier.analysis.tables import Tables, load
from espalier.orchestrator.store.files import Files
from espalier.orchestrator.store.places import open_files

PAGE = "report/index.html"


@dataclass(frozen=True, eq=False)
class Report:
    """What was written: the page's path, the fits of the last snapshot (a frame), and why it may be empty.

    Where there are several settings `fits` has a column `setting`.
    """

    path: Path
    tables: Tables
    fits: pd.DataFrame
    reason: str

    def by_setting(self) -> list[tuple[str, list[dict[Any, Any]]]]:
        """The fits as rows by the setting's label, which is empty where there is one setting."""
        if "setting" not in self.fits.columns:
            return [("", self.fits.to_dict("records"))] if len(self.fits) else []
        return [
            (str(label), part.to_dict("records")) for label, part in self.fits.groupby("setting", sort=False)
        ]


def write_report(folder: str | os.PathLike[str], level: float = 0.9, bootstraps: int = 2000) -> Path:
    """Write `report/index.html` into a sweep's folder and return its path; arguments as `make_report`."""
    return make_report(folder, level, bootstraps).path


def make_report(folder: str | os.PathLike[str], level: float = 0.9, bootstraps: int = 2000) -> Report:
    """Read a sweep's folder, finished or running, and write its report and figures (SVG, PNG).

    Args:
        folder: The sweep's folder, on a local disk.
        level: Coverage of the intervals.
        bootstraps: Resamples per fit.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: A table is damaged, its rows cannot be compared, or an option is out of range.
    """
    place = Path(folder)
    if "://" in os.fspath(folder):
        raise ValueError(f"a report is written to a local folder; copy '{folder}' here first")
    if not 0 < level < 1 or bootstraps < 1:
        raise ValueError(f"level must lie between 0 and 1 and bootstraps be positive: {level}, {bootstraps}")
    tables = load(place, image_blocks=True)
    made = chapters(tables, level, bootstraps)
    files = open_files(place)
    svgs = {
        captioned.name: _write_figure(files, captioned) for chapter in made for captioned in chapter.figures
    }
    files.replace(PAGE, _page(files, place.resolve().name, tables, made, svgs, level).encode())
    return Report(place / PAGE, tables, _fits(made), _reason(made))


def _fits(made: Sequence[Chapter]) -> pd.DataFrame:
    """The fits of all chapters, told apart by their label if there are several."""
    made = [chapter for chapter in made if chapter.of_setting]
    if len(made) == 1:
        return made[0].fits()
    frames = [chapter.fits().assign(setting=chapter.label) for chapter in made]
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)


def _reason(made: Sequence[Chapter]) -> str:
    """Why there may be no fit."""
    snapshots = [chapter.snapshots[0] for chapter in made if chapter.snapshots]
    return snapshots[0].reason if snapshots else "there are no grafts between nets of one width yet"


def _write_figure(files: Files, captioned: CaptionedFigure) -> str:
    text = svg_text(captioned.figure, captioned.name)
    files.replace(f"report/{captioned.name}.svg", text.encode())
    files.replace(f"report/{captioned.name}.png", png_bytes(captioned.figure))
    return text


def _page(
    files: Files, name: str, tables: Tables, made: Sequence[Chapter], svgs: dict[str, str], level: float
) -> str:
    source = Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    return template.render(
        name=name,
        chapters=made,
        svgs={name: Markup(svg) for name, svg in svgs.items()},
        level=f"{100 * level:g} %",
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
