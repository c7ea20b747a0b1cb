"""The figures of a report with their titles and how to read them; figures without data are left out."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from espalier.analysis.figures import (
    barrier_figures,
    crossings,
    ensemble_figures,
    main_figures,
    mixtures,
    pool_nulls,
    pool_words,
    ridge_path,
    similarity_figures,
    similarity_words,
    source_nulls,
    variants,
    widest_figures,
)
from espalier.analysis.figures.captioned import CaptionedFigure, when
from espalier.analysis.figures.excess_figure import excess_by_width
from espalier.analysis.figures.pair_matrix import pair_matrix
from espalier.analysis.limits.held_out import unknown_images
from espalier.analysis.limits.selection import largest, plain_grafts, usual_method, where
from espalier.analysis.limits.similarity_fits import Compared
from espalier.analysis.limits.snapshots import SnapshotFits
from espalier.analysis.tables import Tables


def captioned_figures(
    tables: Tables, last: SnapshotFits | None, first: SnapshotFits | None, compared: Compared | None = None
) -> Iterator[CaptionedFigure]:
    """All figures that the tables of one setting have data for, in the report's order."""
    if last is not None:
        yield from _width_figures(last, first)
        yield from _graft_figures(plain_grafts(tables.grafts), last)
    yield from pool_nulls.captioned_figures(tables.exchangeability)
    yield from crossings.captioned_figures(usual_method(tables.grafts))
    yield from variants.captioned_figures(tables.grafts)
    yield from mixtures.captioned_figures(tables.hybrids)
    yield from barrier_figures.captioned_figures(tables.barriers, tables.barrier_curves)
    yield from ensemble_figures.captioned_figures(tables.kernel_spread, tables.ensembles)
    yield from ridge_path.captioned_figures(tables.ridges)
    if compared is not None:
        yield from similarity_figures.captioned_figures(compared)
        yield from widest_figures.captioned_figures(compared)
    if len(tables.curves):
        yield CaptionedFigure(
            "training", "How the nets learned", _TRAINING, main_figures.training(tables.curves)
        )


def more_findings(tables: Tables, compared: Compared, level: float) -> list[str]:
    """Sentences on nulls, other pairings and measures; plain pairs are in `analysis.report.findings`."""
    return [
        *source_nulls.findings(_widest_of_last(plain_grafts(tables.grafts)), level),
        *pool_words.findings(tables.exchangeability),
        *crossings.findings(usual_method(tables.grafts), level),
        *variants.findings(tables.grafts, level),
        *mixtures.findings(tables.hybrids, level),
        *barrier_figures.findings(tables.barriers, level),
        *ridge_path.findings(tables.ridges),
        *similarity_words.findings(compared),
    ]


def _widest_of_last(grafts: pd.DataFrame) -> pd.DataFrame:
    """The rows of the widest nets of the last epoch that has a real pair, nulls among them."""
    for name in ("target_epoch", "target_width"):
        grafts = where(grafts, grafts[name] == where(grafts, grafts["null"] == "none")[name].max())
    return grafts


def _drop_reading(rows: pd.DataFrame) -> str:
    return (
        "The target net's accuracy minus that of the grafted net: what it costs to run the target's upper "
        "layers on another net's features. Thick bars are one standard error over nets. All pairs are judged "
        "on the same held-out images, so that no number of nets averages their part away: thin bars add it "
        f"(docs/method.md, section 5){unknown_images(rows)}. With few images the thin bars are long, and "
        "small costs cannot be seen."
    )


def _width_figures(last: SnapshotFits, first: SnapshotFits | None) -> Iterator[CaptionedFigure]:
    if len(last.pairs):
        title = f"Excess over untrained sources {when(last.epoch)}"
        yield CaptionedFigure("excess", title, _EXCESS, excess_by_width(last))
    figure = main_figures.error_by_width(last)
    yield CaptionedFigure("error_by_width", f"Error against width {when(last.epoch)}", _WIDTH, figure)
    if first is not None:
        figure = main_figures.error_by_width(first, guide=1.0)
        yield CaptionedFigure("error_by_width_at_start", "The same before training", _START, figure)


def _graft_figures(grafts: pd.DataFrame, last: SnapshotFits) -> Iterator[CaptionedFigure]:
    if len(last.rows["accuracy_drop"].dropna()):  # a regression has none
        reading, figure = _drop_reading(last.rows), main_figures.drop_by_layer(last.rows)
        yield CaptionedFigure("drop_by_layer", "Accuracy lost by grafting", reading, figure)
    if len(set(grafts["target_epoch"])) > 1:
        yield CaptionedFigure(
            "error_by_epoch", "Error through training", _EPOCH, main_figures.error_by_epoch(grafts)
        )
    wide = _widest_of_last(grafts)
    matrix = pair_matrix(where(wide, wide["null"].isin(["none", "self"])))
    title = f"All pairs at width {largest(wide['target_width'])}"
    yield CaptionedFigure("pair_matrix", title, _MATRIX, matrix)
    yield from source_nulls.captioned_figures(wide)


_EXCESS = (
    "Each pair is compared with itself: the trained source against the same net untrained, under the same "
    "target. Left the difference of the two errors (below 0: training the source helped), right their "
    "ratio with the power law fitted to it. A level line on the right says that the width helps an untrained "
    "source as much as a trained one: then a fall of the error with the width is no sign that trained nets "
    "become more alike. Bars are one standard error over nets, of the paired difference; bands as in the "
    "table."
)
_WIDTH = (
    "Each point is the mean over the ordered pairs of differently seeded nets of one width; bars are one "
    "standard error over nets (often smaller than the mark). A straight line is a power law, its slope is "
    "−α; a line that bends level would have a limit above zero. Bands are bootstrap intervals, brackets "
    "profile intervals, both over nets. Dotted lines with full marks: no fit. Hollow marks: untrained "
    "sources into the same targets. A fall that both share needs no training of the sources: more channels "
    "serve better, and wide targets "
    "are easier to serve. Only what lies between the two is owed to the sources' training."
)
_START = (
    "Source and target are both untrained here. The channels of layer 1 are independent draws from one "
    "distribution, so theory knows the answer at layer 2: about 1/width (dashed slope). At deeper layers "
    "channels are independent only given the layers below, and the error falls more slowly. This figure "
    "checks the instrument."
)
_EPOCH = (
    "Full: source and target at the same epoch, from the initial nets (0) to the end of training. Dashed, "
    "hollow: sources left at epoch 0 into the same targets. Where both move together, it is the targets that "
    "become easier or harder to serve, and nothing may be read about the sources. What the full line "
    "lies below the dashed one is what the sources' training adds. Where a snapshot has no hollow mark (no "
    "null 'untrained' there) a rise or a fall cannot be told from the targets' doing. Bars are one standard "
    "error over nets."
)
_MATRIX = (
    "Rows give the lower layers, columns the upper ones. A row that stands out is a source that serves all "
    "others better or worse, a column a target that is easier or harder to serve. Nets that are draws from "
    "one distribution differ as well, by chance. The grey diagonal is each net grafted into itself: the "
    "numerical floor."
)
_TRAINING = "Means over seeds; full lines are held-out images, dashed lines training images."
