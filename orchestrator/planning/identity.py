"""Content keys: the same key is the same result, whatever computed it, wherever.

A key hashes the kind of result, a `schema` number that is bumped by hand when the meaning of that
kind's results changes, its parameters, and its inputs' keys. It never hashes source code, nor
anything about where or how a job runs.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from espalier.tasks.spec import NetSpec, Snapshot

KEY_DIGITS = 24


class IdentityError(TypeError):
    """A value that has no canonical form, and so may not be part of a key."""


def canonical(value: object, place: str = "value") -> Any:
    """`value` as plain JSON values: dataclasses by their fields, tuples as lists.

    A dataclass's fields at their defaults are left out, so that a field added later, whose default stands
    for what was always done, changes no key. A default may change only with the kind's schema number.

    Raises:
        IdentityError: Anything else than None, bool, int, str, a finite float, and dataclasses,
            sequences and string-keyed mappings of these. There is no fallback to `repr`.

    >>> canonical({"b": (1, 2.5), "a": None})
    {'b': [1, 2.5], 'a': None}
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise IdentityError(f"{place} is {value}: only finite numbers can be part of a key")
        return value
    if is_dataclass(value) and not isinstance(value, type):
        chosen = [field for field in fields(value) if getattr(value, field.name) != field.default]
        return {f.name: canonical(getattr(value, f.name), f"{place}.{f.name}") for f in chosen}
    if isinstance(value, Mapping):
        return _canonical_mapping(cast("Mapping[object, object]", value), place)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        items = cast("Sequence[object]", value)
        return [canonical(item, f"{place}[{index}]") for index, item in enumerate(items)]
    raise IdentityError(f"{place} is a {type(value).__name__}: keys hold plain values alone")


def _canonical_mapping(value: Mapping[object, object], place: str) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, item in value.items():
        if not isinstance(name, str):
            raise IdentityError(f"{place} has the key {name!r}: only strings can name a field")
        plain[name] = canonical(item, f"{place}.{name}")
    return plain


def content_key(kind: str, parameters: object, inputs: Sequence[str] = (), schema: int = 1) -> str:
    """The key of a result: 24 hexadecimal digits (96 bits) of a SHA-256.

    `schema` is bumped when results of that kind change their meaning; old rows then no longer match.

    >>> content_key("net", {"width": 4}) == content_key("net", {"width": 4})
    True
    """
    text = _text(kind, parameters, inputs, schema)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]


def _text(kind: str, parameters: object, inputs: Sequence[str], schema: int) -> str:
    content = {
        "kind": kind,
        "schema": schema,
        "parameters": canonical(parameters),
        "inputs": list(inputs),
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


_FIRST = '{"inputs":['
"""How the text begins that a key hashes: its fields are sorted."""


def pair_keys(
    kind: str,
    parameters: object,
    inputs: Sequence[str],
    sources: NDArray[np.int32],
    targets: NDArray[np.int32],
    schema: int = 1,
) -> NDArray[np.bytes_]:
    """`content_key` of many results (P) of two inputs each, as 24 bytes (P), about a microsecond each.

    The text that is hashed is put together from halves that are made once; `sources` and `targets` are
    indices (P) into the keys `inputs`.
    """
    last = f"]{_text(kind, parameters, (), schema).removeprefix(_FIRST + ']')}".encode()
    firsts = [f"{_FIRST}{json.dumps(key)},".encode() for key in inputs]
    seconds = [json.dumps(key).encode() + last for key in inputs]
    sha, size = hashlib.sha256, KEY_DIGITS // 2
    digests = [
        sha(firsts[source] + seconds[target]).digest()[:size]
        for source, target in zip(_plain(sources), _plain(targets), strict=True)
    ]
    return np.frombuffer(b"".join(digests).hex().encode(), f"S{KEY_DIGITS}")


def _plain(indices: NDArray[np.int32]) -> list[int]:
    return cast("list[int]", indices.tolist())


def net_key(net: NetSpec) -> str:
    """Key of a trained net: the data set by its content, not its name; the recipe, not who chose it."""
    parameters = canonical(net)
    del parameters["data"]["name"]
    parameters.pop("tuning", None)
    return content_key("net", parameters)


def snapshot(net: NetSpec, key: str, epoch: int) -> Snapshot:
    """The snapshot of a net, whose key is `key`, at an epoch."""
    return Snapshot(content_key("snapshot", {"epoch": epoch}, [key]), key, net, epoch)


def tile_key(pairs: Sequence[str]) -> str:
    """Name of a tile: the pairs in it. It names a file and an attempt, never a row."""
    return content_key("tile", {}, pairs)


def group_key(segments: Sequence[str]) -> str:
    """Name of a job that trains several nets: their snapshots. It names an attempt, never a row."""
    return content_key("group", {}, segments)


def probe_key(net: NetSpec, device: str) -> str:
    """What the speed of a net's training depends on: the same for all rates, seeds and data of one size.

    The machine is no part of it: elsewhere a folder goes on in its way if that holds there
    (`orchestrator.running.recorded_bits`).
    """
    recipe = net.recipe
    parameters = {
        "architecture": net.architecture,
        "device": device,
        "batch_size": recipe.batch_size,
        "optimizer": recipe.optimizer,
        "regularizer": recipe.regularizer,
        "augment": recipe.augment,
        "loss": recipe.loss,
    }
    if recipe.precision != "float32":
        parameters["precision"] = recipe.precision
    return content_key("probe", parameters)
