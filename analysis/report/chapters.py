"""A chapter of a report: the findings about one setting's nets, or about pairs of nets of two settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from espalier.analysis.figures import between_settings, study_figures
from espalier.analysis.figures.captioned import CaptionedFigure
from espalier.analysis.figures.report_figures import captioned_figures, more_findings
from espalier.analysis.figures.similarity_words import table_rows
from espalier.analysis.limits.selection import plain_grafts
from espalier.analysis.limits.settings import Setting, by_setting
from espalier.analysis.limits.similarity_fits import compare
from espalier.analysis.limits.snapshots import EXCESS_COLUMNS, SnapshotFits, end_fits
from espalier.analysis.limits.width_limit import COLUMNS
from espalier.analysis.report.answer import answer, in_short
from espalier.analysis.report.findings import findings
from espalier.analysis.tables import Tables


@dataclass(frozen=True, eq=False)
class Chapter:
    """Its label (empty if its setting is the only one), sentences, figures, and fits.

    The fits are those of the last and the first snapshot. `of_setting`: it is about one setting's nets.
    `compared` are rows of `analysis.limits.similarity_summary` of the widest nets, `answers` those of
    `analysis.report.answer`.
    """

    label: str
    findings: Sequence[str]
    figures: Sequence[CaptionedFigure]
    snapshots: Sequence[SnapshotFits] = ()
    of_setting: bool = True
    compared: Sequence[Mapping[str, Any]] = ()
    answers: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def short(self) -> str:
        """One sentence about all its layers."""
        return in_short(self.answers) if len(self.answers) else ""

    def renamed(self, suffix: str) -> Chapter:
        """The same, with a suffix to the names of its figures."""
        named = [replace(captioned, name=captioned.name + suffix) for captioned in self.figures]
        return replace(self, figures=named)

    def fits(self) -> pd.DataFrame:
        """The fits of the last snapshot."""
        last = self.snapshots[0].table() if self.snapshots else []
        return pd.DataFrame(last, columns=["layer", *COLUMNS, *EXCESS_COLUMNS])


def chapters(tables: Tables, level: float, bootstraps: int) -> list[Chapter]:
    """One chapter per setting, one on pairs of nets of two settings and one on studies where there are such.

    Settings are never averaged. Names of the figures of the second setting and on end in its number.
    """
    settings = by_setting(tables)
    made = [_chapter(setting, level, bootstraps) for setting in settings]
    named = [chapter.renamed(f"_{number}" if number else "") for number, chapter in _numbered(made)]
    between = list(between_settings.captioned_figures(tables)) if len(settings) > 1 else []
    if between:
        said = between_settings.findings(tables, level)
        named.append(Chapter("Between settings", said, between, of_setting=False))
    if len(tables.trials):
        said = study_figures.findings(tables.trials, tables.tuned)
        drawn = list(study_figures.captioned_figures(tables.trials, tables.tuned))
        named.append(Chapter("Tuning", said, drawn, of_setting=False))
    return named


def _chapter(setting: Setting, level: float, bootstraps: int) -> Chapter:
    grafts = plain_grafts(setting.tables.grafts)
    last, first = end_fits(grafts, level, bootstraps)
    compared = compare(setting.tables.similarity, level, bootstraps)
    said = [
        *(findings(grafts, last) if last else []),
        *more_findings(setting.tables, compared, level),
    ]
    figures = list(captioned_figures(setting.tables, last, first, compared))
    fits = [fits for fits in (last, first) if fits]
    answers = answer(setting.tables, last, compared, level)
    return Chapter(setting.label, said, figures, fits, compared=table_rows(compared), answers=answers)


def _numbered(made: Sequence[Chapter]) -> list[tuple[int, Chapter]]:
    """Chapters with the number that their figures' names end in; those of the first have none."""
    return [(number if number > 1 else 0, chapter) for number, chapter in enumerate(made, start=1)]
