"""A checkpoint is enough for a stranger, and broken bytes are never taken for one."""

import hashlib
import json

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.tasks.networks.checkpoint import pack_network, pack_state, unpack_network, unpack_state, verify
from espalier.tasks.networks.network import initialise
from espalier.tasks.networks.sealed_tensors import CheckpointError, pack, unpack
from espalier.tasks.spec import blob_name, state_name
from tests.tasks.conftest import make_data, make_net, make_snapshot
from tests.tasks.families import ARCHITECTURES, family_net, lively

NET = make_net(entries=(1, "pool", 2, 2))
SNAPSHOT = make_snapshot(NET, 7)


def packed():
    return pack_network(initialise(NET), SNAPSHOT, (0.25, 0.5), (1.5, 2.0))


BYTES, NAME = packed(), blob_name(SNAPSHOT.key)
TENSORS_FROM = 8 + int.from_bytes(BYTES[:8], "little")


def read_header(data):
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def strangers_norm(tensors, name, z):
    weight, bias, mean, var = (
        tensors[f"{name}.bn.{part}"].reshape(1, -1, *[1] * (z.dim() - 2))
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (z - mean) / (var + 1e-5).sqrt() * weight + bias


def strangers_shortcut(tensors, name, shortcut, activations):
    h = activations[shortcut["reads"]]
    if shortcut["projection"]:
        weight, bias = (tensors[f"{name}.shortcut.{part}"] for part in ("weight", "bias"))
        h = F.conv2d(h, weight, bias, stride=shortcut["stride"])
    return strangers_norm(tensors, f"{name}.shortcut", h) if shortcut["batch_norm"] else h


def strangers_forward(data, raw):
    """The contract of docs/checkpoints.md in a stranger's words: safetensors, json and torch alone."""
    tensors, meta = safetensors.torch.load(data), read_header(data)["__metadata__"]
    given = json.loads(meta["input"])
    mean, std = (torch.tensor(given[name]).reshape(1, -1, 1, 1) for name in ("mean", "std"))
    activations = [(raw - mean) / std]
    assert list(activations[0].shape[1:]) == given["shape"]
    for number, layer in enumerate(json.loads(meta["architecture"]), start=1):
        h, name = activations[-1], f"layers.{number}"
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        if layer["kind"] == "conv":
            assert list(weight.shape[2:]) == [layer["kernel"]] * 2
            h = F.conv2d(h, weight, bias, stride=layer.get("stride", 1), padding=layer["padding"])
        else:
            h = h.flatten(1) @ weight.T + bias
        assert h.shape[1] == layer["out"]
        if layer.get("batch_norm"):
            h = strangers_norm(tensors, name, h)
        if layer.get("shortcut"):
            h = h + strangers_shortcut(tensors, name, layer["shortcut"], activations)
        h = {"relu": torch.relu, "tanh": torch.tanh, "none": lambda z: z}[layer["activation"]](h)
        if layer.get("pool", 1) > 1:
            h = F.max_pool2d(h, layer["pool"])
        if layer.get("global_pool"):
            h = h.mean((2, 3))
        activations.append(h)
    return activations[-1]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_stranger_rebuilds_every_family_and_it_comes_back_with_the_same_bits(name):
    net = family_net(name)
    network = lively(net)
    data = pack_network(network, make_snapshot(net, 3), (0.25, 0.5), (1.5, 2.0))
    raw = make_data(test=9, image=ARCHITECTURES[name].input).x_test
    mean, std = torch.tensor([0.25, 0.5]).reshape(1, 2, 1, 1), torch.tensor([1.5, 2.0]).reshape(1, 2, 1, 1)
    expected = network.logits((raw - mean) / std)
    torch.testing.assert_close(strangers_forward(data, raw), expected, rtol=1e-4, atol=1e-4)
    back = unpack_network(data)
    assert back.architecture == network.architecture
    assert all(torch.equal(back.parameters[n], value) for n, value in network.parameters.items())


def test_the_metadata_of_a_plain_layer_shows_what_it_always_did():
    layers = json.loads(read_header(BYTES)["__metadata__"]["architecture"])
    assert [list(layer) for layer in layers] == [
        ["kind", "out", "kernel", "padding", "pool", "activation"],
        ["kind", "out", "kernel", "padding", "pool", "activation"],
        ["kind", "out", "kernel", "padding", "pool", "activation"],
        ["kind", "out", "activation"],
    ]


def test_a_stranger_rebuilds_the_forward_pass_from_the_file_alone():
    raw = make_data(test=9).x_test
    mean, std = torch.tensor([0.25, 0.5]).reshape(1, 2, 1, 1), torch.tensor([1.5, 2.0]).reshape(1, 2, 1, 1)
    expected = initialise(NET).logits((raw - mean) / std)
    torch.testing.assert_close(strangers_forward(BYTES, raw), expected, rtol=1e-5, atol=1e-6)


def test_the_metadata_holds_the_key_the_axes_and_a_seal_that_a_stranger_can_check():
    meta = read_header(BYTES)["__metadata__"]
    assert meta["key"] == SNAPSHOT.key
    axes = json.loads(meta["net"])
    assert (axes["width"], axes["seed"], axes["epoch"], axes["dataset"]) == (3, 0, 7, "noise")
    sealed, arrays = meta.pop("seal"), dict(sorted(safetensors.numpy.load(BYTES).items()))
    tensors = [[name, str(array.dtype), list(array.shape)] for name, array in arrays.items()]
    told = json.dumps({"metadata": meta, "tensors": tensors}, sort_keys=True, separators=(",", ":"))
    sha = hashlib.sha256(told.encode())
    for array in arrays.values():
        sha.update(np.ascontiguousarray(array).tobytes())
    assert sha.hexdigest() == sealed


def test_a_network_comes_back_with_the_same_bits():
    network, back = initialise(NET), unpack_network(BYTES)
    assert back.architecture == network.architecture
    assert back.parameters.keys() == network.parameters.keys()
    assert all(torch.equal(back.parameters[name], network.parameters[name]) for name in back.parameters)


def test_the_same_network_gives_the_same_bytes_whenever_it_is_packed():
    """The safetensors library writes metadata in an order of its own, another one with each call."""
    assert {packed() for _ in range(20)} == {BYTES}
    assert list(read_header(BYTES)["__metadata__"]) == sorted(read_header(BYTES)["__metadata__"])
    assert int.from_bytes(BYTES[:8], "little") % 8 == 0, "tensors are aligned"


def test_a_state_comes_back_with_the_same_bits():
    parameters = dict(initialise(NET).parameters)
    momentum = {name: torch.randn_like(value) for name, value in parameters.items()}
    for buffers in (momentum, {}):
        back_parameters, back_momentum, epoch = unpack_state(pack_state(parameters, buffers, 12))
        assert epoch == 12
        for back, sent in ((back_parameters, parameters), (back_momentum, buffers)):
            assert back.keys() == sent.keys()
            assert all(torch.equal(back[name], sent[name]) for name in sent)


def test_a_transposed_or_sliced_tensor_is_kept_as_it_looks():
    tensor = torch.arange(12.0).reshape(3, 4)
    data = pack({"a": tensor.T, "b": tensor[:, 1:3]}, {})
    loaded = safetensors.torch.load(data)
    assert torch.equal(loaded["a"], tensor.T)
    assert torch.equal(loaded["b"], tensor[:, 1:3])
    unpack(data)


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, len(BYTES) - 1))
def test_a_truncated_checkpoint_is_refused_wherever_it_was_cut(cut):
    with pytest.raises(CheckpointError):
        verify(NAME, BYTES[:cut])


