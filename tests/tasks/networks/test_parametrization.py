"""Parametrizations: factors against tables written out, training against nets with multipliers."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from espalier.tasks.networks.architectures import is_trained, parameter_shapes
from espalier.tasks.networks.families.dense import dense
from espalier.tasks.networks.families.resnet import resnet
from espalier.tasks.networks.families.vgg import vgg
from espalier.tasks.networks.network import Network, initialise
from espalier.tasks.networks.parametrization import factors, role
from espalier.tasks.spec import Architecture, Layer, Schedule, Shortcut
from espalier.tasks.training.optimizer import make_optimizer
from tests.tasks.conftest import make_net

# Width 4 over base width 1, so m = 4. Fan-ins: 9, 36, 4 (the projection), 32 (8 channels x 2 x 2), and N = 8.
SMALL = Architecture(
    (1, 4, 4),
    (
        Layer("conv", 4, 3, 1, batch_norm=True),
        Layer("conv", 8, 3, 1, pool=2, shortcut=Shortcut(1, projection=True)),
        Layer("dense", 8),
        Layer("dense", 3, activation="none"),
    ),
)
PARTS = {
    "first": "layers.1.weight",
    "hidden conv": "layers.2.weight",
    "projection": "layers.2.shortcut.weight",
    "dense after conv": "layers.3.weight",
    "last": "layers.4.weight",
    "bias": "layers.3.bias",
    "bn": "layers.1.bn.weight",
    "output bias": "layers.4.bias",
}
VARIANCES = {
    # first, hidden conv, projection, dense after conv, last: factors on 2 / fan-in
    "sp": (1, 1, 1, 1, 1),
    "ntk": (1, 1, 1, 1, 1),
    "mup": (1, 1, 1, 1, 1 / 4),
    "mean_field": (1, 1, 1, 1, 1 / 2),  # gamma = 0.5 sqrt(8), gamma^2 = 2
}
RATES = {
    # the same, then bias, bn, output bias
    ("sp", "sgd"): (1, 1, 1, 1, 1, 1, 1, 1),
    ("ntk", "sgd"): (1, 1 / 4, 1 / 4, 1 / 4, 1 / 4, 1, 1, 1),
    ("mup", "sgd"): (4, 1, 1, 1, 1 / 4, 4, 4, 1),
    ("mean_field", "sgd"): (4 / 9, 1 / 9, 1, 1 / 8, 1 / 4, 2, 2, 1),
    ("sp", "adamw"): (1, 1, 1, 1, 1, 1, 1, 1),
    ("ntk", "adamw"): (1 / 2, 1 / 8, 1 / 8, 1 / 8, 1 / 4, 1 / 2, 1 / 2, 1),
    ("mup", "adamw"): (1, 1 / 4, 1 / 4, 1 / 4, 1 / 4, 1, 1, 1),
    ("mean_field", "adamw"): (0.0785674, 0.0196419, 0.1767767, 0.0220971, 0.1767767, 0.5, 0.5, 1),
}
EPSILONS = {
    "sp": (1,) * 8,
    "ntk": (1 / 2, 1 / 2, 1 / 2, 1 / 2, 1, 1 / 2, 1 / 2, 1),
    "mup": (1 / 4, 1 / 4, 1 / 4, 1 / 4, 1, 1 / 4, 1 / 4, 1),
    "mean_field": (1 / 4, 1 / 4, 1 / 4, 1 / 4, 1, 1 / 4, 1 / 4, 1),  # 1 / (0.5 x 8)
}


def small(parametrization, optimizer="sgd", **recipe):
    """A net of width 4 with plain steps: no momentum, no decay."""
    net = make_net(
        width=4, schedule=Schedule("constant"), **({"lr": 0.1, "momentum": 0.0, "nesterov": False} | recipe)
    )
    plain = replace(net.recipe, regularizer="none", reg_weight=0.0, optimizer=optimizer, eps=1e-3)
    made = replace(net, architecture=SMALL, parametrization=parametrization, recipe=plain)
    return replace(made, richness=0.5) if parametrization == "mean_field" else made


@pytest.mark.parametrize("parametrization", VARIANCES)
def test_initial_scales_are_those_of_the_table(parametrization):
    start, standard = initialise(small(parametrization)).parameters, initialise(small("sp")).parameters
    for (part, name), variance in zip(PARTS.items(), VARIANCES[parametrization], strict=False):
        # The same draws, scaled: float32 rounding alone.
        torch.testing.assert_close(start[name], standard[name] * variance**0.5, msg=part, rtol=1e-6, atol=0)
    for name in ("bias", "bn", "output bias"):
        assert torch.equal(start[PARTS[name]], standard[PARTS[name]])


@pytest.mark.parametrize("init", ["he_normal", "uniform"])
def test_a_wide_last_layer_of_mup_has_the_variance_of_the_table(init):
    """2 / fan-in x base / width = 2 / 2000 x 1 / 1000; the estimate from 20,000 draws is good to 1 %."""
    net = replace(small("mup"), width=1000, init=init)
    net = replace(net, architecture=dense([2], 1000, (1, 1, 1), 10))
    assert initialise(net).parameters["layers.2.weight"].var().item() == pytest.approx(1e-6, rel=0.05)


@pytest.mark.parametrize(("parametrization", "optimizer"), RATES)
def test_the_first_update_of_each_tensor_is_its_gradient_times_the_rate_of_the_table(
    parametrization, optimizer
):
    net = small(parametrization, optimizer)
    start = initialise(net).parameters
    moved = {name: value.clone() for name, value in start.items()}
    # Gradients as small as epsilon, so that a wrong epsilon shows.
    gradients = {
        name: 1e-3 * torch.randn(value.shape, generator=torch.Generator().manual_seed(5))
        for name, value in start.items()
        if is_trained(name)
    }
    make_optimizer(net, moved).apply(gradients, 0.1)
    tables = zip(PARTS.items(), RATES[parametrization, optimizer], EPSILONS[parametrization], strict=True)
    for (part, name), rate, epsilon in tables:
        slope = gradients[name]
        direction = slope if optimizer == "sgd" else slope / (slope.abs() + 1e-3 * epsilon)
        expected = -0.1 * rate * direction
        # The change is a difference of float32 numbers of size 1: 1e-7 of them is lost.
        torch.testing.assert_close(moved[name] - start[name], expected, msg=part, rtol=1e-4, atol=2e-7)
    assert torch.equal(moved["layers.1.bn.running_mean"], start["layers.1.bn.running_mean"])


@pytest.mark.parametrize("parametrization", ["ntk", "mup"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_at_the_base_width_a_net_is_trained_as_in_standard_parametrization(parametrization, optimizer):
    at_base = factors(replace(small(parametrization, optimizer), base_width=4))
    assert at_base == factors(small("sp", optimizer))


FAMILIES = {
    "vgg16": lambda width: vgg("vgg16", width, (3, 64, 64), 10, batch_norm=True),
    "resnet18": lambda width: resnet("resnet18", width, (3, 16, 16), 10),
    "resnet20": lambda width: resnet("resnet20", width, (3, 8, 8), 10),
    "dense": lambda width: dense([2, 1], width, (1, 2, 3), 10),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_role_of_a_tensor_says_which_of_its_sides_grow_with_the_width(family):
    narrow, wide = (parameter_shapes(FAMILIES[family](width)) for width in (3, 6))
    architecture = FAMILIES[family](3)
    grows = {
        "first": (2, 1), "hidden": (2, 2), "last": (1, 2), "vector": (2, 1), "output_bias": (1, 1),
    }  # fmt: skip
    seen = set()
    for name, shape in narrow.items():
        if is_trained(name):
            ratios = wide[name][0] / shape[0], (wide[name][1] / shape[1] if len(shape) > 1 else 1)
            assert ratios == grows[role(architecture, name)], name
            seen.add(role(architecture, name))
    assert seen == set(grows)


def test_a_net_of_one_map_has_nothing_that_grows():
    net = Architecture((1, 2, 2), (Layer("dense", 3, activation="none"),))
    assert role(net, "layers.1.weight") == "only"
    assert role(net, "layers.1.bias") == "output_bias"
    for parametrization in ("ntk", "mup"):
        made = factors(replace(small(parametrization), architecture=net))
        assert {(one.variance, one.rate, one.epsilon) for one in made.values()} == {(1.0, 1.0, 1.0)}


class RawMeanField(nn.Module):
    """Bordelon & Pehlevan 2022, equations 1 and 2, with two hidden layers and raw weights of variance 1.

    Maps sqrt(2 / fan-in), the last one divided by gamma = richness sqrt(N) as well.
    """

    def __init__(self, start, richness):
        super().__init__()
        self.fan_ins = [value.shape[1] for name, value in start.items() if name.endswith("weight")]
        self.gamma = richness * self.fan_ins[-1] ** 0.5
        self.scales = [(2 / fan_in) ** 0.5 for fan_in in self.fan_ins]
        self.scales[-1] /= self.gamma
        weights = [
            start[f"layers.{layer}.weight"] / scale for layer, scale in enumerate(self.scales, start=1)
        ]
        self.weights = nn.ParameterList([weight.clone() for weight in weights])

    def effective(self):
        return [scale * weight for scale, weight in zip(self.scales, self.weights, strict=True)]

    def forward(self, x):
        for weight in self.effective()[:-1]:
            x = (x @ weight.T).relu()
        return x @ self.effective()[-1].T


def mean_field_net(optimizer, **recipe):
    net = small("mean_field", optimizer, **recipe)
    return replace(net, architecture=dense([2, 1], 8, (1, 2, 3), 3, activation="relu"), width=8)


def train_both(net, raw, raw_optimizer, steps):
    """The effective weights after some steps, by us and by the net with multipliers; biases stay at 0."""
    parameters = {name: value.clone().requires_grad_() for name, value in initialise(net).parameters.items()}
    network, ours = Network(net.architecture, parameters), make_optimizer(net, parameters)
    generator = torch.Generator().manual_seed(3)
    for _ in range(steps):
        x, y = torch.randn(32, 1, 2, 3, generator=generator), torch.randint(3, (32,), generator=generator)
        loss = nn.functional.cross_entropy(network.logits(x), y)
        found = torch.autograd.grad(loss, list(parameters.values()))
        without_biases = {
            name: torch.zeros_like(slope) if name.endswith("bias") else slope
            for name, slope in zip(parameters, found, strict=True)
        }
        ours.apply(without_biases, net.recipe.lr)
        raw_optimizer.zero_grad()
        nn.functional.cross_entropy(raw(x.flatten(1)), y).backward()
        raw_optimizer.step()
    return [parameters[f"layers.{layer}.weight"].detach() for layer in (1, 2, 3)], raw.effective()


def test_mean_field_by_sgd_is_the_net_with_multipliers_at_the_rate_gamma_squared():
    net = mean_field_net("sgd", lr=0.02, momentum=0.9, nesterov=True)
    raw = RawMeanField(initialise(net).parameters, net.richness)
    rate = 0.02 * raw.gamma**2
    theirs = torch.optim.SGD(raw.parameters(), lr=rate, momentum=0.9, nesterov=True)
    for ours, expected in zip(*train_both(net, raw, theirs, 10), strict=True):
        torch.testing.assert_close(ours, expected.detach(), rtol=1e-4, atol=1e-6)


def test_adam_with_folded_multipliers_is_adam_on_the_raw_weights():
    """Tensor Programs V, Lemma J.1: raw rates g / sqrt(f), g at the last map; epsilons times c."""
    net = mean_field_net("adamw", lr=0.01)
    raw = RawMeanField(initialise(net).parameters, net.richness)
    width = raw.fan_ins[-1]
    below = 1e-3 / (net.richness * width)
    groups = [
        {"params": [weight], "lr": 0.01 * net.richness / fan_in**0.5, "eps": below * scale}
        for weight, fan_in, scale in zip(raw.weights, raw.fan_ins, raw.scales, strict=True)
    ]
    groups[-1] |= {"lr": 0.01 * net.richness, "eps": 1e-3 * raw.scales[-1]}
    theirs = torch.optim.Adam(groups)
    for ours, expected in zip(*train_both(net, raw, theirs, 10), strict=True):
        torch.testing.assert_close(ours, expected.detach(), rtol=1e-4, atol=1e-6)
