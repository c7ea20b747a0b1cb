"""The report as Markdown, for a notebook or a repository: the same answer, findings and figures."""

from __future__ import annotations

import re
from typing import Any

from espalier.analysis.report.answer import PLATEAU
from espalier.analysis.report.rendering import Page

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&])")
_HEAD = ("layer", "exponent", "plateau", "trained − untrained", "one net / pool", "p", "CKA", "barrier")


def markdown_page(page: Page) -> str:
    """The page as one text; figures are PNG files beside it, with the SVG and the numbers linked."""
    parts = [f"# Sweep{'s' if len(page.sweeps) > 1 else ''} {escaped(page.name)}", *_answer(page)]
    for chapter in page.chapters:
        if page.several:
            parts.append(f"## {escaped(chapter.label or 'Grafts')}")
        if chapter.short and page.settings:
            parts.append(escaped(chapter.short))
        for figure in chapter.figures:
            parts.append(f"### {escaped(figure.title)}\n\n![{escaped(figure.title)}]({figure.name}.png)")
            parts.append(
                f"{escaped(figure.reading)} [SVG]({figure.name}.svg) · [PNG]({figure.name}.png) · "
                f"[CSV]({figure.name}.csv)"
            )
        if chapter.findings:
            told = "\n".join(f"- {escaped(sentence)}" for sentence in chapter.findings)
            parts.append(f"### What was found, with its numbers\n\n{told}")
    for sweep in page.sweeps:
        facts = "\n".join(f"- {escaped(word)}: {escaped(value)}" for word, value in sweep.facts)
        name = f": {escaped(sweep.name)}" if len(page.sweeps) > 1 else ""
        parts.append(f"## What was run{name}\n\n{facts}")
    return "\n\n".join(parts) + "\n"


def _answer(page: Page) -> list[str]:
    answered = page.answered
    if not answered:
        return ["There are no grafts yet."]
    head = [*(["setting"] if page.settings else []), *_HEAD]
    lines = [_line(head), _line(["---"] * len(head))]
    said = []
    for part in answered:
        named = [escaped(part["label"])] if page.settings else []
        for row in part["rows"]:
            lines.append(_line([*named, *_cells(row)]))
            place = ", ".join([*named, f"layer {row['layer']}"])
            said.append(f"- {place}: {escaped(row['said'])}")
    short = [escaped(page.short)] if page.short else []
    note = f"Brackets cover {100 * page.level:g} % each, over nets. –: not in the tables, or no fit."
    return ["## The answer", *short, "\n".join(lines), "\n".join(said), note]


def _cells(row: dict[str, Any]) -> list[str]:
    plateau = "–"
    if row["model"] == PLATEAU:
        plateau = f"yes {_told(row, 'c', '.2g')}"
    elif row["model"]:
        plateau = f"no (up to {row['c_high']:.2g})" if row["c_high"] == row["c_high"] else "no"
    return [
        escaped(f"{row['layer']} · {row['layer_name']}"),
        _told(row, "alpha", ".2f"),
        plateau,
        _told(row, "excess", "+.2g"),
        _number(row["pool_ratio"], ".2f"),
        _least(row["p_exchangeable"], row["least_p"]),
        _number(row["cka"], ".2f"),
        _told(row, "barrier", ".2g"),
    ]


def _told(row: dict[str, Any], name: str, form: str) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    return f"{value:{form}} \\[{low:{form}}, {high:{form}}\\]" if low == low else _number(value, form)


def _number(value: float, form: str) -> str:
    return f"{value:{form}}" if value == value else "–"


def _least(value: float, least: float) -> str:
    """A p-value with the least that there could be."""
    return f"{value:.2f} (≥ {least:.2g})" if least == least else _number(value, ".2f")


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    """A text as Markdown shows it letter by letter, in one line.

    >>> print(escaped("a|b <i> w^-a [1, 2]"))
    a\\|b \\<i\\> w^-a \\[1, 2\\]
    """
    return _SPECIAL.sub(r"\\\1", re.sub(r"\s+", " ", text))
