"""Synthetic tables in the exact schemas, with known exponents."""

import hashlib
import json
from datetime import UTC, datetime

import numpy as np
import pyarrow.parquet as pq
import pytest

from espalier.tasks.tables.rows import table

WIDTHS, SEEDS, EPOCHS, LAYERS = (4, 8, 16, 32, 64), (0, 1, 2, 3), (0, 1, 5, 20), (2, 3, 4, 5)
TOML = '# A sweep for tests.\n[data]\ndataset = "digits"\n\n[sweep]\nwidths = [4, 8, 16, 32, 64]\nseeds = 4\n'


def net_axes(width, seed, epoch, prefix=""):
    values = {
        "net": hashlib.sha256(f"{width}/{seed}".encode()).hexdigest()[:10],
        "architecture": "conv",
        "width": width,
        "parametrization": "sp",
        "regularizer": "l2",
        "init": "he_normal",
        "reg_weight": 5e-4,
        "recipe": "sgd lr 0.05",
        "dataset": "digits",
        "seed": seed,
        "epoch": epoch,
        "tuned": "",
    }
    return {prefix + name: value for name, value in values.items()}


def exponent(layer, epoch):
    """About 1 at layer 2 of initial nets, less above and after training."""
    return (1.0 if epoch == 0 else 0.8) / (1 + 0.45 * (layer - 2))


def plateau(layer, epoch):
    return 0.06 if layer == 5 and epoch else 0.0


def graft_row(rng, layer, null, source, target, fvu):
    key = hashlib.sha256(f"{source}{target}{null}".encode()).hexdigest()
    accuracy = 0.9 + 0.08 * (1 - 4 / (4 + target["target_width"]))
    return {
        "key": key,
        **source,
        **target,
        "layer": layer,
        "layer_name": f"conv{layer}" if layer < max(LAYERS) else "dense1",
        "method": "exact",
        "null": null,
        "bn": "none",
        "pairing": "same_width",
        "skip": 0,
        "draw": 0,
        "source_nets": 1,
        "fvu_train": 0.9 * fvu,
        "fvu_test": fvu,
        "fvu_channel_mean": 1.1 * fvu,
        "loss_test": 0.2 + fvu,
        "accuracy_test": accuracy - 0.3 * min(fvu, 1.0),
        "target_accuracy_test": accuracy,
        "source_accuracy_test": accuracy,
        "accuracy_drop": 0.3 * min(fvu, 1.0) + rng.normal(0, 0.002),
        "lost_images": None,
        "gained_images": None,
        "drop_by_block": None,
        "fvu_by_block": None,
        "ridge": 0.0,
        "products": "float64",
        "patch_dim": 9 * target["target_width"],
        "effective_rank": 5.0,
        "condition_number": 1e4,
        "rows": 70000,
        "images_train": 1500,
        "images_test": 297,
        "dead_channels": 0,
        "warning": "fewer images than 2 d" if target["target_width"] >= 64 and layer == 4 else "",
    }


def graft_rows(widths=WIDTHS, seeds=SEEDS, epochs=EPOCHS, layers=LAYERS, nulls=True, noise=0.06):
    rng, rows = np.random.default_rng(7), []
    for width in widths:
        effect = {seed: rng.normal(0, noise, 2) for seed in seeds}
        for epoch in epochs:
            for layer in layers:
                mean = plateau(layer, epoch) + 0.7 * width ** -exponent(layer, epoch)
                pairs = [(a, b, "none", epoch) for a in seeds for b in seeds if a != b]
                if nulls and epoch == max(epochs):
                    pairs += [(a, a, null, epoch) for a in seeds for null in ("self", "permuted")]
                    pairs += [(a, (a + 1) % len(seeds), "shuffled_images", epoch) for a in seeds]
                    pairs += [(a, (a + 1) % len(seeds), "untrained", 0) for a in seeds]
                for a, b, null, source_epoch in pairs:
                    pair = 1 + effect[a][0] + effect[b][1] + rng.normal(0, noise / 2)
                    value = {"none": mean * pair, "untrained": 2 * mean * pair, "shuffled_images": 1.02}.get(
                        null
                    )
                    value = value if value is not None else abs(rng.normal(0, 1e-9))
                    source = net_axes(width, a, source_epoch, "source_")
                    target = net_axes(width, b, epoch, "target_")
                    rows.append(graft_row(rng, layer, null, source, target, value))
    return rows


