"""Small nets and images for the tests of tasks."""

import pytest
import torch

from espalier.tasks.data.tensors import Data
from espalier.tasks.networks.families.conv import conv
from espalier.tasks.seeds import stream
from espalier.tasks.spec import DataSpec, NetSpec, Recipe, Schedule, Snapshot

torch.set_num_threads(1)


def make_net(seed=0, width=3, entries=(1, "pool", 2), image=(2, 6, 6), classes=5, **recipe):
    """A net's spec; keyword arguments override its recipe."""
    settings = {"lr": 0.05, "momentum": 0.9, "nesterov": True, "batch_size": 16} | recipe
    settings.setdefault("schedule", Schedule("constant"))
    return NetSpec(
        family="conv-test",
        architecture=conv(entries, width, image, classes),
        width=width,
        parametrization="sp",
        init="he_normal",
        recipe=Recipe(regularizer="l2", reg_weight=1e-3, **settings),
        data=DataSpec("noise", "noise"),
        seed=seed,
        order=(width, seed),
    )


def make_snapshot(net, epoch=0):
    """A snapshot with readable keys."""
    net_key = f"net-w{net.width}-s{net.seed}"
    return Snapshot(f"{net_key}-e{epoch}", net_key, net, epoch)


def make_data(train=120, test=60, image=(2, 6, 6), classes=5, seed=0):
    """Gaussian images whose label is written into their mean, so that there is something to learn."""
    generator = stream("test-data", seed)
    labels = torch.randint(classes, (train + test,), generator=generator)
    prototypes = torch.randn(classes, *image, generator=generator)
    x = torch.randn(train + test, *image, generator=generator) + prototypes[labels]
    return Data(x[:train], labels[:train], x[train:], labels[train:])


@pytest.fixture(scope="session")
def data():
    return make_data()
