"""The planner's model against PyTorch's own count of operations, and against memory really used."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from espalier.orchestrator.planning.kinds.tile_cost import graft_cost, kept_rank, spectrum_flops
from espalier.orchestrator.planning.kinds.train_cost import train_cost
from espalier.orchestrator.planning.net_cost import forward_flops, image_bytes, snapshot_bytes
from espalier.tasks.data.images import DataFacts, facts
from espalier.tasks.data.tensors import load
from espalier.tasks.grafting.graft import graft
from espalier.tasks.networks.checkpoint import pack_network
from espalier.tasks.networks.cuts import ArmSizes
from espalier.tasks.networks.network import initialise
from espalier.tasks.spec import GraftOptions, GraftTile, Layer, Pair, TrainSegment
from espalier.tasks.training.train import initial_state, train
from tests.orchestrator.planning.flop_counting import addmm_in_place, counted
from tests.tasks.conftest import make_data, make_net, make_snapshot
from tests.tasks.families import ARCHITECTURES, family_net

NETS = {
    "pooled": {"entries": (1, "pool", 2, 2, "pool"), "image": (2, 8, 8)},
    "odd sizes": {"entries": (3, "pool", 1), "image": (3, 7, 5)},
    "one conv": {"entries": (2,), "image": (1, 6, 6)},
}


BY_SUMS = 1e-6
"""A ridge with which no fit is ill-conditioned: then each takes the passes that the model counts."""


def facts_of(data, classes=5):
    _, channels, height, width = data.x_train.shape
    return DataFacts("noise", "noise", channels, height, width, classes, len(data.y_train), len(data.y_test))


SPECS = {name: make_net(**net) for name, net in NETS.items()}
SPECS |= {name: family_net(name) for name in ARCHITECTURES}


def test_operations_are_counted_as_pytorchs_own_counter_counts_them():
    tile = make_tile(NETS["pooled"], 2, ("none", "permuted"))
    networks = [initialise(snapshot.net) for snapshot in tile.snapshots]
    data = make_data(train=20, test=10, image=NETS["pooled"]["image"])
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: addmm_in_place}) as theirs:
        graft(tile, networks, data)
    assert counted(lambda: graft(tile, networks, data)) == theirs.get_total_flops()


@pytest.mark.parametrize("net", SPECS.values(), ids=SPECS.keys())
def test_forward_operations_equal_pytorchs_count(net):
    network = initialise(net)
    x = torch.zeros(7, *net.architecture.input)
    assert counted(lambda: network.logits(x)) == 7 * forward_flops(network.architecture)
    for entry in network.features(x):
        above = counted(lambda e=entry: list(network.suffix(e.layer, e.z, e.shortcuts)))
        assert above == 7 * forward_flops(network.architecture, entry.layer + 1)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
@pytest.mark.parametrize(("start", "end"), [(None, 0), (None, 2), (1, 3)])
def test_training_operations_equal_pytorchs_count(spec, start, end):
    data = make_data(train=35, test=15, image=spec.architecture.input)
    segment = TrainSegment(make_snapshot(spec, end), start, keep_state=False)
    state = replace(initial_state(spec), epoch=start or 0)
    assert counted(lambda: train(segment, state, data)) == train_cost([segment], facts_of(data)).flops


def make_tile(net, seeds, nulls):
    snapshots = tuple(make_snapshot(make_net(seed=seed, width=4, **net)) for seed in range(seeds))
    pairs = [
        Pair(f"{null}-{a}-{b}", a, b, null)
        for null in nulls
        for a in range(seeds)
        for b in range(seeds)
        if (a == b) == (null in ("self", "permuted"))
    ]
    return GraftTile(snapshots, tuple(pairs), GraftOptions(ridge=BY_SUMS))


@pytest.mark.parametrize(
    "nulls", [("none",), ("shuffled_images",), ("none", "self", "permuted", "shuffled_images")], ids=str
)
@pytest.mark.parametrize("net", NETS.values(), ids=NETS.keys())
def test_graft_operations_per_image_are_within_a_tenth_of_pytorchs_count(net, nulls):
    """Per image, since PyTorch's counter sees the matrix products and not the factorisations.

    The model leaves out the products of border rows and columns, a few percent on maps this small.
    """
    tile = make_tile(net, 3, nulls)
    networks = [initialise(snapshot.net) for snapshot in tile.snapshots]
    found, model = [], []
    for images in (320, 400):  # more than the largest patch, so that every factor has full rank
        data = make_data(train=images, test=images, image=net["image"])
        found.append(counted(lambda data=data: graft(tile, networks, data)))
        model.append(graft_cost(tile, facts_of(data)).flops)
    ratio = (model[1] - model[0]) / (found[1] - found[0])
    assert 0.9 < ratio < 1.01, f"model / counted = {ratio:.3f}"


@pytest.mark.parametrize("methods", [("exact",), ("stitch",), ("exact", "stitch")], ids=str)
@pytest.mark.parametrize("name", ["conv-bn", "resnet20", "resnet18", "dense"])
def test_graft_operations_of_every_family_are_within_a_tenth_of_pytorchs_count(name, methods):
    """As above; border products are a larger part of maps of 2x2, which these residual nets have."""
    nets = [family_net(name, seed) for seed in range(2)]
    pairs = (Pair("a", 0, 1), Pair("b", 1, 0), Pair("c", 0, 0, "self"))
    tile = GraftTile(
        tuple(make_snapshot(net) for net in nets), pairs, GraftOptions(methods=methods, ridge=BY_SUMS)
    )
    networks = [initialise(net) for net in nets]
    found, model = [], []
    for images in (48, 64) if name == "resnet18" else (64, 128):  # one batch, with rows for every direction
        data = make_data(train=images, test=images, image=ARCHITECTURES[name].input)
        found.append(counted(lambda data=data: graft(tile, networks, data)))
        model.append(graft_cost(tile, facts_of(data)).flops)
    ratio = (model[1] - model[0]) / (found[1] - found[0])
    assert 0.85 < ratio < 1.03, f"model / counted = {ratio:.3f}"


@pytest.mark.parametrize(
    ("name", "null"),
    [("conv-bn", "none"), ("conv-bn", "shuffled_images"), ("resnet20", "none"), ("dense", "none")],
)
def test_operations_of_adams_steps_equal_pytorchs_count(name, null):
    """Two lengths of the schedule apart, since the rest of a graft does not depend on it."""
    nets = [family_net(name, seed) for seed in range(2)]
    pairs = tuple(Pair(f"{a}", a, 1 - a, null) for a in (0, 1))
    networks = [initialise(net) for net in nets]
    data = make_data(train=40, test=10, image=ARCHITECTURES[name].input)
    found, model = [], []
    for batches in (1, 3):
        options = GraftOptions(methods=("stitch", "adam"), adam_epochs=2, adam_batches=batches, ridge=BY_SUMS)
        tile = GraftTile(tuple(make_snapshot(net) for net in nets), pairs, options)
        found.append(counted(lambda tile=tile: graft(tile, networks, data)))
        model.append(graft_cost(tile, facts_of(data)).flops)
    assert model[1] - model[0] == found[1] - found[0]


def test_few_images_cost_a_wide_dense_layer_the_cube_of_their_number_and_not_of_its_inputs():
    shape, images = (512, 7, 7), 1000
    sizes = ArmSizes(Layer("dense", 10), shape, 512 * 49, 10, 1)
    assert kept_rank(sizes, images) == images
    assert kept_rank(sizes, 10**6) == sizes.dim
    assert spectrum_flops(sizes, images) < 1e-3 * 9 * sizes.dim**3
    assert spectrum_flops(sizes, sizes.dim) > 9 * sizes.dim**3
    plain = ArmSizes(Layer("conv", 10, kernel=3, padding=1), shape, 512 * 9, 10, 49)
    assert kept_rank(plain, 2) == plain.dim, "the Gram matrix by lags needs no rows"


def test_a_factorisation_is_counted_once_per_source_and_not_per_target():
    net = NETS["pooled"]
    three = make_tile(net, 3, ("none",))
    from_one = replace(three, pairs=tuple(pair for pair in three.pairs if pair.source == 0))
    data = make_data(train=10, test=10, image=net["image"])
    no_images = replace(facts_of(data), train=0, test=0)
    assert graft_cost(three, no_images).flops == 3 * graft_cost(from_one, no_images).flops
    shuffled_too = make_tile(net, 3, ("none", "shuffled_images", "self"))
    assert graft_cost(shuffled_too, no_images).flops == graft_cost(three, no_images).flops


def test_bytes_read_are_the_files_bytes():
    net = make_net(entries=(1, "pool", 2, 2), width=16)
    for other in (family_net("resnet20"), family_net("vgg16-bn")):
        size = len(pack_network(initialise(other), make_snapshot(other), (0.1,) * 2, (0.2,) * 2))
        assert 0.7 * size <= snapshot_bytes(other.architecture) <= size + 8192
    snapshot = make_snapshot(net)
    real = len(pack_network(initialise(net), snapshot, (0.1,), (0.2,)))
    assert real <= snapshot_bytes(net.architecture) <= real + 4096
    tile = make_tile(NETS["pooled"], 3, ("none",))
    cost = graft_cost(tile, facts_of(make_data(image=(2, 8, 8))))
    assert cost.bytes_in == 3 * snapshot_bytes(tile.snapshots[0].net.architecture)


def test_bytes_of_images_are_those_of_the_tensors():
    data = load("digits")
    assert image_bytes(facts("digits")) == data.x_train.nbytes + data.x_test.nbytes


def test_more_of_anything_costs_more():
    net = NETS["pooled"]
    data = facts_of(make_data(image=net["image"]))
    few, many = (graft_cost(make_tile(net, seeds, ("none",)), data) for seeds in (2, 4))
    assert few.flops < many.flops
    assert few.memory < many.memory
    tile = make_tile(net, 2, ("none",))
    for more in ({"ridges": (0.0, 1.0)}, {"methods": ("exact", "adam")}):
        cost = graft_cost(replace(tile, options=replace(tile.options, **more)), data)
        assert few.flops < cost.flops
        assert few.memory < cost.memory
    spec = make_net(**net)
    short, long = (train_cost([TrainSegment(make_snapshot(spec, end), None, False)], data) for end in (1, 2))
    assert short.flops < long.flops


MEASURE = """
import json, os, sys
from pathlib import Path
import ray, torch
torch.set_num_threads(1)
from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.identity import probe_key
from espalier.orchestrator.planning.kind import Choice, Have
from espalier.orchestrator.planning.nets import nets
from espalier.orchestrator.planning.plan import make_plan
from espalier.orchestrator.planning.task import Limits
from espalier.orchestrator.running.execute import execute
from espalier.tasks.data.images import facts
from espalier.tasks.jobs import graft_job, hybrid_job, pool_job, train_job
from espalier.tasks.networks.checkpoint import pack_network
from espalier.tasks.networks.network import initialise
from espalier.tasks.spec import COMPILED, TrainMode, blob_name

