"""What an exact graft costs: all pairs at once, one pair at a time, and Adam as in Gu et al. 2020.

All three fit the same layers of the same nets on the same images, in one process with one thread, in
turns. (a) Adam: He-normal start, loss 5 x mean squared difference, learning rate 1e-3 with a linear
warm-up over the first of 6 epochs of 780 batches of 64; its time is that of some steps, scaled to the
schedule. (b) One pair at a time: patches by im2col, float64 products, one solve; then its held-out
scores. (c) `tasks.graft`: a tile of all ordered pairs, with every column that its rows have.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from orchestrator.config import SweepConfig
from orchestrator.identity import net_key, snapshot
from orchestrator.nets import nets as specs
from orchestrator.nets import used
from orchestrator.record import cpu_name
from tasks import images
from tasks.data import Data, load
from tasks.graft import graft
from tasks.gram import ChannelMoments, channel_sums, fraction_unexplained
from tasks.lag_gram import lag_gram, lags
from tasks.layer_input import LayerInput, channel_rows
from tasks.network import Network, linear
from tasks.seeds import stream
from tasks.spec import GraftOptions, GraftTile, Pair, Snapshot, TrainSegment
from tasks.train import initial_state, train

ADAM_STEPS, ADAM_BATCH, ADAM_WARM_STEPS, ADAM_RATE = 6 * 780, 64, 780, 1e-3
TIMED_STEPS = 8
EPOCHS = 2
RIDGE = 1e-6


def run(widths: list[int], count: int, repeats: int, fitting: int, full_adam: bool) -> dict[str, Any]:
    """Rows per width and layer, and the machine."""
    torch.set_num_threads(1)
    gemm = gemm_rate(repeats)
    data = load("mnist5k", limit_train=fitting)
    rows = []
    for width in widths:
        snapshots, networks = trained(width, count, fitting, data)
        rows += measure(snapshots, networks, data, repeats, gemm, full_adam)
    machine = {
        "processor": cpu_name(),
        "threads": 1,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "gemm_gflops": gemm / 1e9,
        "nets": count,
        "fitting_images": fitting,
        "held_out_images": len(data.y_test),
    }
    return {"machine": machine, "rows": rows}


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall time of some runs, after one that warms up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def gemm_rate(repeats: int, size: int = 1536) -> float:
    """Operations per second of a float32 matrix product of PyTorch on one thread."""
    a = torch.randn(size, size, generator=stream("gemm"))
    return 2.0 * size**3 / median_seconds(lambda: a @ a, repeats)


def trained(width: int, count: int, fitting: int, data: Data) -> tuple[list[Snapshot], list[Network]]:
    """Nets of the family conv after a short training."""
    config = SweepConfig.parse(
        {
            "data": {"dataset": "mnist5k", "limit_train": fitting},
            "train": {"epochs": EPOCHS, "snapshots": [EPOCHS], "lr": 0.02},
            "sweep": {"widths": [width], "seeds": count},
        }
    )
    snapshots, networks = [], []
    for net in specs(config, used(config, images.facts("mnist5k"))):
        snap = snapshot(net, net_key(net), EPOCHS)
        done = train(TrainSegment(snap, None, keep_state=False), initial_state(net), data)
        snapshots.append(snap)
        networks.append(done.network)
    return snapshots, networks


def measure(
    snapshots: list[Snapshot], networks: list[Network], data: Data, repeats: int, gemm: float, full_adam: bool
) -> list[dict[str, Any]]:
    """One row per layer; the tile's time is shared out evenly over its grafts."""
    count, depth = len(networks), networks[0].architecture.depth
    pairs = [Pair(f"{a}-{b}", a, b) for a in range(count) for b in range(count) if a != b]
    tile = GraftTile(tuple(snapshots), tuple(pairs), GraftOptions(ridge=RIDGE))
    made = graft(tile, networks, data)
    exact_seconds = median_seconds(lambda: graft(tile, networks, data), repeats) / (len(pairs) * (depth - 1))
    rows = []
    for layer in range(2, depth + 1):
        own = [row for row in made.grafts if row["layer"] == layer and row["key"] == "0-1"]
        naive = median_seconds(
            lambda layer=layer: naive_graft(networks[0], networks[1], layer, data), repeats
        )
        adam = adam_seconds(networks[0], networks[1], layer, data, repeats)
        row = {
            "width": snapshots[0].net.width,
            "layer": layer,
            "exact_seconds": exact_seconds,
            "naive_seconds": naive,
            "adam_seconds": adam,
            "adam_ratio": adam / exact_seconds,
            "naive_ratio": naive / exact_seconds,
            "fvu_exact": own[0]["fvu_test"],
            "fvu_naive": naive_graft(networks[0], networks[1], layer, data),
            "fvu_adam": adam_fvu(networks[0], networks[1], layer, data)
            if full_adam and layer in (2, depth)
            else None,
        }
        rows.append(row | kernel_shares(networks[0], layer, data, repeats, gemm))
    return rows


