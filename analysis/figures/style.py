"""How figures look: one style for all, colours that the colour-blind can tell apart."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from espalier.tasks.spec import POOL_NULLS

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#5b6470",
    "axes.labelcolor": "#1f2933",
    "xtick.color": "#5b6470",
    "ytick.color": "#5b6470",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "errorbar.capsize": 2.5,
    "svg.fonttype": "path",  # the same letters everywhere, without a font to fetch
    "figure.autolayout": False,  # what a figure without a layout engine falls back on
    "figure.constrained_layout.use": False,
}
MARKERS = "osD^vP*Xh<>pd"
NULL_STYLE = {
    "none": ("real grafts", "#0072b2", "o"),
    "untrained": ("untrained source", "#e69f00", "s"),
    "shuffled_images": ("shuffled images", "#5b6470", "X"),
    "self": ("self", "#cc79a7", "D"),
    "permuted": ("channels permuted", "#009e73", "^"),
}
"""Label, colour (Okabe & Ito) and marker of each null."""


PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5b6470", "#1f2933")
"""Colours for unordered categories (Okabe & Ito); the first is that of real grafts."""
_USED = {part for _, *parts in NULL_STYLE.values() for part in parts}
_FREE_COLOURS = ("#882255", "#44aa99", "#999933", "#332288")  # Tol's muted ones: the palette's are all taken
_FREE_MARKERS = [marker for marker in MARKERS if marker not in _USED]
REFERENCE: dict[str, Any] = {"color": "#5b6470", "ls": "--", "lw": 1.1}
"""How a reference line is drawn."""


def null_styles(nulls: Iterable[str]) -> dict[str, tuple[str, str, str]]:
    """Label, colour and marker of each null of one snapshot that is there, in the order of a legend.

    One without a style of its own comes last, by its name, in colours and markers that no other has.
    """
    there = {*nulls} - {*POOL_NULLS}
    added = {
        null: (
            null.replace("_", " "),
            _FREE_COLOURS[number % len(_FREE_COLOURS)],
            _FREE_MARKERS[number % len(_FREE_MARKERS)],
        )
        for number, null in enumerate(sorted(there - {*NULL_STYLE}))
    }
    return {null: style for null, style in (NULL_STYLE | added).items() if null in there}


P = ParamSpec("P")


@contextmanager
def _settings(more: dict[str, str] | None = None) -> Iterator[None]:
    settings: Any = STYLE | (more or {})
    with mpl.rc_context(settings):
        yield


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in this style and leave matplotlib's settings as they were.

    The layout is then frozen: computed anew at each saving, it would move by fractions of a point.
    """

    @wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _settings():
            figure = draw(*args, **kwargs)
            engine = figure.get_layout_engine()
            if engine is not None:
                engine.execute(figure)
            figure.set_layout_engine(None)  # with "none" for it matplotlib draws twice at each saving
        return figure

    return wrapped


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of `width` x `height` inches with one panel, apart from pyplot's state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def new_panels(
    count: int, row_height: float, more_height: float, one_scale: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure 9 inches wide of `count` panels that share their axes; inches per row, and for the rest.

    Without `one_scale` each has a y axis of its own.
    """
    columns = count if count <= 4 else 3
    rows = -(-count // columns)
    figure = Figure(figsize=(9.0, more_height + row_height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=one_scale).ravel())
    for axes in panels[count:]:
        axes.set_visible(False)
    for axes in panels[max(count - columns, 0) : count]:  # the lowest panel of each column
        axes.tick_params(labelbottom=True)
    return figure, panels[:count]


def ramp(values: Sequence[Any], name: str = "viridis") -> dict[Any, Any]:
    """A colour for each of the ordered values, dark first; the ramp's palest end is left out."""
    colours = mpl.colormaps[name](np.linspace(0.0, 0.86, max(len(values), 2)))
    return {value: tuple(colour) for value, colour in zip(values, colours, strict=False)}


def bottom_labels(panels: Sequence[Axes], text: str) -> None:
    """The label of an x axis that panels share, at the lowest panel of each column alone."""
    for axes in panels:
        axes.set_xlabel(text if axes.xaxis.get_tick_params()["labelbottom"] else "")


def shared_legend(figure: Figure, panels: Sequence[Axes], title: str | None = None, ncols: int = 6) -> None:
    """One legend below all panels, of whatever is drawn in any of them."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    columns = min(len(found), ncols) or 1
    figure.legend([*found.values()], [*found], title=title, loc="outside lower center", ncols=columns)


def width_axis(axes: Axes, widths: Sequence[int]) -> None:
    """A log2 axis with a tick at each width."""
    axes.set_xscale("log", base=2)
    _plain_ticks(axes, widths)
    axes.set_xlabel("width (channel multiple)")


def epoch_axis(axes: Axes, epochs: Sequence[int]) -> None:
    """An axis that shows epoch 0 and is logarithmic from epoch 1 on."""
    axes.set_xscale("symlog", linthresh=1)
    kept = [epoch for k, epoch in enumerate(epochs) if epoch < 1 or epoch >= 1.4 * max(epochs[k - 1], 0.1)]
    _plain_ticks(axes, kept)


def _plain_ticks(axes: Axes, values: Sequence[int]) -> None:
    axes.xaxis.set_major_locator(FixedLocator(list(values)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def log_values(axes: Axes) -> None:
    """A log10 y axis, labelled 0.02 rather than 2 x 10^-2 while numbers stay readable."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if low < 1e-4:
        return
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in _ticks(low, high) if low <= tick <= high]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers for a log axis: the shorter it is, the closer they are."""
    if high / low < 4:
        return list(MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high))
    steps = next(steps for most, steps in _STEPS if high / low < most)
    return [step * 10.0**power for power in range(-5, 4) for step in steps]


_STEPS = ((12, (1, 1.5, 2, 3, 5, 7)), (300, (1, 2, 5)), (float("inf"), (1,)))


def svg_text(figure: Figure, name: str) -> str:
    """The figure as an `<svg>` element; the same figure and name give the same text.

    Ids begin with the name, so that several figures can stand in one page.
    """
    stream = io.StringIO()
    with _settings({"svg.hashsalt": name}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    used = {*re.findall(r'href="#([^"]+)"', text), *re.findall(r"url\(#([^)]+)\)", text)}
    text = re.sub(r'\bid="([^"]+)"', lambda one: _named(one, name) if one.group(1) in used else "", text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    return _smaller(text)


def _named(found: re.Match[str], name: str) -> str:
    return f'id="{name}-{found.group(1)}"'


def _smaller(text: str) -> str:
    """An SVG of fewer characters: coordinates to a hundredth of a point, no indents, no empty groups."""
    text = re.sub(r'(?<=\s[dxy]=")[^"]+', lambda part: _DECIMALS.sub(_rounded, part.group()), text)
    text = re.sub(r">\s+<", "><", re.sub(r"\s*\n\s*", " ", text))
    return re.sub(r"<g\s*></g>", "", re.sub(r"\s+>", ">", text))


_DECIMALS = re.compile(r"-?\d+\.\d{3,}")


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number.group()):.2f}".rstrip("0").rstrip(".")


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG of 160 dots per inch."""
    stream = io.BytesIO()
    with _settings():
        figure.savefig(stream, format="png", dpi=160, metadata={"Software": None})
    return stream.getvalue()
