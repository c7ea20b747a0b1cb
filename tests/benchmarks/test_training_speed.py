"""The training benchmark at a tiny size: the same nets every way, and figures that hang together."""

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.plain_loop import begin_from, fit, modules
from benchmarks.random_images import COUNTS, write_random_images
from benchmarks.train_jobs import execute
from benchmarks.training_speed import BATCH, LONGEST, SHORTEST, Measurement, Setup, case, cases, run
from benchmarks.tuned_loop import fit_all
from espalier.cluster.pool import InProcessPool
from espalier.tasks.data.images import facts
from espalier.tasks.data.tensors import load
from espalier.tasks.networks.network import initialise
from espalier.tasks.spec import TrainSegment
from espalier.tasks.training.train import initial_state, order, train
from tests.tasks.conftest import make_snapshot

ROW = {
    "network", "width", "mode", "epochs", "images", "loop_nets_per_hour", "machine_nets_per_hour",
    "tune_nets_per_hour", "espalier_nets_per_hour", "loop_ratio", "machine_ratio", "tune_ratio",
    "kernel_ratio", "gemm_share", "gemm_gflops",
}  # fmt: skip
TINY = Setup(("digits",), (2, 3), nets=2, repeats=1, seconds=0.02, tune=False)


@contextmanager
def here(setup):
    """A pool of one slot in this process."""
    yield InProcessPool(execute, lambda name: b"")


@pytest.fixture(scope="module")
def result():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("espalier.tasks.training.probe.SECONDS", 0.01)
        patch.setattr("benchmarks.train_jobs.PRODUCTS", 1)
        patch.setattr("benchmarks.timing.GEMM_SIZE", 256)
        # The command below asks a process of its own for the threads, as users do.
        patch.setattr("benchmarks.training_speed.default_threads", lambda: 1)
        patch.setattr("benchmarks.kernels.TURNS", 1)
        return run(TINY, here)


def test_every_width_has_a_row_whose_ratios_are_those_of_its_rates(result):
    assert [(row["network"], row["width"]) for row in result["rows"]] == [("digits", 2), ("digits", 3)]
    assert result["machine"]["slots"] == 1
    for row in result["rows"]:
        assert set(row) == ROW
        ours = row["espalier_nets_per_hour"]
        # of one turn the medians are the values themselves
        assert row["loop_ratio"] == pytest.approx(ours / row["loop_nets_per_hour"])
        assert row["machine_ratio"] == pytest.approx(ours / row["machine_nets_per_hour"])
        assert row["tune_ratio"] is None
        assert 0 < row["gemm_share"] < 1
        assert row["kernel_ratio"] > 0
        assert row["mode"].split()[0] in ("loop", "grouped")


@pytest.mark.parametrize("network", ["digits", "vgg16"])
def test_the_plain_loop_trains_the_same_nets(network, tmp_path):
    """From the same weights, in the same order: the losses of two epochs to float32's rounding."""
    name = "parquet:" + write_random_images(tmp_path / "random") if network == "vgg16" else network
    one = case(Setup(seconds=0.05), network, 4, name)
    net, data = one.nets[0], one.data("cpu")
    if network == "vgg16":  # masks of dropout are drawn in another way
        layers = tuple(replace(layer, dropout=0.0) for layer in net.architecture.layers)
        net = replace(net, architecture=replace(net.architecture, layers=layers))
    epochs = 1 if network == "vgg16" else 2
    ours = train(TrainSegment(make_snapshot(net, epochs), None, False), initial_state(net), data)
    model = modules(net.architecture)
    trained = {name: value for name, value in initialise(net).parameters.items() if ".running_" not in name}
    begin_from(model, trained)
    orders = [order(net, epoch, len(data.y_train)) for epoch in range(1, epochs + 1)]
    curve = fit(model, net.recipe, epochs, data, orders)
    for (loss, accuracy), row in zip(curve, ours.curve_rows, strict=True):
        assert loss == pytest.approx(row["loss_train"], rel=1e-3)
        assert accuracy == pytest.approx(row["accuracy_test"], abs=0.05)


def test_rows_take_about_the_time_that_is_asked_for():
    """Small nets for many epochs over all images, large ones for the fewest over a part of them."""
    small, large = (case(Setup(seconds=5.0), "mnist5k", width, "mnist5k") for width in (4, 64))
    assert small.facts == facts("mnist5k")
    assert SHORTEST < small.epochs <= LONGEST
    assert large.epochs == SHORTEST
    assert 0 < large.facts.train < small.facts.train
    assert large.facts.train % BATCH == 0
    assert len(large.data("cpu").y_test) == large.facts.test


def test_random_images_have_cifars_shape(tmp_path):
    data = load("parquet:" + write_random_images(tmp_path / "random"))
    assert data.x_train.shape == (COUNTS["train"], 3, 32, 32)
    assert set(data.y_test.tolist()) == set(range(10))


def test_the_default_rows_are_those_of_the_promise(tmp_path):
    name = "parquet:" + write_random_images(tmp_path / "random")
    rows = [(one.network, one.width) for one in cases(Setup(), name)]
    conv = [(network, width) for network in ("digits", "mnist5k") for width in (4, 8, 16, 32, 64)]
    assert rows == [*conv, ("vgg16", 8), ("vgg16", 16)]
    on_gpu = cases(Setup(("vgg16",), device="cuda"), name)
    found = [(one.width, one.facts.train) for one in on_gpu]
    assert found == [(width, COUNTS["train"]) for width in (8, 16, 32, 64)]  # an eighth to the whole


def test_a_job_that_fails_ends_the_benchmark_with_its_error():
    def broken(job, blobs):
        raise RuntimeError("no such luck") if job.kind == "gemm" else ValueError("probe")

    pool = InProcessPool(broken, lambda name: b"")
    measurement = Measurement(TINY, case(TINY, "digits", 2, "digits"), pool, None)
    with pytest.raises(RuntimeError, match="no such luck"):
        measurement.gemm()


@pytest.mark.ray
@pytest.mark.slow
def test_the_command_prints_json_with_ray_tune_beside_us():
    options = ["--network", "digits", "--width", "2", "--nets", "2", "--repeats", "1", "--seconds", "0.02"]
    # In a process of its own: a Ray that other tests have begun has no cores for Tune.
    command = [sys.executable, "-m", "benchmarks", "train", "--json", *options]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    (row,) = json.loads(answer.stdout)["rows"]
    assert row["tune_ratio"] > 0
    assert row["tune_ratio"] == pytest.approx(row["espalier_nets_per_hour"] / row["tune_nets_per_hour"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused():
    answer = CliRunner().invoke(app, ["train", "--device", "cuda"])
    assert answer.exit_code == 2
    assert "PyTorch finds no GPU here" in " ".join(answer.output.split())


def test_ray_tune_without_cores_of_its_own_is_refused_rather_than_waited_for(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.tuned_loop.ray.available_resources", lambda: {"CPU": 1.0})
    with pytest.raises(RuntimeError, match=r"Ray has 1 cores left for Ray Tune's 2: .*--no-tune"):
        fit_all([], 1, load("digits"), 2, "cpu", tmp_path)
