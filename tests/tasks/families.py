"""One small net of every family, and the same nets put together by hand from torch.nn modules."""

from dataclasses import replace

import torch
from torch import nn

from espalier.tasks.networks.families.conv import conv
from espalier.tasks.networks.families.dense import dense
from espalier.tasks.networks.families.resnet import resnet
from espalier.tasks.networks.families.vgg import vgg
from espalier.tasks.networks.network import Network, initialise
from espalier.tasks.seeds import stream
from tests.tasks.conftest import make_net

CLASSES = 5
ARCHITECTURES = {
    "conv-bn": conv([1, "pool", 2], 3, (2, 6, 6), CLASSES, batch_norm=True),
    "vgg16-bn": vgg("vgg16", 1, (2, 32, 32), CLASSES, batch_norm=True),
    "vgg19": vgg("vgg19", 1, (2, 32, 32), CLASSES),
    "resnet20": resnet("resnet20", 2, (2, 8, 8), CLASSES),
    "resnet18": resnet("resnet18", 2, (2, 16, 16), CLASSES),
    "dense": dense([2, 1, 1], 4, (2, 3, 2), CLASSES),
}


def family_net(name, seed=0, width=2, **recipe):
    """The spec of a small net of a family."""
    return replace(make_net(seed=seed, width=width, **recipe), architecture=ARCHITECTURES[name])


def lively(net):
    """The initial net with biases, BN's scales and statistics that are not 0 and 1."""
    network, moved = initialise(net), {}
    for name, value in network.parameters.items():
        noise = torch.randn(value.shape, generator=stream("lively", net.seed, name))
        if name.endswith(("running_var", "bn.weight")):
            moved[name] = 1.0 + 0.3 * noise.tanh()
        elif name.endswith("weight"):
            moved[name] = value
        else:
            moved[name] = 0.5 + 0.3 * noise
    return Network(network.architecture, moved)


class Block(nn.Module):
    """A basic block (He et al. 2016)."""

    def __init__(self, channels, out, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, out, 3, stride, 1), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1), nn.BatchNorm2d(out)
        self.down = None
        if stride > 1:
            self.down = nn.Sequential(nn.Conv2d(channels, out, 1, stride), nn.BatchNorm2d(out))

    def forward(self, x):
        inner = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (inner + (x if self.down is None else self.down(x))).relu()

    def parts(self):
        """Modules in the order of the layers: each with its BN, the second with its projection."""
        projected = () if self.down is None else tuple(self.down)
        return [(self.conv1, self.bn1), (self.conv2, self.bn2, *projected)]


def resnet_by_hand(stages, width, channels):
    layers = [nn.Conv2d(channels, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU()]
    parts, given = [(layers[0], layers[1])], width
    for stage, blocks in enumerate(stages):
        for number in range(blocks):
            block = Block(given, width * 2**stage, 2 if stage and not number else 1)
            given = width * 2**stage
            layers.append(block)
            parts += block.parts()
    last = nn.Linear(given, CLASSES)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), last), [*parts, (last,)]


def vgg_by_hand(plan, width, channels, batch_norm):
    layers, parts = [], []
    for entry in plan:
        if entry == "M":
            layers.append(nn.MaxPool2d(2))
            continue
        layers.append(nn.Conv2d(channels, entry * width, 3, padding=1))
        channels = entry * width
        parts.append((layers[-1],))
        if batch_norm:
            layers.append(nn.BatchNorm2d(channels))
            parts[-1] += (layers[-1],)
        layers.append(nn.ReLU())
    dense_layers = [nn.Linear(8 * width, 64 * width), nn.Linear(64 * width, 64 * width)]
    dense_layers.append(nn.Linear(64 * width, CLASSES))
    first, second, last = dense_layers
    head = [nn.Flatten(), nn.Dropout(), first, nn.ReLU(), nn.Dropout(), second, nn.ReLU(), nn.Dropout(), last]
    return nn.Sequential(*layers, *head), [*parts, *((layer,) for layer in dense_layers)]


def dense_by_hand():
    maps = [nn.Linear(12, 8), nn.Linear(8, 4), nn.Linear(4, 4), nn.Linear(4, CLASSES)]
    modules = [nn.Flatten(), maps[0], nn.Tanh(), maps[1], nn.Tanh(), maps[2], nn.Tanh(), maps[3]]
    return nn.Sequential(*modules), [(layer,) for layer in maps]


VGG16 = [1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M"]
VGG19 = [1, 1, "M", 2, 2, "M", 4, 4, 4, 4, "M", 8, 8, 8, 8, "M", 8, 8, 8, 8, "M"]
BY_HAND = {
    "vgg16-bn": lambda: vgg_by_hand(VGG16, 1, 2, True),
    "vgg19": lambda: vgg_by_hand(VGG19, 1, 2, False),
    "resnet20": lambda: resnet_by_hand((3, 3, 3), 2, 2),
    "resnet18": lambda: resnet_by_hand((2, 2, 2, 2), 2, 2),
    "dense": dense_by_hand,
}


def names_by_hand(parts):
    """(our name, tensor) of every parameter and statistic of a net by hand."""
    for number, modules in enumerate(parts, start=1):
        places = ["", ".bn", ".shortcut", ".shortcut.bn"]
        for place, module in zip(places, modules, strict=False):
            for part, value in module.state_dict(keep_vars=True).items():
                if part != "num_batches_tracked":
                    yield f"layers.{number}{place}.{part}", value


def by_hand(name, network):
    """The net by hand with the network's parameters, and its parts."""
    modules, parts = BY_HAND[name]()
    for ours, value in names_by_hand(parts):
        assert value.shape == network.parameters[ours].shape, ours
        value.data = network.parameters[ours].clone()
    return modules, parts
