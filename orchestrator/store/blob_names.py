"""What checkpoints are called: by the driver, and by workers that write to a shared store by themselves.

Jobs ask for a blob by the name `<key>.safetensors`, which is also that of the file that the driver writes. A
worker's file is `<key>.<first 16 digits of its SHA-256>.safetensors`, so that the same name is the same bytes
whoever writes them, and how often. It counts once a row of table `nets` has its whole SHA-256.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import pyarrow as pa

from espalier.cluster.pool import Receipt
from espalier.tasks.spec import blob_name, key_of, state_name

DIGITS = 16
SHA256 = re.compile(r"[0-9a-f]{64}")
_STRAIGHT = re.compile(rf"(?P<stem>[A-Za-z0-9_-]+(?:\.resume)?)\.[0-9a-f]{{{DIGITS}}}\.safetensors")


def digest(data: bytes) -> str:
    """The SHA-256 of bytes in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def straight_name(name: str, sha256: str) -> str:
    """The file of a blob of that name and digest, as a worker writes it.

    >>> straight_name("k.resume.safetensors", "0123456789abcdef" * 4)
    'k.resume.0123456789abcdef.safetensors'
    """
    return f"{name.removesuffix('.safetensors')}.{sha256[:DIGITS]}.safetensors"


def is_straight(file: str) -> bool:
    """Whether a worker may have written a file of that name.

    >>> is_straight("k.0123456789abcdef.safetensors"), is_straight("k.safetensors")
    (True, False)
    """
    return _STRAIGHT.fullmatch(file) is not None


def receipt_of(name: str, data: bytes) -> Receipt:
    """What a worker's file of these bytes would be."""
    sha256 = digest(data)
    return Receipt(straight_name(name, sha256), sha256, len(data))


def refuse_receipt(name: str, receipt: Receipt) -> None:
    """Refuse a receipt that is not of a file of that name.

    Raises:
        ValueError: It is not.
    """
    sound = SHA256.fullmatch(receipt.sha256) and is_straight(receipt.file)
    if not sound or receipt.file != straight_name(name, receipt.sha256):
        raise ValueError(
            f"the receipt of {name} names the file {receipt.file!a} and the SHA-256 {receipt.sha256!a}, "
            "which do not belong together"
        )


def signed(nets: pa.Table, receipts: Mapping[str, Receipt]) -> pa.Table:
    """Rows of table `nets` with the files and digests of the blobs that workers wrote."""
    columns = {name: nets[name].to_pylist() for name in ("checkpoint", "sha256", "state_sha256")}
    for row, key in enumerate(nets["key"].to_pylist()):
        if receipt := receipts.get(blob_name(key)):
            columns["checkpoint"][row], columns["sha256"][row] = receipt.file, receipt.sha256
        if receipt := receipts.get(state_name(key)):
            columns["state_sha256"][row] = receipt.sha256
    for name, values in columns.items():
        field = nets.schema.field(name)
        nets = nets.set_column(nets.schema.get_field_index(name), field, pa.array(values, field.type))
    return nets


def digests(nets: pa.Table) -> dict[str, str]:
    """The digests in rows of table `nets`, by the name of the blob."""
    found: dict[str, str] = {}
    for column, name_of in (("sha256", blob_name), ("state_sha256", state_name)):
        for key, sha256 in zip(nets["key"].to_pylist(), nets[column].to_pylist(), strict=True):
            if sha256 is not None and SHA256.fullmatch(sha256):
                found[name_of(key)] = sha256
    return found


def keys_of(names: Mapping[str, object]) -> set[str]:
    """The keys of the nets of which these are blobs."""
    return {key_of(name) for name in names}
