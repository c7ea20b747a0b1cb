"""The HTML of a report: its template, style and scripts in one text, and a policy that lets no other run."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from espalier.analysis.figures.drawn import Drawn
from espalier.analysis.report.chapters import Chapter
from espalier.analysis.report.one_sweep import OneSweep

LONG = 24
"""With more rows than this the first table has a box of its own, which scrolls."""
COLUMN_WORDS = {
    "excess": "untrained sources (null 'untrained')",
    "pool_ratio": "pools of nets (null 'pooled')",
    "cka": "CKA (similarity.measures)",
    "barrier": "barriers (barriers.pairs)",
}
"""Columns of the first table that are left out where no row has a value, and what would fill them."""
HERE = Path(__file__).parent
PLOTLY = "vendored/plotly-basic.min.js"


@dataclass(frozen=True, eq=False)
class DrawnFigure:
    """A figure's text as SVG, and what it shows."""

    svg: str
    drawn: Drawn


@dataclass(frozen=True, eq=False)
class Page:
    """What any form of a report is written from; `drawn` are the figures by name."""

    name: str
    sweeps: Sequence[OneSweep]
    chapters: Sequence[Chapter]
    drawn: Mapping[str, DrawnFigure]
    level: float

    @property
    def several(self) -> bool:
        """Whether there are chapters to be told apart."""
        return len(self.chapters) > 1

    @property
    def settings(self) -> bool:
        """Whether there are settings, or sweeps, to be told apart: a chapter on tuning is about none."""
        return sum(chapter.of_setting for chapter in self.chapters) > 1

    @property
    def answered(self) -> list[dict[str, Any]]:
        """The parts of the first table: the label, the chapter's id and the rows of each setting."""
        parts = [
            {"label": chapter.label, "id": f"chapter-{number}", "rows": chapter.answers.to_dict("records")}
            for number, chapter in enumerate(self.chapters, start=1)
            if chapter.of_setting
        ]
        return [part for part in parts if part["rows"]]

    def answers(self) -> pd.DataFrame:
        """The first table as a frame, with a column `setting` if there are several of them."""
        frames = [chapter.answers for chapter in self.chapters if len(chapter.answers)]
        if not self.settings:
            return frames[0]
        told = [chapter.label for chapter in self.chapters if len(chapter.answers)]
        return pd.concat(
            [frame.assign(setting=label) for label, frame in zip(told, frames, strict=True)],
            ignore_index=True,
        )

    @property
    def short(self) -> str:
        """The answer in a sentence, where there is one setting."""
        return next((chapter.short for chapter in self.chapters if chapter.short), "") * (not self.settings)

    def known(self) -> dict[str, bool]:
        """Which of the columns that may be empty have a value in any row."""
        answers = self.answers()
        return {name: bool(answers[name].notna().to_numpy().any()) for name in COLUMN_WORDS}

    def same(self, column: str) -> Any:
        """What a column of the first table has in every row; nothing where rows differ."""
        known = {value for value in self.answers()[column].tolist() if value == value and value}
        return known.pop() if len(known) == 1 else ""


def html_page(page: Page) -> str:
    """The page as one text that needs no other file."""
    scripts = _scripts() if page.drawn else _scripts()[1:]
    shown = {
        name: {"svg": Markup(_labelled(one.svg)), "data": Markup(_json(one.drawn.plain()))}
        for name, one in page.drawn.items()
    }
    answered = page.answered
    rows = sum(len(part["rows"]) for part in answered)
    known = page.known() if answered else {}
    return _template("report.html.jinja").render(
        name=page.name,
        sweeps=page.sweeps,
        chapters=[_Shown.of(chapter) for chapter in page.chapters],
        several=page.several,
        settings=page.settings,
        answered=answered,
        short=page.short,
        long=rows > LONG,
        known=known,
        unknown=[words for name, words in COLUMN_WORDS.items() if not known.get(name)],
        epoch=int(page.same("epoch") or 0) if answered else 0,
        barrier_of=page.same("barrier_of") if answered else "",
        problems=next((sweep.problems for sweep in page.sweeps if sweep.problems), []),
        drawn=shown,
        level=f"{100 * page.level:g} %",
        css=Markup(_text("page.css")),
        scripts=[Markup(script) for script in scripts],
        policy=policy(scripts),
    )


@dataclass(frozen=True, eq=False)
class _Shown:
    """A chapter as the template reads it: its sentence is worked out once."""

    chapter: Chapter
    short: str
    answer: bool

    @classmethod
    def of(cls, chapter: Chapter) -> _Shown:
        return cls(chapter, chapter.short, len(chapter.answers) > 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chapter, name)


def policy(scripts: Sequence[str]) -> str:
    """A content security policy that runs these scripts and loads nothing."""
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _digest(script: str) -> str:
    return b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _scripts() -> tuple[str, str]:
    """The library that draws, and the page's own script; as an HTML parser hands them on."""
    return _text(PLOTLY), _text("page.js")


@cache
def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"readable": readable, "powers": powers}
    return environment.from_string(_text(name))


def _json(value: Any) -> str:
    """JSON that may stand in a script element: nothing in it can end that."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _labelled(svg: str) -> str:
    """A figure's SVG for inside an element that has its label: no reader spells out its parts."""
    return svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)


_VALUE = r"[^\s;()]*[^\s;().,:](?: \[[^\]]*\])?"
_BY_LAYER = re.compile(rf"layer \d+: {_VALUE}(?:; layer \d+: {_VALUE})+")
_POWER = re.compile(r"\bw\^(-?)([\w.]*\w)")
_ASIDE = re.compile(r" \([^()]*\d[^()]*(?:interval|rows|warning|bound)[^()]*\)")


def readable(sentence: str) -> Markup:
    """A finding with the values of its layers set apart, and its remarks on rows in small type.

    >>> str(readable("at layer 2: 1; layer 3: 2"))
    'at <span class="layers"><span>layer 2: 1</span><span>layer 3: 2</span></span>'
    >>> str(readable("layer 2: 0.3 [0.2, 0.4]; layer 3: 0.37. So")).removeprefix('<span class="layers">')
    '<span>layer 2: 0.3 [0.2, 0.4]</span><span>layer 3: 0.37</span></span>. So'
    >>> str(readable("it falls (90 % intervals; 3 rows)"))
    'it falls<span class="aside"> (90 % intervals; 3 rows)</span>'
    """
    text = escape(sentence)
    text = _BY_LAYER.sub(_chips, powers(text))
    return Markup(_ASIDE.sub(lambda found: f'<span class="aside">{found.group()}</span>', text))


def powers(text: str) -> Markup:
    """A text with its powers of the width set as such.

    >>> powers("falls as w^-0.50")
    Markup('falls as w<sup>−0.50</sup>')
    """
    return Markup(_POWER.sub(lambda one: f"w<sup>{'−' * bool(one[1])}{one[2]}</sup>", escape(text)))


def _chips(found: re.Match[str]) -> str:
    parts = "".join(f"<span>{part}</span>" for part in found.group().split("; "))
    return f'<span class="layers">{parts}</span>'
