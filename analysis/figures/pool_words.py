"""What the nulls `pooled` and `wider_subset` say, in words: above layer 2 only against initial nets."""

from __future__ import annotations

import numpy as np
import pandas as pd

from espalier.analysis.answers.pool_tests import LEVEL, TIE, largest_pools
from espalier.analysis.figures.captioned import layers_in_words, rows_in_words, span, when
from espalier.analysis.figures.pool_nulls import NAMES, rates, summary, testable
from espalier.analysis.limits.powerlaw import Floats
from espalier.analysis.limits.selection import largest, where

EXACT_LAYER = 2
"""Here the channels of initial nets are exchangeable exactly; above, they share what lies below."""
SOURCES = {
    "pooled": "as many channels of a pool of other nets",
    "wider_subset": "as many channels of one of the widest nets",
}
_TESTED = {
    "pooled": ("a net serves worse than the pool", "about half"),
    "wider_subset": ("a net serves better or worse than the subsets", "less than half"),
}
_DEPENDENT = (
    "Targets of one pool share the nets that serve them, so that their p-values depend on one another: these "
    "shares are of no independent tests, and have no standard error."
)


def findings(rows: pd.DataFrame) -> list[str]:
    """Sentences about the ratios of the first and the last epoch of each null, its tests and their power."""
    rows, said = largest_pools(rows), []
    rows = where(rows, np.isfinite(rows["ratio"]))
    for null in NAMES:
        of_null = where(rows, rows["null"] == null)
        epochs = sorted(set(of_null["target_epoch"]))
        said += [
            _ratio(null, int(epoch), where(of_null, of_null["target_epoch"] == epoch))
            for epoch in dict.fromkeys([*epochs[:1], *epochs[-1:]])
        ]
        if epochs:
            said += _tests(null, of_null, int(epochs[-1]))
    return [*said, _DEPENDENT] if said else []


def _ratio(null: str, epoch: int, rows: pd.DataFrame) -> str:
    mean = np.exp(np.log(rows["ratio"]).mean())
    return (
        f"{when(epoch).capitalize()} a net serves a target with {mean:.2f} times the error of "
        f"{SOURCES[null]} (geometric mean; {span(summary(rows)['ratio'])} by layer and width; "
        f"{rows_in_words(rows)})."
    )


def _tests(null: str, rows: pd.DataFrame, epoch: int) -> list[str]:
    if not testable(rows):
        return [
            f"{-largest(-rows['partitions'])} partitions allow no p-value of {LEVEL:g} for {SOURCES[null]}."
        ]
    shares = rates(rows)
    last = where(shares, shares["target_epoch"] == epoch).set_index("layer")
    start = where(shares, shares["target_epoch"] == 0).set_index("layer") if epoch else last.iloc[:0]
    what, found = _TESTED[null]
    above = where(last, last.index > EXACT_LAYER) if len(start) else last.iloc[:0]
    readable = pd.concat([where(last, last.index == EXACT_LAYER), above]) if epoch else last
    return [
        f"The test whether {what} rejects (p <= {LEVEL:g}) {when(epoch)}: "
        f"{_shares(readable, start, 'p_value')}. {_verdict(readable, start, epoch, rows)}",
        f"The test whether nets differ more from one another than mixed groups do rejects (p_spread <= "
        f"{LEVEL:g}) {when(epoch)}: {_shares(last, start, 'p_spread')}; exchangeable channels give "
        f"{100 * LEVEL:.0f} %.",
        _power(where(rows, rows["target_epoch"] == epoch), found),
    ]


def _shares(last: pd.DataFrame, start: pd.DataFrame, name: str) -> str:
    """By layer the share of rejections, and that of initial nets beside it."""
    told = []
    for layer, row in last.iterrows():
        before = f", initial nets {100 * start[name][layer]:.0f} %" if layer in start.index else ""
        told.append(f"layer {layer}: {100 * row[name]:.0f} % of {row['targets']:.0f} targets{before}")
    return "; ".join(told) or "no layer that can be read"


def _verdict(last: pd.DataFrame, start: pd.DataFrame, epoch: int, rows: pd.DataFrame) -> str:
    """At which layers trained nets are rejected more often than initial ones, whose truth is known."""
    if epoch == 0:
        return (
            "Initial nets are independent draws: at layer 2 the share is 5 % up to chance, and above it is "
            "what the shared layers below give."
        )
    if start.empty:
        deeper = largest(rows["layer"]) > EXACT_LAYER
        return "Above layer 2 nothing may be read without initial nets." if deeper else ""
    before = start["p_value"].to_dict()
    now = last["p_value"].to_dict()
    more = [int(layer) for layer in now if now[layer] > max(before.get(layer, 1.0), LEVEL) + TIE]
    rest = [int(layer) for layer in last.index if int(layer) not in more]
    said = [f"more often than these and than 5 % at {layers_in_words(more)}"] if more else []
    said += [f"no more often at {layers_in_words(rest)}"] if rest else []
    return f"Initial nets are independent draws. Rejected {', '.join(said)}."


def _power(rows: pd.DataFrame, found: str) -> str:
    """The ratio that the test would find for half of the targets: the critical one, of symmetric errors."""
    logs = rows.assign(edge=np.log(rows["ratio_high"])).groupby("layer").agg({"edge": "mean"})
    edges = np.exp(logs["edge"].to_numpy(dtype=np.float64))
    return (
        f"Power: a ratio of {_edges(edges)} would be found for {found} of the targets, and a smaller "
        "one less often. That a target is not rejected does not say that nets are exchangeable."
    )


def _edges(edges: Floats) -> str:
    low, high = (f"{value:.2f}" for value in (edges.min(), edges.max()))
    return low if low == high else f"{low} to {high}"