def measured(fields, kind, memory):
    config, choices = SweepConfig.parse(fields), {}
    images, where = facts(config.data.dataset), {"dataset": config.data.dataset}
    if kind in ("group", "compiled"):
        grouped = Choice(TrainMode(grouped=True, layout="channels_last"), 8)
        way = grouped if kind == "group" else Choice(COMPILED)
        choices = {probe_key(net, "cpu"): way for net in nets(config, images)}
        kind = "train"
    plan = make_plan(config, images, Have(), Limits(memory, 1), where, choices)
    task = max((task for task in plan.tasks if task.job.kind == kind), key=lambda task: task.cost.memory)
    blobs = {}
    if kind != "train":
        for snapshot in task.job.payload.snapshots:
            blobs[blob_name(snapshot.key)] = pack_network(initialise(snapshot.net), snapshot)
    execute(task.job, blobs)
    return task.cost.memory, "at_once" in task.job.where

def own(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

for line in sys.stdin:
    libraries = own("RssFile")
    child = os.fork()  # each case in a process of its own, which has loaded what a worker loads
    if not child:
        libraries -= own("RssFile")  # a fork counts none of them until it touches them
        model, parted = measured(*json.loads(line))
        # not getrusage: a child's ru_maxrss begins at its parent's size
        print(json.dumps([own("VmHWM") + libraries, model, parted]), flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        print(json.dumps("failed"), flush=True)
"""


@pytest.fixture(scope="module")
def measured():
    """Peak memory of a job in a process of its own, the model's, and whether the job was parted."""
    with subprocess.Popen(
        [sys.executable, "-c", MEASURE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip

        def measure(*case):
            process.stdin.write(json.dumps(case) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield measure
        process.stdin.close()


CONV = {
    "data": {"limit_train": 100, "limit_test": 100},
    "network": {"layers": [4, 4, "pool", 2, "pool"]},
    "sweep": {"widths": [48], "seeds": 4},
    "train": {"epochs": 1, "snapshots": [1]},
    "graft": {"nulls": [], "ridge": BY_SUMS},
}
NARROW = CONV | {"network": {"layers": [1, 1, "pool", 1, "pool"]}, "sweep": {"widths": [24], "seeds": 12}}
RESIDUAL = CONV | {
    "network": {"family": "resnet20"},
    "sweep": {"widths": [16], "seeds": 3},
    "graft": {"nulls": [], "methods": ["exact", "stitch"], "ridge": BY_SUMS},
}
POOLED = CONV | {
    "sweep": {"widths": [12], "seeds": 4},
    "graft": {"nulls": ["pooled"], "pool_nets": 3, "partitions": 9},
}
HYBRID = CONV | {
    "sweep": {"widths": [32], "seeds": 2},
    "hybrids": {"pairs": 1, "shares": [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]},
}
PATHS = CONV | {
    "data": {"limit_train": 800, "limit_test": 100},
    "sweep": {"widths": [24], "seeds": 3},
    "barriers": {"pairs": 1, "points": 3, "matchings": ["none", "activations"]},
}
GROUPED = CONV | {
    "data": {"limit_train": 256, "limit_test": 100},
    "network": {"layers": [1, 1, 2, "pool"], "batch_norm": True},
    "sweep": {"widths": [48], "seeds": 8},
}
DEEP = CONV | {
    "data": {"limit_train": 128, "limit_test": 100},
    "network": {"layers": [8, 8, "pool", 8, 8, 8, "pool", 8]},
    "sweep": {"widths": [64], "seeds": 2},
}
"""Layers of 512 channels on small maps: filters, and their planes, are most of the memory."""
ROOM = 2**50


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "kind", "memory"),
    [
        (CONV | {"data": {"limit_train": 256, "limit_test": 100}}, "train", ROOM),
        (GROUPED, "group", ROOM),
        (CONV | {"data": {"limit_train": 256, "limit_test": 100}}, "compiled", ROOM),
        (DEEP, "compiled", ROOM),
        (NARROW, "graft", ROOM),
        (CONV, "graft", ROOM),
        (CONV, "graft", 800_000_000),  # in several passes over the images
        (RESIDUAL, "graft", ROOM),
        (POOLED, "pool", ROOM),
        (HYBRID, "hybrid", ROOM),
        (PATHS, "barrier", ROOM),
    ],
    ids=[
        "train",
        "group",
        "compiled",
        "deep, compiled",
        "narrow",
        "wide",
        "wide, parted",
        "residual",
        "pool",
        "hybrid",
        "paths",
    ],
)
def test_a_workers_peak_memory_is_the_models(fields, kind, memory, measured):
    """Up to 1.25 times; a model that promised much more than it needs would waste a cluster's memory."""
    peak, model, parted = measured(fields, kind, memory)
    ratio = peak / model
    assert 1 / 1.6 < ratio < 1.25, f"measured / model = {ratio:.2f}"
    assert parted == (memory < ROOM)
