"""Snapshots as bytes: one safetensors file holds all that rebuilds the forward pass (docs/checkpoints.md).

Tensors `layers.<l>.weight` and `layers.<l>.bias`, and those of BN and of shortcuts; metadata `net` (JSON of
the axes), `architecture` (JSON list of the layers in order), `input` (JSON: shape, and the per-channel mean
and deviation that the images were normalised by) and `sha256` of the tensors.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from espalier.tasks.networks.network import Network
from espalier.tasks.spec import Architecture, Layer, Shortcut, Snapshot
from espalier.tasks.tables.axes import net_axes


class CheckpointError(ValueError):
    """A checkpoint's bytes are not what was written."""


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of the tensors, in the order of their names."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        sha.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        sha.update(tensor.numpy().tobytes())
    return sha.hexdigest()


_ALWAYS_SHOWN = {
    "conv": ("kind", "out", "kernel", "padding", "pool", "activation"),
    "dense": ("kind", "out", "activation"),
}


def layer_json(layer: Layer) -> dict[str, Any]:
    """A layer as the metadata shows it: the fields of its kind, and others where they are not the default."""
    shown = _ALWAYS_SHOWN[layer.kind]
    plain = {field.name: field.default for field in fields(layer)}
    return {name: value for name, value in asdict(layer).items() if name in shown or value != plain[name]}


def layer_from(shown: dict[str, Any]) -> Layer:
    """The layer that `layer_json` shows."""
    shortcut = shown.get("shortcut")
    return Layer(**{**shown, "shortcut": None if shortcut is None else Shortcut(**shortcut)})


def pack(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """Tensors and metadata as safetensors bytes, sealed with `sha256`."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(plain, {**metadata, "sha256": digest(plain)})


def unpack(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of safetensors bytes.

    Raises:
        CheckpointError: The bytes are cut, are no safetensors file, or do not match their `sha256`.
    """
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata: dict[str, str] = header["__metadata__"]
        sealed = metadata["sha256"]
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"no whole safetensors checkpoint with a sha256: {error}") from error
    found = digest(tensors)
    if found != sealed:
        raise CheckpointError(f"the tensors' sha256 is {found[:12]}.., the file says {sealed[:12]}..")
    return tensors, metadata


def verify(data: bytes) -> None:
    """Raise CheckpointError unless `data` is a whole checkpoint."""
    unpack(data)


def pack_network(
    network: Network, snapshot: Snapshot, mean: tuple[float, ...] = (), std: tuple[float, ...] = ()
) -> bytes:
    """A snapshot as bytes; `mean` and `std` say how its images were normalised."""
    architecture = network.architecture
    metadata = {
        "net": json.dumps(net_axes(snapshot)),
        "architecture": json.dumps([layer_json(layer) for layer in architecture.layers]),
        "input": json.dumps({"shape": architecture.input, "mean": mean, "std": std}),
    }
    return pack(dict(network.parameters), metadata)


def unpack_network(data: bytes) -> Network:
    """The network in a checkpoint's bytes, from the file alone.

    Raises:
        CheckpointError: As `unpack`, or the metadata does not describe a network.
    """
    tensors, metadata = unpack(data)
    try:
        layers = tuple(layer_from(shown) for shown in json.loads(metadata["architecture"]))
        channels, height, width = json.loads(metadata["input"])["shape"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the checkpoint's metadata describes no network: {error!r}") from error
    return Network(Architecture((channels, height, width), layers), tensors)


def pack_state(parameters: dict[str, Tensor], momentum: dict[str, Tensor], epoch: int) -> bytes:
    """The optimizer's state after `epoch`, from which training goes on with the same bits."""
    tensors = {f"parameters.{name}": tensor for name, tensor in parameters.items()}
    tensors |= {f"momentum.{name}": tensor for name, tensor in momentum.items()}
    return pack(tensors, {"epoch": str(epoch)})


def unpack_state(data: bytes) -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
    """Parameters, momentum buffers and epoch of an optimizer's state.

    Raises:
        CheckpointError: As `unpack`.
    """
    tensors, metadata = unpack(data)
    parts: dict[str, dict[str, Tensor]] = {"parameters": {}, "momentum": {}}
    try:
        for name, tensor in tensors.items():
            kind, _, parameter = name.partition(".")
            parts[kind][parameter] = torch.clone(tensor)
        return parts["parameters"], parts["momentum"], int(metadata["epoch"])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"the checkpoint holds no optimizer's state: {error!r}") from error
