"""What a GPU alone can show: `make gpu`, or `pytest -m gpu`, on a machine with one.

Each answer is held against that of the CPU, in full float32: kernels round differently, and so do sums in
another order. A short training amplifies that, so that rows of trained nets agree less closely than grafts.
"""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from espalier.cluster.on_ray.ray_pool import RayPool
from espalier.cluster.pool import Done, Job
from espalier.orchestrator.running.pool_makers import in_process
from espalier.orchestrator.sweep import Sweep
from espalier.tasks.data.tensors import Data
from espalier.tasks.grafting.graft import graft
from espalier.tasks.networks.network import Network, initialise
from espalier.tasks.spec import GraftOptions, GraftTile, Pair
from espalier.tasks.worker.devices import on, use
from espalier.tasks.worker.out_of_memory import as_memory_error
from tests.tasks.conftest import make_data, make_snapshot
from tests.tasks.families import ARCHITECTURES, family_net

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="no CUDA device"),
]

RECIPE = """
[data]
dataset = "digits"
limit_train = 400
limit_test = 200
[network]
layers = [1, "pool", 2]
batch_norm = true
[train]
epochs = 2
snapshots = [0, 2]
[sweep]
widths = [8]
seeds = 2
measures = ["features"]
[graft]
nulls = ["self", "untrained", "resampled", "clustered_noise"]
ridge = 1e-6
[hybrids]
pairs = 1
shares = [0.0, 0.5, 1.0]
[barriers]
pairs = 1
points = 5
[similarity]
measures = ["cka", "procrustes", "match", "energy", "mmd"]
images = 100
permutations = 19
"""


def swept(folder, device, pool=in_process):
    folder.mkdir()
    (folder / "sweep.toml").write_text(f'{RECIPE}[run]\nslots = 1\nkernels = "off"\ndevice = "{device}"\n')
    assert Sweep(folder).run(pool=pool).complete
    return folder


def table(folder, name, *order):
    return pd.read_parquet(folder / "tables" / name).sort_values(["key", *order], ignore_index=True)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    place = tmp_path_factory.mktemp("devices")
    return swept(place / "there", DEVICE), swept(place / "here", "cpu")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_net_gives_the_cpus_logits_in_full_float32(name):
    use(DEVICE)
    network = initialise(family_net(name))
    x = make_data(train=4, test=16, image=network.architecture.input).x_test
    double = Network(network.architecture, {key: value.double() for key, value in network.parameters.items()})
    wanted = double.logits(x.double())
    found = on(network, DEVICE).logits(x.to(DEVICE)).cpu().double()
    # TF32 would be off by 1e-3 of the largest; float32 by some 1e-6 a layer.
    assert (found - wanted).abs().max() <= 2e-5 * wanted.abs().max()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_grafts_are_the_cpus(name):
    nets = [replace(family_net(name), seed=seed) for seed in (0, 1)]
    tile = GraftTile(tuple(map(make_snapshot, nets)), [Pair("a", 0, 1)], GraftOptions(ridge=1e-6))
    networks = [initialise(net) for net in nets]
    data = make_data(train=120, test=60, image=networks[0].architecture.input)
    here = graft(tile, networks, data).grafts
    moved = Data(*(one.to(DEVICE) for one in data))
    there = graft(tile, [on(network, DEVICE) for network in networks], moved).grafts
    for one, other in zip(here, there, strict=True):
        assert other["fvu_test"] == pytest.approx(one["fvu_test"], rel=2e-3, abs=1e-5)
        assert other["accuracy_test"] == pytest.approx(one["accuracy_test"], abs=2 / 60)


@pytest.mark.parametrize(
    ("name", "order", "columns", "tolerance"),
    [
        ("nets", ["epoch"], ["loss_train", "loss_test"], 0.02),
        ("grafts", ["layer", "null", "bn"], ["fvu_test"], 0.05),
        ("hybrids", ["share"], ["loss_test"], 0.1),
        ("features", ["layer", "channel"], ["mean", "variance"], 0.05),
        ("barriers", ["matching", "correction"], ["loss_test_barrier"], 0.3),
    ],
)
def test_a_sweep_on_the_gpu_has_the_rows_of_the_cpu(both, name, order, columns, tolerance):
    there, here = (table(folder, name, *order) for folder in both)
    assert list(there["key"]) == list(here["key"])
    for column in columns:
        one, other = there[column].to_numpy(float), here[column].to_numpy(float)
        scale = np.nanmax(np.abs(other))
        assert np.nanmax(np.abs(one - other)) <= tolerance * scale, column


def test_comparisons_on_the_gpu_are_those_of_the_cpu(both):
    there, here = (table(folder, "similarity", "layer") for folder in both)
    assert list(there["key"]) == list(here["key"])
    initial = here["source_epoch"] == 0  # trained nets differ by what training amplifies
    assert np.allclose(there[initial]["value"], here[initial]["value"], rtol=1e-3, atol=1e-4, equal_nan=True)


def test_the_same_job_gives_the_same_bits_twice(both, tmp_path):
    again = swept(tmp_path / "again", DEVICE)
    for name in ("nets", "grafts", "similarity"):
        order = [] if name == "nets" else ["layer"]
        one, other = (table(folder, name, *order) for folder in (both[0], again))
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_too_little_memory_of_the_gpu_is_a_lack_of_memory():
    with pytest.raises(MemoryError), as_memory_error():
        torch.empty(2**50, device=DEVICE)


def test_slots_that_share_a_gpu_start_by_its_memory_and_say_its_name():
    share = {"gpus_per_slot": "auto", "largest_job": 2**28, "slots": 2}
    with RayPool("tests.cluster.toys:execute", lambda name: b"", **share) as pool:
        pool.submit(Job("k", "look", 0.0), 1)
        events = []
        while not events:
            events = pool.wait(1.0)
        (event,) = events
        assert isinstance(event, Done), json.dumps(event.__dict__, default=str)
        assert event.device not in ("cpu", "gpu")
