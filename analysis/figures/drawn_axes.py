"""Read what the axes of a figure of matplotlib show: marks, lines, bars, bands, matrices and texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import Collection, LineCollection, PathCollection, PolyCollection
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator
from numpy.typing import ArrayLike, NDArray

from espalier.analysis.figures.drawn import Axis, Band, Cells, Drawn, Panel, Series, Words, number

Floats = NDArray[np.float64]
Labels = dict[str, list[str]]
"""By colour the labels of the legend, in their order."""
_DASHES = {"-": "", "--": "dash", ":": "dot", "-.": "dashdot"}
_NO_MARK = ("None", "none", "", " ", None)


def read_back(figure: Figure) -> Drawn:
    """What a figure of matplotlib shows."""
    return Drawn(panels_of(figure), columns_of(figure), legend_title(figure))


def panels_of(figure: Figure) -> list[Panel]:
    """The panels that are shown, in their order; bars of colours are none."""
    shown = [axes for axes in figure.axes if axes.get_visible() and axes.get_label() != "<colorbar>"]
    bars = [axes.get_ylabel() for axes in figure.axes if axes.get_label() == "<colorbar>"]
    groups = _group_of_colours(shown)
    measure = bars[0] if bars else ""
    return [_panel(figure, axes, groups, measure) for axes in shown]


def columns_of(figure: Figure) -> int:
    """How many panels stand beside each other."""
    starts = [axes.get_subplotspec() for axes in figure.axes if axes.get_visible()]
    return 1 + max((spec.colspan.start for spec in starts if spec is not None), default=0)


def legend_title(figure: Figure) -> str:
    """The title of the legend, whichever has one."""
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    return next((text for one in legends if one and (text := one.get_title().get_text())), "")


def _panel(figure: Figure, axes: Axes, groups: Labels, measure: str) -> Panel:
    shared = (figure.get_supxlabel(), figure.get_supylabel())
    x, y = (
        _axis(axes, which, label)
        for which, label in zip("xy", (_bottom(figure, axes) or shared[0], shared[1]), strict=True)
    )
    titles = (axes.get_title(), axes.get_title(loc="left"))
    return Panel(
        title=next((one_line(text) for text in titles if text), ""),
        x=x,
        y=y,
        series=[*_containers(axes, x, groups), *_lines(axes, x, groups), *_discs(axes, x, groups)],
        bands=[*_bands(axes, x, groups)],
        cells=_cells(axes, x.words, y.words, measure),
        words=[*_texts(axes)],
    )


def one_line(text: str) -> str:
    """A text of several lines in one, without the marks of mathematics.

    >>> one_line("slope of $w^{-1}$"), one_line("2\\nconv2")
    ('slope of w^-1', '2 conv2')
    """
    text = re.sub(r"[${}]", "", text) if "$" in text else text
    return re.sub(r"\s+", " ", text).strip()


def _bottom(figure: Figure, axes: Axes) -> str:
    """The label of an x axis, or of the one that panels share below them."""
    if axes.get_xlabel():
        return axes.get_xlabel()
    shared = axes.get_shared_x_axes()
    joined = [other for other in figure.axes if shared.joined(axes, other)]
    return next((other.get_xlabel() for other in joined if other.get_xlabel()), "")


def _axis(axes: Axes, which: str, shared: str) -> Axis:
    """An axis of a panel; one of several that share a label has it from the figure."""
    axis, scale = getattr(axes, f"{which}axis"), getattr(axes, f"get_{which}scale")()
    label = one_line(axis.get_label().get_text() or shared)
    low, high = (float(end) for end in getattr(axes, f"get_{which}lim")())
    fixed = isinstance(axis.get_major_locator(), FixedLocator)
    if scale == "linear" and not fixed:
        return Axis(label, "linear", (low, high))
    inside = sorted((low, high))
    ticks = [float(tick) for tick in axis.get_major_locator()() if inside[0] <= tick <= inside[1]]
    named = isinstance(getattr(axis.get_major_formatter(), "func", None), partial)  # `set_ticks` with labels
    words = [f"{tick:g}" for tick in ticks]
    if named:
        words = [one_line(text) for text in axis.get_major_formatter().format_ticks(ticks)]
    if scale in ("linear", "log"):
        return Axis(label, scale, (low, high), ticks, words, named)
    placed = _placed(axes, which, [low, high, *ticks])
    return Axis(label, "placed", (placed[0], placed[1]), placed[2:], words, named)


def _placed(axes: Axes, which: str, values: ArrayLike) -> list[float]:
    """Where values lie on an axis that is neither linear nor logarithmic."""
    transform = getattr(axes, f"{which}axis").get_transform()
    return [float(place) for place in transform.transform(np.asarray(values, dtype=np.float64))]


def _named(axis: Axis, x: Sequence[float]) -> tuple[list[Any], list[float]]:
    """Values on an x axis, and their places if these differ; of an axis with names the nearest name."""
    if not axis.named or not len(axis.ticks):
        return [*x], []
    ticks = np.asarray(axis.ticks)
    return [axis.words[int(np.abs(ticks - place).argmin())] for place in x], [*x]


def _places(axes: Axes, axis: Axis, x: Sequence[float]) -> tuple[list[Any], list[float]]:
    if axis.scale == "placed":
        return [*x], _placed(axes, "x", x)
    return _named(axis, x)


def _group_of_colours(shown: Sequence[Axes]) -> Labels:
    """For each colour the labels that it is shown with: what is drawn without a label goes with the first."""
    found: Labels = {}
    for axes in shown:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            colour = _colour(handle)
            if colour:
                found.setdefault(colour, []).append(label)
    return found


def _colour(handle: Any) -> str:
    if isinstance(handle, ErrorbarContainer):
        handle = handle.lines[0]
    return to_hex(handle.get_color()) if isinstance(handle, Line2D) else ""


class _Entry(NamedTuple):
    """What something is called, the entry of the legend that it goes with, and whether it is that entry."""

    name: str
    group: str
    listed: bool


def _entry(label: str, colour: str, groups: Labels, else_: str) -> _Entry:
    """Of what has a label that one; else the first of its colour.

    A label with `_` is in no legend: it goes with the longest label of its colour that it begins with.
    """
    if label and not label.startswith("_"):
        return _Entry(one_line(label.replace("\n", "; ")), _short(label), True)
    own = "" if label.startswith(("_child", "_nolegend")) else one_line(label.removeprefix("_"))
    known = [_short(one) for one in groups.get(colour, [])]
    begun = [one for one in known if f"{own},".startswith(f"{one},")]
    group = max(begun, key=len, default=known[0] if known else "")
    return _Entry(own or f"{group}, {else_}".removeprefix(", "), group, False)


def _short(label: str) -> str:
    """A label without what it says after a colon.

    >>> _short("2 · conv2: α = 1.37")
    '2 · conv2'
    """
    return one_line(label).split(": ")[0]


def _containers(axes: Axes, axis: Axis, groups: Labels) -> Iterator[Series]:
    """Values with their bars."""
    for container in axes.containers:
        if not isinstance(container, ErrorbarContainer):
            continue
        line, _, bars = container.lines
        shown = _series(axes, axis, line, str(container.get_label() or ""), groups)
        ends = _ends(bars, _known(_points(line)))
        if shown is None or not ends:
            yield from [shown] if shown else []
            continue
        thick = float(np.atleast_1d(np.asarray(bars[0].get_linewidth(), dtype=np.float64))[0])
        yield _with_bars(shown, ends, thick)


def _ends(bars: Sequence[LineCollection], kept: NDArray[np.bool_]) -> list[Floats]:
    """Both ends of the bars of the places that are kept; none if the bars are not one a place."""
    paths = [path for one in bars for path in one.get_paths()]  # `get_segments` leaves out an unknown end
    if len(paths) != len(kept):
        return []
    ends = [np.asarray(path.vertices, dtype=np.float64)[:, 1] for path in paths]
    return [end for end, there in zip(ends, kept, strict=True) if there]


def _points(line: Line2D) -> Floats:
    """Its places, [points, 2]."""
    return np.column_stack([np.asarray(part, dtype=np.float64) for part in line.get_data()])


def _known(points: Floats) -> NDArray[np.bool_]:
    """Which of them are shown, [points]."""
    return np.asarray(np.isfinite(points).all(axis=1))


def _with_bars(shown: Series, ends: Sequence[Floats], thick: float) -> Series:
    low, high = ([number(float(pick(end))) for end in ends] for pick in (np.min, np.max))
    found = replace(shown, low=low, high=high)
    return found if shown.marker or shown.dash or shown.listed else replace(found, width=thick)


def _lines(axes: Axes, axis: Axis, groups: Labels) -> Iterator[Series]:
    """Lines and marks without bars."""
    own = {line for one in axes.containers if isinstance(one, ErrorbarContainer) for line in _parts(one)}
    for line in axes.get_lines():
        if line not in own and (shown := _series(axes, axis, line, str(line.get_label()), groups)):
            yield shown


def _parts(container: ErrorbarContainer) -> list[Any]:
    line, caps, _ = container.lines
    return [line, *caps]


def _series(axes: Axes, axis: Axis, line: Line2D, label: str, groups: Labels) -> Series | None:
    if not line.get_visible():
        return None
    points = _points(line)
    across = line.get_transform() != axes.transData  # a line at one height, or marks at the foot
    if across:
        points = axes.transData.inverted().transform(line.get_transform().transform(points))
    points = points[_known(points)]
    if not len(points):
        return None
    colour = to_hex(line.get_color())
    x, at = _places(axes, axis, [number(float(place)) for place in points[:, 0]])
    style = str(line.get_linestyle())
    mark = "" if line.get_marker() in _NO_MARK else str(line.get_marker())
    name, group, listed = _entry(label, colour, {} if across else groups, "marks" if mark else "line")
    return Series(
        name,
        group,
        x,
        [number(float(value)) for value in points[:, 1]],
        at=at,
        color=colour,
        dash="none" if style in _NO_MARK else _DASHES.get(style, "dash"),
        marker=mark,
        hollow=bool(mark) and str(line.get_markerfacecolor()) == "none",
        step="steps" in str(line.get_drawstyle()),
        width=float(line.get_linewidth()),
        listed=listed,
    )


def _discs(axes: Axes, axis: Axis, groups: Labels) -> Iterator[Series]:
    """Discs whose area says something."""
    for one in axes.collections:
        if not isinstance(one, PathCollection):
            continue
        points = np.asarray(one.get_offsets(), dtype=np.float64)
        sizes = np.resize(np.asarray(one.get_sizes(), dtype=np.float64), len(points))
        colour = to_hex(_first_colour(one))
        name, group, listed = _entry(str(one.get_label()), colour, groups, "discs")
        x, at = _places(axes, axis, [float(place) for place in points[:, 0]])
        diameters = [number(float(size)) for size in np.sqrt(sizes)]
        y = [float(value) for value in points[:, 1]]
        yield Series(
            name, group, x, y, at=at, color=colour, dash="none", marker="o", sizes=diameters, listed=listed
        )


def _bands(axes: Axes, axis: Axis, groups: Labels) -> Iterator[Band]:
    for one in axes.collections:
        if not isinstance(one, PolyCollection) or isinstance(one, LineCollection):
            continue
        for path in one.get_paths():
            low, high = _edges(np.asarray(path.vertices, dtype=np.float64))
            first = _first_colour(one)
            colour = to_hex(first)
            name, group, listed = _entry(str(one.get_label()), colour, groups, "band")
            x = [number(float(place)) for place in low[:, 0]]
            ends = ([number(float(value)) for value in edge[:, 1]] for edge in (low, high))
            _, at = _places(axes, axis, x) if axis.scale == "placed" else ([], [])
            alpha = first[3]
            yield Band(name, group, x, *ends, color=colour, alpha=alpha, at=at, listed=listed)


def _first_colour(drawn: Collection) -> tuple[float, float, float, float]:
    """Red, green, blue and opacity of the first of its faces."""
    red, green, blue, opacity = np.asarray(drawn.get_facecolor(), dtype=np.float64)[0].tolist()
    return red, green, blue, opacity


def _edges(vertices: Floats) -> tuple[Floats, Floats]:
    """The lower and the upper edge of what `fill_between` draws: out along one, back along the other."""
    body = vertices[:-1] if np.allclose(vertices[0], vertices[-1]) else vertices
    count = (len(body) - 2) // 2  # the first and the middle vertex join the edges
    there, back = body[1 : count + 1], body[count + 2 :][::-1]
    return (there, back) if there[:, 1].sum() <= back[:, 1].sum() else (back, there)


def _cells(axes: Axes, columns: Sequence[str], rows: Sequence[str], measure: str) -> Cells | None:
    if not axes.images:
        return None
    image = axes.images[0]
    values = np.ma.filled(np.ma.asarray(image.get_array(), dtype=np.float64), np.nan)
    rgba = image.to_rgba(np.ma.masked_invalid(values))
    colors = [
        ["" if not np.isfinite(v) else to_hex(c) for v, c in zip(*pair, strict=True)]
        for pair in zip(values, rgba, strict=True)
    ]
    return Cells(rows, columns, [[float(v) for v in row] for row in values], colors, one_line(measure))


def _texts(axes: Axes) -> Iterator[Words]:
    for text in axes.texts:
        x, y = (float(place) for place in text.get_position())
        yield Words(x, y, text.get_text(), to_hex(text.get_color()), text.get_transform() != axes.transData)
