"""The report of a sweep: one self-contained HTML page and its figures."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from analysis.findings import findings
from analysis.limits import COLUMNS
from analysis.plates import Plate, SnapshotFits, make_plates, snapshot_fits
from analysis.selection import comparable, plain_grafts, where
from analysis.style import png_bytes, svg_text
from analysis.tables import Tables, load


@dataclass(frozen=True, eq=False)
class Report:
    """What was written: the page's path, the fits of the last snapshot (a frame), and why it may be empty."""

    path: Path
    tables: Tables
    fits: pd.DataFrame
    reason: str


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
    whole = load(place)
    tables = replace(whole, grafts=plain_grafts(whole.grafts))
    last, first = _snapshots(tables.grafts, level, bootstraps)
    plates = list(make_plates(tables, last, first))
    where_to = place / "report"
    where_to.mkdir(exist_ok=True)
    svgs = {plate.name: _write_figure(where_to, plate) for plate in plates}
    page = _page(place, tables, last, first, plates, svgs, level)
    (where_to / "index.html").write_text(page, encoding="utf-8")
    fits = pd.DataFrame([fit.row() for fit in last.fits] if last else [], columns=["layer", *COLUMNS])
    return Report(where_to / "index.html", whole, fits, last.reason if last else "there are no grafts yet")


def _snapshots(
    grafts: pd.DataFrame, level: float, bootstraps: int
) -> tuple[SnapshotFits | None, SnapshotFits | None]:
    """The fits of the last snapshot and of the initial nets; None where there is no row."""
    real = comparable(grafts, ["layer", "target_epoch"])
    epochs = sorted(real["target_epoch"].unique())
    if not epochs:
        return None, None
    last = snapshot_fits(grafts, int(epochs[-1]), level, bootstraps)
    first = snapshot_fits(grafts, 0, level, bootstraps) if epochs[0] == 0 and len(epochs) > 1 else None
    return last, first


def _write_figure(folder: Path, plate: Plate) -> str:
    text = svg_text(plate.figure, plate.name)
    (folder / f"{plate.name}.svg").write_text(text, encoding="utf-8")
    (folder / f"{plate.name}.png").write_bytes(png_bytes(plate.figure))
    return text


def _page(
    place: Path,
    tables: Tables,
    last: SnapshotFits | None,
    first: SnapshotFits | None,
    plates: list[Plate],
    svgs: dict[str, str],
    level: float,
) -> str:
    source = Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    return template.render(
        name=place.resolve().name,
        plates=[(plate, Markup(svgs[plate.name])) for plate in plates],
        findings=findings(tables.grafts, last.fits) if last else [],
        fit_tables=[(fits, [fit.row() for fit in fits.fits]) for fits in (last, first) if fits],
        level=f"{100 * level:g} %",
        facts=_facts(tables),
        problems=_problems(tables.jobs),
        toml=_text(place / "sweep.toml"),
        run=_run(place / "run.json"),
    )


def _facts(tables: Tables) -> list[tuple[str, str]]:
    """What was run, as pairs of words and numbers."""
    nets, grafts, jobs = tables.nets, tables.grafts, tables.jobs
    real = where(grafts, grafts["null"] == "none")
    warned = (grafts["warning"].fillna("") != "").mean() if len(grafts) else 0.0
    widths = ", ".join(map(str, sorted(nets["width"].unique()))) or "none yet"
    return [
        ("nets", f"{nets['net'].nunique()} ({len(nets)} snapshots)"),
        ("widths", widths),
        ("seeds", str(nets["seed"].nunique())),
        ("grafts", f"{len(real):,} of real pairs, {len(grafts) - len(real):,} nulls (pair × layer × epoch)"),
        ("rows with a warning", f"{100 * warned:.1f} % of grafts"),
        ("computing time", _hours(float(jobs.loc[jobs["outcome"] == "done", "seconds"].sum()))),
        (
            "jobs",
            ", ".join(f"{n} {outcome}" for outcome, n in jobs["outcome"].value_counts().items()) or "none",
        ),
    ]


def _hours(seconds: float) -> str:
    """A time in words, from `12 s` to `3.4 h` (of work inside workers, all of them together)."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _problems(jobs: pd.DataFrame) -> list[dict[str, Any]]:
    return where(jobs, jobs["outcome"] != "done").to_dict("records")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _run(path: Path) -> dict[str, Any]:
    """`run.json` without its copy of the config; empty if it is missing or is not JSON."""
    try:
        found = json.loads(_text(path) or "{}")
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
