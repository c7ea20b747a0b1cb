"""Layer l fitted as in Gu et al. 2020: Adam on batches of images, from a random start (docs/method.md).

Every step draws one batch, computes the features of all nets of the tile once, and moves every map. A map's
numbers come from its own pair alone. Legend: N images, C output channels, H x W positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.adam import adam

from espalier.tasks.grafting.tile_nets import Batch, Features, TileNets, goal
from espalier.tasks.grafting.tile_parts import Source
from espalier.tasks.networks.architectures import weight_shape
from espalier.tasks.networks.cuts import ADAM_BATCH, Arm, all_arms, arm_sizes
from espalier.tasks.networks.network import linear
from espalier.tasks.seeds import stream
from espalier.tasks.spec import GraftOptions, Layer, Pair

LOSS_SCALE = 5.0
"""Gu et al. 2020 minimise five times the mean squared difference."""

Place = tuple[Source, Pair, Arm]


class AdamMap:
    """A linear map under Adam (Kingma & Ba 2015; PyTorch's defaults), float32, by the functional step.

    The class `torch.optim.Adam` takes the same step, but its first one imports PyTorch's compiler.
    """

    def __init__(self, layer: Layer, weight: Tensor) -> None:
        self.layer = layer
        self.weight, self.bias = weight, weight.new_zeros(len(weight))
        self._first, self._second = ([value.new_zeros(value.shape) for value in self._values] for _ in "12")
        self._steps = [torch.zeros(()) for _ in self._values]

    @property
    def _values(self) -> list[Tensor]:
        return [self.weight, self.bias]

    def step(self, h: Tensor, z: Tensor, rate: float) -> None:
        """One step towards giving `z` (N, C, H, W) or (N, C) where `h` is read."""
        adam(
            self._values,
            self._gradients(h, z),
            self._first,
            self._second,
            [],
            self._steps,
            foreach=False,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def _gradients(self, h: Tensor, z: Tensor) -> list[Tensor]:
        with torch.enable_grad():
            values = weight, bias = [value.detach().requires_grad_() for value in self._values]
            loss = LOSS_SCALE * F.mse_loss(linear(self.layer, h, weight, bias), z)
        return list(torch.autograd.grad(loss, values))


def initial_weight(shape: tuple[int, ...], *names: int | str) -> Tensor:
    """He-normal: variance 2 / fan-in (He et al. 2015)."""
    fan_in = torch.Size(shape[1:]).numel()
    return torch.randn(shape, generator=stream("adam weight", *names)) * (2.0 / fan_in) ** 0.5


def rates(options: GraftOptions) -> Iterator[float]:
    """The learning rate of every step: a linear warm-up over the first epoch, then constant.

    >>> list(rates(GraftOptions(adam_lr=1.0, adam_epochs=2, adam_batches=2)))
    [0.5, 1.0, 1.0, 1.0]
    """
    for number in range(1, options.adam_epochs * options.adam_batches + 1):
        yield options.adam_lr * min(1.0, number / options.adam_batches)


def drawn(images: int, options: GraftOptions) -> Iterator[Tensor]:
    """The images (N,) of every step, the same for all pairs: all images in a random order, over and over.

    An epoch is a number of batches, whatever the number of images, and begins with a new order.
    """
    for epoch in range(1, options.adam_epochs + 1):
        generator, wanted = stream("adam batches", images, epoch), options.adam_batches * ADAM_BATCH
        orders = [torch.randperm(images, generator=generator) for _ in range(-(-wanted // images))]
        yield from torch.cat(orders)[:wanted].split(ADAM_BATCH)


def adam_maps(nets: TileNets, images: int, views: Callable[[int], Tensor]) -> dict[Place, AdamMap]:
    """Fit every arm of the cuts by Adam, for every pair of the tile.

    Args:
        nets: The tile.
        images: N.
        views: From an epoch, counted from 1, to the images (N, C, H, W) that are shown in it.
    """
    options = nets.tile.options
    arms = all_arms([cut for cut in nets.cuts if cut.by_adam])
    maps = {
        (source, pair, arm): _start(nets, pair, arm)
        for source, pairs in nets.pairs_of.items()
        for pair in pairs
        for arm in arms
    }
    if not maps:
        return maps
    batches = nets.drawn_batches(drawn(images, options), images, "train")
    steps = zip(rates(options), batches, strict=True)
    for epoch in range(1, options.adam_epochs + 1):
        x = views(epoch)
        for rate, batch in islice(steps, options.adam_batches):
            _move(maps, nets.features(x, batch), batch, rate)
    return maps


def _start(nets: TileNets, pair: Pair, arm: Arm) -> AdamMap:
    """The map of an arm at its initial weight, drawn for the pair whatever the tile or the schedule."""
    source, target = (nets.networks[index].architecture for index in (pair.source, pair.target))
    sizes = arm_sizes(source, target, arm)
    names = [nets.tile.snapshots[index].key for index in (pair.source, pair.target)]
    weight = initial_weight(weight_shape(sizes.map, sizes.shape), *names, pair.null, *arm)
    device = next(iter(nets.networks[pair.source].parameters.values())).device
    return AdamMap(sizes.map, weight.to(device))


def _move(maps: dict[Place, AdamMap], features: Features, batch: Batch, rate: float) -> None:
    """One step of every map."""
    for (source, pair, arm), moved in maps.items():
        h = features.sources[source][arm.reads].h_in
        moved.step(h, goal(arm, source, features.targets[pair.target], batch), rate)
