"""Whether a net's bits depend on the nets that are trained with it: tested on the machine that trains.

In which order a library sums depends on the processor, the layout, the number of channels and the number of
nets, and no rule holds on every machine. So a few steps are taken in groups of every size, each beginning
with another net, and compared with the steps of each net by itself (beside a copy, `tasks.training.train`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from espalier.tasks.data.tensors import Data
from espalier.tasks.seeds import stream
from espalier.tasks.spec import NetSpec, Probe, Snapshot, TrainMode, TrainSegment
from espalier.tasks.training.stack import Tensors
from espalier.tasks.training.train import Diverged, Trained, initial_state, train_group
from espalier.tasks.worker.processor import cores

STEPS = 2
"""Steps on whole batches: after the first one no layer's gradient is zero, whatever the net starts from."""

NETS = 3
"""Different nets, each of which stands in several places of a larger group."""


def conditions(probe: Probe, device: str = "cpu") -> str:
    """Everything beside the network and the way of training that `keeps_bits` may depend on."""
    names = [torch.backends.cpu.get_cpu_capability(), *dict.fromkeys(cores())]
    if device == "cuda":
        names.append(torch.cuda.get_device_name())
    names.append(f"torch {torch.__version__}")
    if probe.last_batch:
        names.append(f"last batch of {probe.last_batch}")
    return ", ".join(names)


def keeps_bits(probe: Probe, mode: TrainMode, size: int, device: str = "cpu") -> bool:
    """Whether nets such as `probe.net` have the same bits in groups of every number from 1 to `size`.

    Compared are parameters, the optimizer's state, and the rows of the net and of its curve. A net that
    diverges within these steps has no bits to keep.
    """
    if not mode.grouped:
        return True  # a net by itself
    # What a recipe leaves out of the images or changes of their labels is nothing to random ones.
    recipe = replace(probe.net.recipe, class_keep=(), label_noise=0.0)
    nets = [replace(probe.net, recipe=recipe, seed=seed, order=(seed,)) for seed in range(min(NETS, size))]
    states, data = [initial_state(net) for net in nets], _images(probe, device)

    def trained(places: Sequence[int]) -> list[Trained | Diverged]:
        segments = [_segment(nets[place]) for place in places]
        return train_group(segments, [states[place] for place in places], data, mode)

    alone = [trained([place])[0] for place in range(len(nets))]
    # Large groups first: most ways that do not keep bits fail there.
    for count in range(size, 1, -1):
        company = [(count + place) % len(nets) for place in range(count)]
        for place, found in zip(company, trained(company), strict=True):
            if not same_bits(found, alone[place]):
                return False
    return True


def same_bits(one: Trained | Diverged, other: Trained | Diverged) -> bool:
    """Whether two trainings of one net came to the same, but for the time that they took."""
    if isinstance(one, Diverged) or isinstance(other, Diverged):
        return False
    return (
        _equal(one.state.parameters, other.state.parameters)
        and _equal(one.state.momentum, other.state.momentum)
        and one.net_row == other.net_row
        and _untimed(one) == _untimed(other)
    )


def _equal(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _untimed(trained: Trained) -> list[dict[str, Any]]:
    return [{**row, "seconds": 0.0} for row in trained.curve_rows]


def _segment(net: NetSpec) -> TrainSegment:
    key = f"probe-{net.seed}"
    return TrainSegment(Snapshot(key, key, net, 1), None, keep_state=True)


def _images(probe: Probe, device: str) -> Data:
    """Random ones: whole batches, and the short one with which the sweep's epochs end."""
    x, y = random_images(probe.net, STEPS * probe.net.recipe.batch_size + probe.last_batch, device)
    return Data(x, y, x[: probe.net.recipe.batch_size], y[: probe.net.recipe.batch_size])


def random_images(net: NetSpec, count: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of a net's size and labels, or numbers where it is a regression."""
    outputs, generator = net.architecture.layers[-1].out, stream("probe")
    x = torch.randn(count, *net.architecture.input, generator=generator).to(device)
    if net.recipe.loss == "mse":
        return x, torch.randn(count, outputs, generator=generator).to(device)
    return x, torch.randint(outputs, (count,), generator=generator).to(device)
