"""The door to the compiled kernels gives a network back faster or as it was, and a step of SGD or none."""

import subprocess
import sys

import pytest
import torch

from espalier.tasks.kernels import compiled
from espalier.tasks.kernels.compiled import compiles, faster, kernels, sgd_step
from espalier.tasks.kernels.compiled_network import CompiledNetwork
from espalier.tasks.networks.families.conv import conv
from espalier.tasks.networks.network import initialise
from espalier.tasks.training.optimizer import make_optimizer
from tests.tasks.conftest import make_net

WIDE = conv([1, 1, "pool"], 32, (1, 8, 8), 5)
FACTORS = {"rate": 0.1, "decay": 0.01, "momentum": 0.9, "nesterov": True}


def network():
    return initialise(make_net(width=32, entries=(1, 1, "pool")))


def test_with_the_kernels_allowed_a_wide_network_comes_back_faster_and_sgd_has_a_step():
    plain = network()
    assert isinstance(faster(plain), CompiledNetwork)
    assert compiles(WIDE)
    assert sgd_step(list(plain.parameters.values()), **FACTORS) is not None


def test_with_the_kernels_off_everything_is_left_to_pytorch_until_the_context_ends():
    plain = network()
    with kernels("off") as use:
        assert faster(plain) is plain
        assert not compiles(WIDE)
        assert sgd_step(list(plain.parameters.values()), **FACTORS) is None
    assert use.notes == []
    assert compiles(WIDE)
    with kernels("off"), kernels("auto"):
        assert compiles(WIDE)


def test_there_is_no_step_for_other_numbers_for_gaps_and_without_momentum():
    weight = torch.randn(8, 8)
    assert sgd_step([weight], **FACTORS) is not None
    for others in ([weight.double()], [weight.to("meta")], [weight, weight[:, :4]]):
        assert sgd_step(others, **FACTORS) is None
    assert sgd_step([weight], **(FACTORS | {"momentum": 0.0})) is None


def test_without_the_kernels_sgd_goes_on_from_the_momentum_that_they_left():
    """Both ways to and fro; float32 rounds numbers of about 1 to 6e-8, which four steps add up."""
    net = make_net()
    start = initialise(net).parameters
    slopes = {name: torch.randn_like(value) for name, value in start.items()}

    def after(settings):
        parameters, state = {name: value.clone() for name, value in start.items()}, {}
        for setting in settings:
            optimizer = make_optimizer(net, parameters, state)
            with kernels(setting):
                # PyTorch's step adds to the slopes that it is given.
                optimizer.apply({name: slope.clone() for name, slope in slopes.items()}, 0.05)
            state = optimizer.momentum
        return parameters | {f"momentum of {name}": value for name, value in state.items()}

    whole = after(["auto"] * 4)
    for settings in (["off"] * 4, ["off", "auto", "auto", "off"]):
        torch.testing.assert_close(after(settings), whole, rtol=1e-5, atol=1e-6)


def test_what_keeps_llvmlite_away_is_noted_once_where_kernels_were_wanted(monkeypatch):
    monkeypatch.setattr(compiled, "_problem", lambda: "no LLVM here")
    plain = network()
    with kernels("auto") as use:
        assert use.notes == []
        for _ in range(2):
            assert faster(plain) is plain
            assert not compiles(WIDE)
            assert sgd_step(list(plain.parameters.values()), **FACTORS) is None
    assert use.notes == ["no LLVM here"]
    with kernels("off") as use:
        faster(plain)
    assert use.notes == []


@pytest.mark.parametrize(
    ("obstacle", "said"),
    [
        ("sys.modules['llvmlite'] = None", "ModuleNotFoundError: import of llvmlite"),
        (
            "def raising(name):\n"
            "    if name == 'binding':\n"
            "        raise OSError('libllvmlite.so: no such file')\n"
            "    raise AttributeError(name)\n"
            "sys.modules['llvmlite'] = broken = type(sys)('llvmlite')\n"
            "broken.__getattr__ = raising\n",
            "OSError: libllvmlite.so: no such file",
        ),
    ],
    ids=["not installed", "broken library"],
)
def test_a_machine_without_llvmlite_imports_everything_and_is_told_why_there_are_no_kernels(obstacle, said):
    code = f"import sys\n{obstacle}\n" + (
        "from espalier.tasks.training import coordinate_check, probe, train\n"
        "from espalier.tasks.kernels.compiled import compiles, kernels\n"
        "from espalier.tasks.spec import Architecture\n"
        "with kernels('auto') as use:\n"
        "    assert not compiles(Architecture((1, 8, 8), ()))\n"
        "print(use.notes)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100
    )
    assert said in answer.stdout
    assert "PyTorch trains without the compiled kernels" in answer.stdout