@settings(max_examples=60, deadline=None)
@given(place=st.integers(TENSORS_FROM, len(BYTES) - 1), flip=st.integers(1, 255))
def test_a_flipped_byte_in_the_tensors_is_noticed(place, flip):
    broken = bytearray(BYTES)
    broken[place] ^= flip
    with pytest.raises(CheckpointError, match="seal"):
        unpack_network(bytes(broken))


SMALL = make_net(entries=(1, "pool"))
SMALL_SNAPSHOT = make_snapshot(SMALL, 2)
FILES = {
    blob_name(SMALL_SNAPSHOT.key): pack_network(initialise(SMALL), SMALL_SNAPSHOT, (0.25, 0.5), (1.5, 2.0)),
    state_name(SMALL_SNAPSHOT.key): pack_state(
        dict(initialise(SMALL).parameters), {"layers.1.bias": torch.ones(3)}, 2, SMALL_SNAPSHOT.key
    ),
}


def what_is_read(name, data):
    """All that anything of ours takes from a file, as plain values."""
    if name == blob_name(SMALL_SNAPSHOT.key):
        network = unpack_network(data, SMALL_SNAPSHOT.key)
        return network.architecture, sorted((n, t.tolist()) for n, t in network.parameters.items())
    *tensors, epoch = unpack_state(data, SMALL_SNAPSHOT.key, 2)
    return [sorted((n, t.tolist()) for n, t in some.items()) for some in tensors], epoch


@pytest.mark.parametrize("name", FILES, ids=["snapshot", "state"])
def test_each_bit_of_the_header_flipped_gives_the_same_or_a_refusal(name):
    data, refused = FILES[name], list[str]()
    wanted = what_is_read(name, data)
    bits = 8 * (8 + int.from_bytes(data[:8], "little"))
    for bit in range(bits):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        try:
            verify(name, bytes(broken), 2 if "resume" in name else None)
        except CheckpointError as error:
            refused.append(str(error))
        else:
            assert what_is_read(name, bytes(broken)) == wanted
    assert len(refused) > 0.9 * bits
    assert all(text.isprintable() for text in refused)


