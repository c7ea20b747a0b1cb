"""The report of a sweep, or of several side by side: one self-contained HTML page and its figures."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from espalier.analysis.figures import answers_beside
from espalier.analysis.figures.captioned import CaptionedFigure
from espalier.analysis.figures.drawn_axes import read_back
from espalier.analysis.figures.style import png_bytes, svg_text
from espalier.analysis.report.chapters import Chapter
from espalier.analysis.report.markdown_page import markdown_page
from espalier.analysis.report.one_sweep import OneSweep, read_sweep
from espalier.analysis.report.rendering import DrawnFigure, Page, html_page
from espalier.analysis.tables import Tables
from espalier.orchestrator.store.local_files import STAGING
from espalier.orchestrator.store.places import open_files

FORMS: dict[str, tuple[str, Callable[[Page], str]]] = {
    "html": ("index.html", html_page),
    "md": ("report.md", markdown_page),
}
"""The file of each form, and what writes it."""


@dataclass(frozen=True, eq=False)
class Report:
    """What was written: the page's path, the fits of the last snapshot (a frame), and why it may be empty.

    Where there are several settings, or sweeps, `fits` has a column `setting`. `sweeps` are the tables of
    each sweep, `tables` those of the first.
    """

    path: Path
    sweeps: Sequence[Tables]
    fits: pd.DataFrame
    reason: str

    @property
    def tables(self) -> Tables:
        """The tables of the first sweep."""
        return self.sweeps[0]

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


def make_report(
    folder: str | os.PathLike[str],
    level: float = 0.9,
    bootstraps: int = 2000,
    *,
    beside: Sequence[str | os.PathLike[str]] = (),
    form: str = "html",
    output: str | os.PathLike[str] | None = None,
) -> Report:
    """Read a sweep's folder, finished or running, and write its report and figures (SVG, PNG, CSV).

    Args:
        folder: The sweep's folder, on a local disk.
        level: Coverage of the intervals.
        bootstraps: Resamples per fit.
        beside: Folders of further sweeps, which are set beside the first.
        form: `html` for a page, `md` for Markdown.
        output: The folder to write to. By default `report` in the sweep's folder; of several sweeps
            `report/beside-NAME` there, with the names of the others.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: A table is damaged, its rows cannot be compared, or an option is out of range.
    """
    folders = [folder, *beside]
    _check(folders, level, bootstraps, form)
    sweeps = [read_sweep(one, level, bootstraps) for one in folders]
    sweeps = _told_apart(sweeps)
    made = _together(sweeps)
    place = _place(sweeps, output)
    drawn = {one.name: _write_figure(place, one) for chapter in made for one in chapter.figures}
    page = Page(", ".join(sweep.name for sweep in sweeps), sweeps, made, drawn, level)
    if page.answered:
        place.write("answer.csv", page.answers().to_csv(index=False).encode())
    name, write = FORMS[form]
    path = place.write(name, write(page).encode())
    place.tidy()
    return Report(path, [sweep.tables for sweep in sweeps], _fits(made), sweeps[0].reason())


def _check(folders: Sequence[str | os.PathLike[str]], level: float, bootstraps: int, form: str) -> None:
    for folder in folders:
        if "://" in os.fspath(folder):
            raise ValueError(f"a report is written to a local folder; copy '{folder}' here first")
    if not 0 < level < 1 or bootstraps < 1:
        raise ValueError(f"level must lie between 0 and 1 and bootstraps be positive: {level}, {bootstraps}")
    if form not in FORMS:
        raise ValueError(f"format: found '{form}'; a report is one of {', '.join(FORMS)}")


def _told_apart(sweeps: Sequence[OneSweep]) -> list[OneSweep]:
    """Sweeps whose folders have one name are called by their whole path."""
    names = [sweep.name for sweep in sweeps]
    if len({sweep.place.resolve() for sweep in sweeps}) < len(sweeps):
        raise ValueError(f"a sweep beside itself: {', '.join(str(sweep.place) for sweep in sweeps)}")
    return [
        replace(sweep, name=str(sweep.place)) if names.count(sweep.name) > 1 else sweep for sweep in sweeps
    ]


@dataclass(frozen=True)
class _Place:
    """Where a report is written: a folder within a root, whose files are replaced whole."""

    root: Path
    folder: str

    def write(self, name: str, data: bytes) -> Path:
        """Put a file there and give its path."""
        open_files(self.root).replace(f"{self.folder}{name}", data)
        return self.root / self.folder / name

    def tidy(self) -> None:
        """Take away what writing left in a folder that is no sweep's."""
        if not self.folder:
            with suppress(OSError):
                (self.root / STAGING).rmdir()


def _place(sweeps: Sequence[OneSweep], output: str | os.PathLike[str] | None) -> _Place:
    if output is not None:
        return _Place(Path(output), "")
    others = [sweep.place.resolve().name for sweep in sweeps[1:]]
    return _Place(sweeps[0].place, "report/" + (f"beside-{'-'.join(others)}/" if others else ""))


def _together(sweeps: Sequence[OneSweep]) -> list[Chapter]:
    """The chapters of all sweeps; several of them, or of settings, are set side by side first."""
    made = [*sweeps[0].chapters] if len(sweeps) == 1 else [*_of_all(sweeps)]
    answers = {chapter.label: chapter.answers for chapter in made if chapter.of_setting}
    figures = list(answers_beside.captioned_figures(answers))
    if figures:
        made.insert(0, Chapter("Side by side", [], figures, of_setting=False))
    return made


def _of_all(sweeps: Sequence[OneSweep]) -> list[Chapter]:
    """The chapters of several sweeps, each called by its sweep too."""
    made = []
    for number, sweep in enumerate(sweeps, start=1):
        for chapter in sweep.chapters:
            label = f"{sweep.name}: {chapter.label}" if chapter.label else sweep.name
            made.append(replace(chapter.renamed(f"_s{number}" if number > 1 else ""), label=label))
    return made


def _fits(made: Sequence[Chapter]) -> pd.DataFrame:
    """The fits of all chapters, told apart by their label if there are several."""
    made = [chapter for chapter in made if chapter.of_setting]
    if len(made) == 1:
        return made[0].fits()
    frames = [chapter.fits().assign(setting=chapter.label) for chapter in made]
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)


def _write_figure(place: _Place, captioned: CaptionedFigure) -> DrawnFigure:
    drawn, svg = read_back(captioned.figure), svg_text(captioned.figure, captioned.name)
    place.write(f"{captioned.name}.svg", svg.encode())
    place.write(f"{captioned.name}.png", png_bytes(captioned.figure))
    place.write(f"{captioned.name}.csv", drawn.csv())
    return DrawnFigure(svg, drawn)
