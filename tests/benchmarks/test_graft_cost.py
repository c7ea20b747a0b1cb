"""The graft benchmark at a tiny size: the same fit three ways, and the engine left as it was."""

import math

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import graft_cost as benchmark
from benchmarks.__main__ import app
from benchmarks.graft_cost import Setup, run
from benchmarks.graft_floor import floor
from benchmarks.one_pair import OnePair
from benchmarks.phases import PHASES, Clock, clocked
from espalier.tasks.data.tensors import load
from espalier.tasks.spec import GraftOptions
from tests.tasks.conftest import make_net

ROW = {
    "width", "layer", "adam_seconds", "naive_seconds", "exact_seconds", "adam_ratio", "naive_ratio",
    "fvu_adam", "fvu_naive", "fvu_exact", "gram_share", "cross_share",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def small_products():
    """Matrix products that take no time to speak of: what they measure is the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.timing.GEMM_SIZE", 64)
        yield


@pytest.fixture(scope="module")
def result(small_products):
    # 200 images for 18 to 36 patch dimensions; the classifier has more than that.
    return run(Setup(widths=(2, 3), nets=2, repeats=1, images=200, to_the_end=(), ridges=()))


def test_every_width_and_layer_has_a_row_with_positive_times(result):
    assert [(row["width"], row["layer"]) for row in result["rows"]] == [
        (width, layer) for width in (2, 3) for layer in (2, 3, 4, 5)
    ]
    for row in result["rows"]:
        assert set(row) == ROW
        for name in ("adam_seconds", "naive_seconds", "exact_seconds", "adam_ratio", "naive_ratio"):
            assert row[name] > 0, name
        assert row["fvu_adam"] is None
        assert (row["gram_share"] is None) == (row["layer"] == 5)


def test_a_perfect_machines_time_is_told_by_phase_and_in_all(result):
    for width in (2, 3):
        rows = [row for row in result["floor"] if row["width"] == width]
        *phases, total = rows
        assert total["phase"] == "all"
        assert {row["phase"] for row in phases} <= {phase for phase, _, _ in PHASES}
        for name in ("gigaops", "gemm_seconds", "minimal_seconds"):
            assert total[name] == pytest.approx(sum(row[name] for row in phases))
        assert all(0 < row["minimal_seconds"] <= row["gemm_seconds"] for row in rows)
        assert total["engine_seconds"] == pytest.approx(
            result["rows"][0 if width == 2 else 4]["exact_seconds"]
        )


def test_a_perfect_machine_takes_the_products_of_minimal_filtering():
    """Cross terms of a conv of 32 channels, 36 products a tile, and of a classifier in float64."""
    net = make_net(width=32, entries=(1, 1), image=(2, 6, 6)).architecture
    rows = {row["phase"]: row for row in floor(net, nets=2, images=10, held_out=10, ridges=(), rate=1e9)}
    conv, classifier = 2 * 32 * 32 * 36 * 4, 2 * (2 * 32 * 36 * 5)
    pairs, grafts = 2, 4
    assert rows["cross terms"]["minimal_seconds"] == pytest.approx(
        pairs * 10 * (conv + classifier) / grafts / 1e9
    )


def test_one_pair_at_a_time_gives_the_engines_fit(result):
    for row in result["rows"]:
        assert row["fvu_naive"] == pytest.approx(row["fvu_exact"], rel=1e-4)


def test_summaries_are_ratios_of_means_and_phases_add_up_to_all(result):
    for summary, phases in zip(result["summary"], result["phases"], strict=True):
        rows = [row for row in result["rows"] if row["width"] == summary["width"]]
        total = sum(row["adam_seconds"] for row in rows) / sum(row["exact_seconds"] for row in rows)
        assert summary["adam_ratio"] == pytest.approx(total)
        shares = [value for name, value in phases.items() if name != "width"]
        assert sum(shares) == pytest.approx(1.0)
        assert phases["cross terms"] > 0
        assert phases["held-out tops"] > 0
        assert phases["BN statistics"] == 0


def test_progress_is_told_on_stderr_and_ends_at_nothing_left(capsys):
    setup = Setup(widths=(2,), nets=2, repeats=1, images=100, to_the_end=())
    run(setup)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("width 2: train 2 nets")
    assert all("left" in line for line in lines[1:])


def test_adam_to_the_end_is_the_schedule_of_the_engine(monkeypatch):
    """A short schedule by the benchmark, features made once or for each step."""
    short = GraftOptions(adam_epochs=2, adam_batches=3)
    monkeypatch.setattr("benchmarks.one_pair.GraftOptions", lambda: short)
    setup = Setup(widths=(2,), nets=2, images=100)
    _, networks = benchmark.trained(setup, 2)
    one = OnePair(networks[0], networks[1], 3, load("mnist5k", limit_train=100))
    with torch.no_grad():
        *_, last = one.adam()
        assert len(list(one.adam())) == 6
        expected = one.held_out(last.weight.flatten(1).T.double(), last.bias.double())
    assert one.adam_fvu() == pytest.approx(expected, rel=1e-6)


def test_wrapped_functions_come_back_and_only_the_outermost_phase_counts():
    before = [getattr(place, name) for _, place, name in PHASES]
    times = iter(range(100))
    clock = Clock(lambda: float(next(times)))
    inner = clock.timed("inner", lambda: next(times))
    outer = clock.timed("outer", lambda: inner())
    outer()
    assert dict(clock.seconds) == {"outer": 2.0}
    steps = clock.timed("steps", lambda: (number for number in range(2)))
    assert list(steps()) == [0, 1]
    assert clock.seconds["steps"] == 4.0  # the call, two values, and the end
    with clocked(lambda: math.inf):
        assert [getattr(place, name) for _, place, name in PHASES] != before
    assert [getattr(place, name) for _, place, name in PHASES] == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused():
    answer = CliRunner().invoke(app, ["graft", "--device", "cuda"])
    assert answer.exit_code == 2
    assert "PyTorch finds no GPU here" in " ".join(answer.output.split())