def resealed(name="", tensors=None, **metadata):
    """A snapshot's file with other tensors or metadata under a seal that holds."""
    before, meta = unpack(BYTES)
    return pack(before | (tensors or {}), {n: t for n, t in (meta | metadata).items() if t is not None})


def layers_with(**fields):
    layers = json.loads(read_header(BYTES)["__metadata__"]["architecture"])
    return json.dumps([layers[0] | fields, *layers[1:]])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"architecture": layers_with(activation="selu")}, "activation"),
        ({"architecture": layers_with(kind="convolution")}, "kind"),
        ({"architecture": layers_with(colour="red")}, "colour"),
        ({"architecture": layers_with(shortcut={"reads": 0, "colour": 1})}, "colour"),
        ({"architecture": layers_with(out=2)}, "tensor 'layers.1.bias'"),
        ({"architecture": layers_with(out=3.0)}, "integer"),
        ({"architecture": layers_with(out=True)}, "integer"),
        ({"architecture": layers_with(stride=0)}, "stride is 0"),
        ({"architecture": layers_with(padding=-1)}, "padding is -1"),
        ({"architecture": layers_with(pool=10**9)}, "pool less often"),
        ({"architecture": layers_with(batch_norm=True)}, "tensor 'layers.1.bn.bias' is missing"),
        ({"architecture": layers_with(shortcut={"reads": 3})}, "must lie below"),
        (
            {"architecture": layers_with(shortcut={"reads": 0, "projection": True, "stride": 0})},
            "stride is 0",
        ),
        ({"architecture": None}, "lacks 'architecture'"),
        ({"architecture": "[]"}, "no layer"),
        ({"architecture": "[{}]"}, "describes no network"),
        ({"architecture": "no json"}, "describes no network"),
        ({"architecture": "[" * 100_000}, "describes no network"),
        ({"input": None}, "lacks 'input'"),
        ({"input": '{"shape": [1, 2], "mean": [], "std": []}'}, "describes no network"),
        ({"input": '{"shape": [0, 8, 8], "mean": [], "std": []}'}, "size is 0"),
        ({"input": '{"shape": [2, 8, 8], "mean": [], "std": [], "gamma": 2}'}, "gamma"),
        ({"tensors": {"layers.1.bias": torch.zeros(3, dtype=torch.bfloat16)}}, "bfloat16"),
        ({"tensors": {"layers.1.bias": torch.zeros(3, dtype=torch.float64)}}, "float64"),
        ({"tensors": {"layers.1.bias": torch.zeros(4)}}, "tensor 'layers.1.bias'"),
        ({"tensors": {"layers.9.bias": torch.zeros(3)}}, "tensor 'layers.9.bias'"),
        ({"key": "another"}, "its own key is 'another'"),
        ({"key": None}, "its own key is None"),
    ],
)
def test_a_file_whose_seal_holds_but_which_is_not_what_its_name_says_is_refused(changed, message):
    data = resealed(**changed)
    with pytest.raises(CheckpointError, match=message) as caught:
        verify(NAME, data)
    assert "\n" not in str(caught.value)


def test_the_file_of_another_key_is_refused():
    other = make_snapshot(make_net(entries=(1, "pool", 2, 2), seed=1), 7)
    verify(blob_name(other.key), pack_network(initialise(other.net), other))
    with pytest.raises(CheckpointError, match="not that of its name"):
        verify(NAME, pack_network(initialise(other.net), other))
    with pytest.raises(CheckpointError, match="not that of its name"):
        unpack_state(pack_state({}, {}, 1, "another"), "key")


def test_a_state_of_another_epoch_than_training_goes_on_from_is_refused():
    data = pack_state({}, {}, 3, "key")
    verify("key.resume.safetensors", data, 3)
    with pytest.raises(CheckpointError, match="after epoch 3, but training goes on from epoch 1"):
        verify("key.resume.safetensors", data, 1)


def test_a_checkpoint_from_before_there_were_seals_is_refused_by_name():
    tensors, meta = unpack(BYTES)
    old = safetensors.torch.save(tensors, {n: t for n, t in meta.items() if n != "seal"} | {"sha256": "1f"})
    with pytest.raises(CheckpointError, match="before checkpoints had one"):
        verify(NAME, old)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"PK\x03\x04" * 40,
        b"\x00" * 100,
        b"\xff" * 100,
        safetensors.torch.save({"a": torch.ones(3)}),
        safetensors.torch.save({"a": torch.ones(3)}, {"net": "{}"}),
    ],
    ids=["empty", "one byte", "zip", "zeros", "ones", "no metadata", "no seal"],
)
def test_foreign_bytes_are_refused(data):
    for read in (lambda data: verify(NAME, data), unpack_network, unpack_state):
        with pytest.raises(CheckpointError):
            read(data)


def test_a_states_file_is_no_network_and_a_networks_no_state():
    state = pack_state(dict(initialise(NET).parameters), {}, 1)
    with pytest.raises(CheckpointError):
        unpack_network(state)
    with pytest.raises(CheckpointError):
        unpack_state(BYTES)