def net_rows(widths=WIDTHS, seeds=SEEDS, epochs=EPOCHS):
    return [
        {
            "key": hashlib.sha256(f"{width}{seed}{epoch}".encode()).hexdigest(),
            **net_axes(width, seed, epoch),
            "loss_train": 2.3 / (1 + epoch),
            "loss_test": 2.3 / (1 + epoch) + 0.1 + 0.01 * seed + width**-1.0,
            "accuracy_train": 1 - 0.9 / (1 + epoch),
            "accuracy_test": 0.97 - 0.87 / (1 + epoch),
            "parameters": 100 * width**2,
            "checkpoint": "x.safetensors",
            "sha256": None,
            "state_sha256": None,
        }
        for width in widths
        for seed in seeds
        for epoch in epochs
    ]


def curve_rows(widths=WIDTHS, seeds=SEEDS, epochs=20):
    return [
        {
            "key": hashlib.sha256(f"{width}{seed}".encode()).hexdigest(),
            **net_axes(width, seed, epoch),
            "loss_train": 2.3 * np.exp(-epoch * (0.1 + 0.05 * np.log2(width))),
            "loss_test": 2.3 * np.exp(-epoch * (0.1 + 0.05 * np.log2(width))) + 0.1,
            "accuracy_train": 1 - 0.9 * np.exp(-epoch / 3),
            "accuracy_test": 0.97 - 0.87 * np.exp(-epoch / 3) - 0.1 / width,
            "learning_rate": 0.05,
            "seconds": 1.5,
        }
        for width in widths
        for seed in seeds
        for epoch in range(1, epochs + 1)
    ]


def job_rows(gave_up=1):
    def row(key, kind, outcome, error=""):
        return {
            "key": key,
            "kind": kind,
            "label": f"{kind} {key}",
            "attempt": 1,
            "node": "worker-1",
            "device": "cpu",
            "start": datetime(2025, 1, 1, tzinfo=UTC),
            "seconds": 90.0,
            "flops": 1e12,
            "bytes_in": 1000,
            "outcome": outcome,
            "error": error,
            "mode": "",
            "cause": "",
        }

    return [
        *(row(f"t{k}", "train", "done") for k in range(20)),
        *(row(f"g{k}", "graft", "done") for k in range(30)),
        *(row(f"b{k}", "train", "gave_up", "the loss is <NaN> & gone") for k in range(gave_up)),
    ]


def write_tables(folder, **tables):
    """One part per table; returns the folder."""
    for name, rows in tables.items():
        place = folder / "tables" / name
        place.mkdir(parents=True, exist_ok=True)
        pq.write_table(table(name, rows), place / "part-0.parquet", write_page_checksum=True)
    return folder


def write_sweep(folder):
    """A finished sweep with known exponents, one failed job and all nulls."""
    (folder / "sweep.toml").write_text(TOML)
    run = {"versions": {"torch": "2.9"}, "machine": {"cpu": "2 x test"}, "commit": "abc1234"}
    (folder / "run.json").write_text(json.dumps(run))
    return write_tables(
        folder, nets=net_rows(), grafts=graft_rows(), curves=curve_rows(), jobs=job_rows(), downstream=[]
    )


@pytest.fixture(scope="module")
def no_pictures():
    """Reports of a module without PNGs, which take a third of their time; `test_html_page` has them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("espalier.analysis.report.html_page.png_bytes", lambda figure: b"")
        yield


@pytest.fixture
def sweep(tmp_path):
    return write_sweep(tmp_path)
