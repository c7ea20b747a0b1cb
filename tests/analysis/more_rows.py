"""Rows beyond pairs of one width: other pairings and settings, pools, hybrids, ridges; known values."""

import numpy as np

from tests.analysis.conftest import graft_row, graft_rows, net_axes

WIDTHS, SEEDS, LAYERS = (4, 8, 16, 32), (0, 1, 2), (2, 3)


def in_setting(rows, **axes):
    """The same rows of nets of another setting, as in `reg_weight=0.05`."""
    sides = [side for side in ("", "source_", "target_") if side + "seed" in rows[0]]
    changed = {side + name: value for side in sides for name, value in axes.items()}
    return [row | changed for row in rows]


def pair_rows(places, value, seeds=SEEDS, layers=LAYERS, **columns):
    """All pairs of different seeds: `places` holds the (width, epoch) of source and target.

    The error is `value(source width, target width, layer)`, times an effect of both nets.
    """
    rng, rows = np.random.default_rng(3), []
    for (source, source_epoch), (target, epoch) in places:
        for layer in layers:
            for a in seeds:
                for b in seeds:
                    if a != b:
                        fvu = value(source, target, layer) * (1 + 0.02 * a - 0.03 * b)
                        axes = (
                            net_axes(source, a, source_epoch, "source_"),
                            net_axes(target, b, epoch, "target_"),
                        )
                        rows.append(graft_row(rng, layer, "none", *axes, fvu) | columns)
    return rows


def across_width_rows(widths=WIDTHS, epoch=20):
    """Into the widest the error is 1/narrower width, out of it half of that."""
    wide = max(widths)
    into = [((width, epoch), (wide, epoch)) for width in widths[:-1]]
    out = [(wide_place, narrow) for narrow, wide_place in into]
    return [
        *pair_rows(into, lambda source, target, layer: layer / source, pairing="cross_width"),
        *pair_rows(out, lambda source, target, layer: 0.5 * layer / target, pairing="cross_width"),
    ]


def across_epoch_rows(width=32, epochs=(0, 1, 5, 20)):
    """A at each epoch into B at the last, and back."""
    last = max(epochs)
    places = [((width, epoch), (width, last)) for epoch in epochs[:-1]]
    places += [(later, earlier) for earlier, later in places]
    return pair_rows(places, lambda source, target, layer: 0.1 * layer, pairing="cross_epoch")


def skip_rows(width=32, epoch=20):
    return pair_rows([((width, epoch),) * 2], lambda *place: 0.3, layers=(3,), pairing="skip", skip=1)


def method_rows(method, factor, widths=WIDTHS, epoch=20):
    places = [((width, epoch),) * 2 for width in widths]
    return pair_rows(places, lambda source, target, layer: factor / source, method=method)


def pool_graft_rows(width=32, epoch=20):
    """Rows of the null `pooled`: their source is no one net."""
    rows = pair_rows([((width, epoch),) * 2], lambda *place: 0.1)
    return [
        row | {"null": "pooled", "source_seed": None, "source_net": None, "source_nets": 2, "draw": 1 + k % 2}
        for k, row in enumerate(rows)
    ]


def subset_graft_rows(width=8, wide=32, epoch=20):
    """Rows of the null `wider_subset`: a net of the target's width and one that is wider."""
    places = [((wide, epoch), (width, epoch))]
    return [row | {"null": "wider_subset", "draw": 1} for row in pair_rows(places, lambda *place: 0.1)]


def exchange_rows(null="pooled", widths=WIDTHS, epochs=(0, 20), partitions=19):
    """The ratio is 1 before training and 1 + layer / 10 after it, where every target but seed 0 rejects."""
    return [
        {
            "key": f"{null}{width}{seed}{epoch}{layer}",
            **net_axes(width, seed, epoch, "target_"),
            "null": null,
            "layer": layer,
            "layer_name": f"conv{layer}",
            "nets": 2,
            "one_width": width,
            "null_width": width if null == "pooled" else max(WIDTHS),
            "partitions": partitions,
            "fvu_one": 0.2,
            "fvu_null": 0.1,
            "ratio": (1 + layer / 10 if epoch else 1.0) * 1.01**seed,
            "ratio_low": 0.9,
            "ratio_high": 1.1,
            "p_value": 1 / (1 + partitions) if epoch and seed else 1.0,
            "p_spread": 0.5,
            "ridge": 0.0,
            "products": "float64",
            "patch_dim": 9 * width,
            "images_train": 1500,
            "images_test": 297,
            "warning": "",
        }
        for epoch in epochs
        for width in (widths if null == "pooled" else widths[:-1])
        for seed in SEEDS
        for layer in LAYERS
    ]


