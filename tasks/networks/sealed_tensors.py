"""Tensors and metadata as one safetensors file under one seal: nothing is read that the seal does not cover.

The seal, metadata `seal`, is the SHA-256 of a JSON text followed by the bytes of each tensor in the order of
their names. The text (sorted, without spaces) is `{"metadata": {...}, "tensors": [[name, type, shape], ...]}`
with all metadata but the seal itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from espalier.tasks.plain_text import shortened

SEAL = "seal"


class CheckpointError(ValueError):
    """A checkpoint's bytes are not what was written, or not what its name says."""


def seal(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """The seal of tensors and the other metadata, in hexadecimal digits."""
    plain = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    shown = [[name, str(value.dtype).removeprefix("torch."), [*value.shape]] for name, value in plain.items()]
    rest = {name: text for name, text in metadata.items() if name != SEAL}
    told = json.dumps({"metadata": rest, "tensors": shown}, sort_keys=True, separators=(",", ":"))
    sha = hashlib.sha256(told.encode())
    for value in plain.values():
        sha.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def pack(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Tensors and metadata as safetensors bytes, sealed; the same ones always give the same bytes."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return _in_order(save(plain, {**metadata, SEAL: seal(plain, metadata)}))


def _in_order(data: bytes) -> bytes:
    """The file with its metadata in the order of their names: the library's own differs from call to call."""
    end = 8 + int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8:end])
    ordered = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
    text = json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + data[end:]


def unpack(data: bytes, key: str | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of safetensors bytes; `key`, if given, must be the file's own.

    Raises:
        CheckpointError: The bytes are cut, are no safetensors file, were never sealed, do not match their
            seal, or are those of another key.
    """
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata: dict[str, str] = header["__metadata__"]
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"no whole safetensors checkpoint: {_one_line(error)}") from error
    if SEAL not in metadata:
        raise CheckpointError("no seal: it was written before checkpoints had one, or by something else")
    found = seal(tensors, metadata)
    if found != metadata[SEAL]:
        raise CheckpointError(f"its content has the seal {found[:12]}.., the file says {_shown(metadata)}")
    if key is not None and metadata.get("key") != key:
        raise CheckpointError(
            f"its own key is {shortened(repr(metadata.get('key')), 100)}, which is not that of its name"
        )
    return tensors, metadata


def _shown(metadata: Mapping[str, str]) -> str:
    return ascii(metadata[SEAL][:12])[1:-1] + ".."


def _one_line(error: Exception) -> str:
    return ascii(" ".join(str(error).split())[:200])[1:-1] or type(error).__name__
