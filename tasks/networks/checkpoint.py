"""Snapshots and optimizers' states as bytes: one safetensors file each, sealed (docs/checkpoints.md).

A snapshot's file rebuilds the forward pass by itself: tensors `layers.<l>.weight` and `layers.<l>.bias`, and
those of BN and of shortcuts; metadata `key`, `net` (JSON of the axes), `architecture` (JSON list of the
layers in order) and `input` (JSON: shape, and the per-channel mean and deviation that normalised the images).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from espalier.tasks.networks.architectures import checked, parameter_shapes
from espalier.tasks.networks.network import Network
from espalier.tasks.networks.sealed_tensors import CheckpointError, pack, unpack
from espalier.tasks.plain_text import shortened
from espalier.tasks.spec import Architecture, Layer, Snapshot, is_state, key_of
from espalier.tasks.tables.axes import net_axes

_ALWAYS_SHOWN = {
    "conv": ("kind", "out", "kernel", "padding", "pool", "activation"),
    "dense": ("kind", "out", "activation"),
}


def layer_json(layer: Layer) -> dict[str, Any]:
    """A layer as the metadata shows it: the fields of its kind, and others where they are not the default."""
    shown = _ALWAYS_SHOWN[layer.kind]
    plain = {field.name: field.default for field in fields(layer)}
    return {name: value for name, value in asdict(layer).items() if name in shown or value != plain[name]}


@dataclass(frozen=True)
class Input:
    """What a net reads: the image's shape (channels, height, width), and how its images were normalised."""

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]


# Strict: an unknown field or a value of another type is refused, rather than left out or made to fit.
_STRICT = ConfigDict(extra="forbid", strict=True)
_LAYERS = TypeAdapter(tuple[Layer, ...], config=_STRICT)
_INPUT = TypeAdapter(tuple[Input], config=_STRICT)
_LEAST = {"out": 1, "kernel": 1, "padding": 0, "pool": 1, "stride": 1}


def pack_network(
    network: Network, snapshot: Snapshot, mean: tuple[float, ...] = (), std: tuple[float, ...] = ()
) -> bytes:
    """A snapshot as bytes; `mean` and `std` say how its images were normalised."""
    architecture = network.architecture
    metadata = {
        "key": snapshot.key,
        "net": json.dumps(net_axes(snapshot)),
        "architecture": json.dumps([layer_json(layer) for layer in architecture.layers]),
        "input": json.dumps({"shape": architecture.input, "mean": mean, "std": std}),
    }
    return pack(dict(network.parameters), metadata)


def unpack_network(data: bytes, key: str | None = None) -> Network:
    """The network in a checkpoint's bytes, from the file alone; `key`, if given, must be the file's own.

    Raises:
        CheckpointError: As `unpack`, or the metadata does not describe the network whose tensors these are.
    """
    tensors, metadata = unpack(data, key)
    try:
        architecture = _architecture(metadata["architecture"], metadata["input"])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"the metadata describes no network: {_told(error)}") from error
    wanted = {name: (shape, torch.float32) for name, shape in parameter_shapes(architecture).items()}
    found = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    if odd := sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name)):
        raise CheckpointError(
            f"tensor {odd[0]!a} is {found.get(odd[0], 'missing')}, where the architecture wants "
            f"{wanted.get(odd[0], 'none')}"
        )
    return Network(architecture, tensors)


def _architecture(layers: str, image: str) -> Architecture:
    """The architecture that metadata describe; ValueError if they describe none."""
    found, (read,) = _LAYERS.validate_json(layers), _INPUT.validate_json(f"[{image}]")
    if not found:
        raise ValueError("there is no layer")
    numbers = [({"size": min(read.shape)}, {"size": 1})]
    numbers += [(vars(layer), _LEAST) for layer in found]
    numbers += [({"stride": layer.shortcut.stride}, {"stride": 1}) for layer in found if layer.shortcut]
    for values, least in numbers:
        for name, value in least.items():
            if values[name] < value:
                raise ValueError(f"{name} is {values[name]}, below {value}")
    return checked(read.shape, found)


def _told(error: Exception) -> str:
    """The first thing that is wrong, in one line of plain letters."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    else:
        said = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
    return shortened(ascii(said)[1:-1], 300)


def pack_state(
    parameters: dict[str, Tensor], momentum: dict[str, Tensor], epoch: int, key: str = ""
) -> bytes:
    """The optimizer's state after `epoch`, from which training goes on with the same bits.

    `key` is that of the snapshot that it is at; a state that never becomes a file needs none.
    """
    tensors = {f"parameters.{name}": tensor for name, tensor in parameters.items()}
    tensors |= {f"momentum.{name}": tensor for name, tensor in momentum.items()}
    return pack(tensors, {"key": key, "epoch": str(epoch)})


def unpack_state(
    data: bytes, key: str = "", start: int | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
    """Parameters, momentum buffers and epoch of an optimizer's state.

    Raises:
        CheckpointError: As `unpack`, it is no state, or it is not of epoch `start`, if given.
    """
    tensors, metadata = unpack(data, key)
    parts: dict[str, dict[str, Tensor]] = {"parameters": {}, "momentum": {}}
    try:
        for name, tensor in tensors.items():
            kind, _, parameter = name.partition(".")
            parts[kind][parameter] = torch.clone(tensor)
        epoch = int(metadata["epoch"])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"the checkpoint holds no optimizer's state: {_told(error)}") from error
    if start is not None and epoch != start:
        raise CheckpointError(f"it is the state after epoch {epoch}, but training goes on from epoch {start}")
    return parts["parameters"], parts["momentum"], epoch


def verify(name: str, data: bytes, start: int | None = None) -> None:
    """Rebuild what a file of that name must hold; `start` is the epoch from which training is to go on.

    Raises:
        CheckpointError: It does not hold that.
    """
    if is_state(name):
        unpack_state(data, key_of(name), start)
    else:
        unpack_network(data, key_of(name))
