"""The figures of a report with their titles and how to read them; figures without data are left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from espalier.analysis.figures import crossings, main_figures, mixtures, pool_nulls, ridge_path, variants
from espalier.analysis.figures.captioned import CaptionedFigure
from espalier.analysis.figures.pair_matrix import pair_matrix
from espalier.analysis.figures.style import NULL_STYLE, null_styles
from espalier.analysis.limits.selection import plain_grafts, usual_method, where
from espalier.analysis.limits.snapshots import SnapshotFits
from espalier.analysis.tables import Tables


def captioned_figures(
    tables: Tables, last: SnapshotFits | None, first: SnapshotFits | None
) -> Iterator[CaptionedFigure]:
    """All figures that the tables of one setting have data for, in the report's order."""
    if last is not None:
        yield from _width_figures(last, first)
        yield from _graft_figures(plain_grafts(tables.grafts), last)
    yield from pool_nulls.captioned_figures(tables.exchangeability)
    yield from crossings.captioned_figures(usual_method(tables.grafts))
    yield from variants.captioned_figures(tables.grafts)
    yield from mixtures.captioned_figures(tables.hybrids)
    yield from ridge_path.captioned_figures(tables.ridges)
    if len(tables.curves):
        yield CaptionedFigure(
            "training", "How the nets learned", _TRAINING, main_figures.training(tables.curves)
        )


def more_findings(tables: Tables) -> list[str]:
    """Sentences on everything beyond pairs of one width, which are in `analysis.report.findings`."""
    return [
        *pool_nulls.findings(tables.exchangeability),
        *crossings.findings(usual_method(tables.grafts)),
        *variants.findings(tables.grafts),
        *mixtures.findings(tables.hybrids),
        *ridge_path.findings(tables.ridges),
    ]


def _width_figures(last: SnapshotFits, first: SnapshotFits | None) -> Iterator[CaptionedFigure]:
    figure = main_figures.error_by_width(last.rows, last.fits)
    yield CaptionedFigure("error_by_width", f"Error against width after {last.epoch} epochs", _WIDTH, figure)
    if first is not None:
        figure = main_figures.error_by_width(first.rows, first.fits, guide=1.0)
        yield CaptionedFigure("error_by_width_at_start", "The same before training", _START, figure)


def _graft_figures(grafts: pd.DataFrame, last: SnapshotFits) -> Iterator[CaptionedFigure]:
    if len(last.rows["accuracy_drop"].dropna()):  # a regression has none
        yield CaptionedFigure(
            "drop_by_layer", "Accuracy lost by grafting", _DROP, main_figures.drop_by_layer(last.rows)
        )
    if len(set(grafts["target_epoch"])) > 1:
        yield CaptionedFigure(
            "error_by_epoch", "Error through training", _EPOCH, main_figures.error_by_epoch(grafts)
        )
    widest = last.rows["target_width"].max()
    wide = where(grafts, (grafts["target_epoch"] == last.epoch) & (grafts["target_width"] == widest))
    matrix = pair_matrix(where(wide, wide["null"].isin(["none", "self"])))
    yield CaptionedFigure("pair_matrix", f"All pairs at width {widest}", _MATRIX, matrix)
    nulls = [*null_styles(wide["null"])]
    if set(nulls) - {"none"}:
        reading, figure = _nulls_reading(nulls), main_figures.error_of_nulls(wide)
        yield CaptionedFigure("nulls", f"Nulls and floors at width {widest}", reading, figure)


def _nulls_reading(nulls: Sequence[str]) -> str:
    added = [null for null in nulls if null not in NULL_STYLE]
    return f"{_NULLS} Further nulls: {', '.join(added)}." if added else _NULLS


_WIDTH = (
    "Each point is the mean over all ordered pairs of differently seeded nets of one width; bars are one "
    "standard error over nets (often smaller than the mark). A straight line is a power law, its slope is "
    "−α; a line that bends level has a limit above zero. Bands and brackets are bootstrap intervals over "
    "nets. Dotted lines: no fit."
)
_START = (
    "At initialisation the channels of a layer are independent draws from one distribution, so theory "
    "knows the answer: about 1/width at layer 2 (dashed slope), slower at deeper layers. This figure "
    "checks the instrument."
)
_DROP = (
    "The target net's accuracy minus that of the grafted net: what it costs to run the target's upper "
    "layers on another net's features. Zero means that the other net's features do as well."
)
_EPOCH = (
    "Source and target are taken at the same epoch, from the initial nets (0) to the end of training. A "
    "rising line means that training makes the nets' features less alike at that layer."
)
_MATRIX = (
    "Rows give the lower layers, columns the upper ones. If all nets draw their features from one "
    "distribution, no row or column stands out. The grey diagonal is each net grafted into itself: the "
    "numerical floor."
)
_NULLS = (
    "The real grafts against sources that are known: an untrained net (what random features give), images "
    "shuffled (nothing to find: 1), the net itself and its permuted copy (exact recovery: about 0)."
)
_TRAINING = "Means over seeds; full lines are held-out images, dashed lines training images."