def naive_graft(source: Network, target: Network, layer: int, data: Data) -> float:
    """One pair by im2col, float64 products and one solve; held-out FVU, its loss and accuracy thrown away."""
    description = target.architecture.layers[layer - 1]
    h, z = source.prefix(layer, data.x_train), target.layer(layer, target.prefix(layer, data.x_train))
    u_MD = torch.cat([LayerInput(description, part, "float64").patches_MD for part in h.split(64)])
    z_MC = channel_rows(z)
    u_mean, z_mean = u_MD.mean(0), z_MC.mean(0)
    u_MD -= u_mean
    gram = u_MD.T @ u_MD
    gram.diagonal().add_(RIDGE * gram.trace() / len(gram))
    weight = torch.linalg.solve(gram, u_MD.T @ (z_MC - z_mean))
    bias = z_mean - u_mean @ weight
    h_test = source.prefix(layer, data.x_test)
    z_hat = LayerInput(description, h_test, "float64").predict(weight, bias)
    list(target.suffix(layer, z_hat.float()))
    return held_out_fvu(target, layer, data, z_hat)


def held_out_fvu(target: Network, layer: int, data: Data, z_hat: Tensor) -> float:
    """FVU of a prediction of the target's layer on the held-out images."""
    z = target.layer(layer, target.prefix(layer, data.x_test))
    moments = ChannelMoments(z.shape[1])
    moments.add(z)
    return fraction_unexplained(
        channel_sums((z_hat - z).double().square()) / moments.rows, moments.variance_C
    )


class Adam:
    """Gu 2020's fit of one layer, step by step, on features of the frozen nets."""

    def __init__(self, source: Network, target: Network, layer: int, data: Data) -> None:
        self._source, self._target, self._layer, self._data = source, target, layer, data
        self.description = target.architecture.layers[layer - 1]
        shape = target.parameters[f"layers.{layer}.weight"].shape
        fan_in = shape[1:].numel()
        self.weight = (
            torch.randn(shape, generator=stream("adam", layer)) * (2 / fan_in) ** 0.5
        ).requires_grad_()
        self.bias = torch.zeros(shape[0], requires_grad=True)
        self._optimizer = torch.optim.Adam([self.weight, self.bias], lr=ADAM_RATE)
        self._order = stream("adam order", layer)

    def features(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Input and goal of the fit, from the frozen nets."""
        with torch.no_grad():
            x = self._data.x_train[batch]
            return self._source.prefix(self._layer, x), self._target.layer(
                self._layer, self._target.prefix(self._layer, x)
            )

    def step(self, number: int, features: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        """One step on a random batch; the learning rate rises over the first epoch."""
        batch = torch.randint(len(self._data.y_train), (ADAM_BATCH,), generator=self._order)
        h, z = features(batch)
        loss = 5 * F.mse_loss(linear(self.description, h, self.weight, self.bias), z)
        for group in self._optimizer.param_groups:
            group["lr"] = ADAM_RATE * min(1.0, (number + 1) / ADAM_WARM_STEPS)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()


def adam_seconds(source: Network, target: Network, layer: int, data: Data, repeats: int) -> float:
    """Time of the whole schedule, from some of its steps, the frozen nets' forward passes included."""
    fit = Adam(source, target, layer, data)

    def some_steps() -> None:
        for number in range(TIMED_STEPS):
            fit.step(number, fit.features)

    return median_seconds(some_steps, repeats) / TIMED_STEPS * ADAM_STEPS


def adam_fvu(source: Network, target: Network, layer: int, data: Data) -> float:
    """Held-out FVU after the whole schedule; the frozen features are computed once, which changes no step."""
    fit = Adam(source, target, layer, data)
    h, z = fit.features(torch.arange(len(data.y_train)))
    for number in range(ADAM_STEPS):
        fit.step(number, lambda batch: (h[batch], z[batch]))
    with torch.no_grad():
        z_hat = linear(fit.description, source.prefix(layer, data.x_test), fit.weight, fit.bias)
        return held_out_fvu(target, layer, data, z_hat)


def kernel_shares(
    network: Network, layer: int, data: Data, repeats: int, gemm: float
) -> dict[str, float | None]:
    """The rates of the lag Gram and of the cross term as shares of the GEMM rate; None for a dense layer."""
    description = network.architecture.layers[layer - 1]
    if description.kind == "dense":
        return {"gram_share": None, "cross_share": None}
    h = network.prefix(layer, data.x_train[:64])
    z = network.layer(layer, h)
    images_, channels, height, width = h.shape
    kernel = description.kernel
    steps = len(list(lags(kernel, height, width)))
    gram_flops = 2.0 * steps * channels**2 * images_ * (height + kernel - 1) * (width + kernel - 1)
    cross_flops = 2.0 * z.numel() * channels * kernel**2
    inputs = LayerInput(description, h, "float32")
    gram_time = median_seconds(lambda: lag_gram(h, kernel, description.padding), repeats)
    cross_time = median_seconds(lambda: inputs.cross_CD(z), repeats)
    return {"gram_share": gram_flops / gram_time / gemm, "cross_share": cross_flops / cross_time / gemm}