def hybrid_rows(widths=WIDTHS, shares=(0.0, 0.5, 1.0), pairs=((0, 1), (2, 3)), epoch=20):
    """Accuracy is 0.9 at the ends, 0.8 at the middle, 0.01 more for the second pair."""
    return [
        {
            "key": f"{width}{a}{b}",
            **net_axes(width, a, epoch, "source_"),
            **net_axes(width, b, epoch, "target_"),
            "share": share,
            "loss_train": 0.1,
            "accuracy_train": 1.0,
            "loss_test": 0.3,
            "accuracy_test": 0.9 - 0.4 * share * (1 - share) + 0.01 * (a == 2),
            "source_accuracy_test": 0.93,
            "target_accuracy_test": 0.94,
            "fvu_last": 0.1,
            "fvu_largest": 0.2,
            "ridge": 0.0,
            "images_train": 1500,
            "images_test": 297,
            "warning": "",
        }
        for width in widths
        for a, b in pairs
        for share in shares
    ]


BARRIER = {("none", "none"): 8.0, ("none", "repair"): 4.0, ("weights", "repair"): 1.0}
"""By matching and correction the barrier of the loss at width 1."""


def _way_rows(widths, pairs, epoch):
    for width in widths:
        for a, b in pairs:
            axes = net_axes(width, a, epoch, "source_") | net_axes(width, b, epoch, "target_")
            for (matching, correction), height in BARRIER.items():
                way = {"key": f"b{width}{a}{b}", "matching": matching, "correction": correction}
                yield axes | way, (height + 0.2 * (a > 0)) / width


def barrier_rows(widths=WIDTHS, pairs=((0, 1), (2, 3)), epoch=20, third=4):
    """The loss has a barrier in 1 / width, more by 0.2 / width for the second pair; the accuracy a tenth."""
    rows = []
    for row, height in _way_rows(widths, pairs, epoch):
        heights = {
            "loss_train": height,
            "loss_test": height,
            "tempered_loss_train": height / 4,
            "tempered_loss_test": height / 4,
            "accuracy_train": height / 10,
            "accuracy_test": height / 10,
        }
        matched = row["matching"] != "none"
        more = {
            "third_net": None if third is None else f"third{third}",
            "third_seed": third,
            "weight_cosine": 0.5 if matched else 0.0,
            "channel_correlation": 0.4 if matched else 0.1,
            "cycle_share": 0.25 if matched and third is not None else None,
            "cycle_chance": 1 / 16 if matched and third is not None else None,
            "points": 3,
            "images_train": 1000,
            "images_test": 297,
            "warning": "",
        }
        for measure, value in heights.items():
            ends = {f"{measure}_source": 0.5, f"{measure}_target": 0.5}
            more |= ends | {f"{measure}_barrier": value, f"{measure}_peak": 0.5}
        rows.append(row | more)
    return rows


def barrier_curve_rows(widths=WIDTHS, pairs=((0, 1), (2, 3)), epoch=20):
    """Flat but for the middle."""
    rows = []
    for row, height in _way_rows(widths, pairs, epoch):
        for t in (0.0, 0.5, 1.0):
            rise = height * (t == 0.5)
            losses = {"loss_train": 0.5 + rise, "loss_test": 0.5 + rise}
            tempered = {"tempered_loss_train": 0.5 + rise / 4, "tempered_loss_test": 0.5 + rise / 4}
            right = {"accuracy_train": 0.9 - rise / 10, "accuracy_test": 0.9 - rise / 10}
            rows.append(row | {"t": t, "inverse_temperature": 1.0} | losses | tempered | right)
    return rows


_KIND = ("layer", "layer_name", "method", "null", "pairing", "skip")


def ridge_rows(widths=WIDTHS, ridges=(0.0, 1e-6, 1e-4), epoch=20):
    """The middle ridge is the best one; pairs into seed 0 choose the largest."""
    kept = ("key", *net_axes(0, 0, 0, "source_"), *net_axes(0, 0, 0, "target_"), *_KIND)
    grafts = pair_rows([((width, epoch),) * 2 for width in widths], lambda source, *rest: 1 / source)
    return [
        {name: row[name] for name in kept}
        | {
            "ridge": ridge,
            "fvu_train": 0.1,
            "fvu_validation": row["fvu_test"] * (1 + abs(place - 1)),
            "chosen": place == (2 if row["target_seed"] == 0 else 1),
            "images_validation": 300,
        }
        for row in grafts
        for place, ridge in enumerate(ridges)
    ]


def all_graft_rows():
    """A sweep's grafts of one setting with everything in them, exact, by Adam and stitched."""
    return [
        *graft_rows(widths=WIDTHS, seeds=SEEDS, layers=LAYERS),
        *across_width_rows(),
        *across_epoch_rows(),
        *skip_rows(),
        *method_rows("adam", 2.0),
        *method_rows("stitch", 3.0),
        *pool_graft_rows(),
        *subset_graft_rows(),
    ]
