"""What a worker reads from a shared store and writes to it by itself (docs/decisions/straight-blobs.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache

from espalier.cluster.on_ray.blob_cache import BlobCache
from espalier.cluster.pool import Job, Receipt, Shelf
from espalier.orchestrator.store.blob_names import digest, receipt_of
from espalier.orchestrator.store.files import BLOBS, SHELF, Files
from espalier.orchestrator.store.places import open_files

KEPT_BYTES = 64 * 2**20
"""Of the blobs that a worker has read or written so much stays with it: the next job often reads the same."""


class ShelfError(OSError):
    """A worker cannot use the shared store; the job's next attempt gets its blobs from the driver."""

    store = True


_kept = BlobCache(KEPT_BYTES)
_seen: set[tuple[str, str]] = set()


def brought(job: Job, sent: Mapping[str, bytes]) -> dict[str, bytes]:
    """All inputs of a job in their order: those that the pool has `sent`, and those that lie on its shelf.

    Raises:
        ShelfError: The store cannot be reached from here, or a file is not what its receipt says.
    """
    shelf = job.shelf
    if shelf is None:
        return dict(sent)
    _look(shelf)
    return {
        name: _read(shelf.place, shelf.inputs[name]) if name in shelf.inputs else sent[name]
        for name in job.inputs
    }


def shelved(shelf: Shelf, blobs: Mapping[str, bytes]) -> dict[str, Receipt]:
    """Write blobs to a shelf; what is there under the same name is the same bytes, or is written anew.

    Raises:
        ShelfError: The place takes no more, say; files that were written before that are strays.
    """
    return {name: _written(shelf.place, name, data) for name, data in blobs.items()}


@cache
def _files(place: str) -> Files:
    return open_files(place)


def _look(shelf: Shelf) -> None:
    """Make sure that the place is the driver's, not another disk's folder of that name."""
    if (shelf.place, shelf.mark) in _seen:
        return
    with _told(shelf.place):
        found = _files(shelf.place).read(SHELF).decode(errors="replace")
    if found != shelf.mark:
        raise ShelfError(f"{shelf.place} is not the driver's: its {SHELF} is of another run")
    _seen.add((shelf.place, shelf.mark))


def _read(place: str, receipt: Receipt) -> bytes:
    data = _kept.get(receipt.sha256)
    if data is None:
        with _told(place):
            data = _files(place).read(f"{BLOBS}/{receipt.file}")
        if (found := digest(data)) != receipt.sha256:
            raise ShelfError(
                f"{place}/{BLOBS}/{receipt.file}: its SHA-256 is {found[:12]}.., its row says "
                f"{receipt.sha256[:12]}.."
            )
        _kept.put(receipt.sha256, data, len(data))
    return data


def _written(place: str, name: str, data: bytes) -> Receipt:
    receipt, files = receipt_of(name, data), _files(place)
    path = f"{BLOBS}/{receipt.file}"
    with _told(place):
        if not files.publish(path, data) and not _holds(files, path, receipt):
            files.replace(path, data)
    _kept.put(receipt.sha256, data, len(data))
    return receipt


def _holds(files: Files, path: str, receipt: Receipt) -> bool:
    """Whether a file that is there has the bytes of its name: a disk may have changed them since."""
    with suppress(FileNotFoundError):
        return digest(files.read(path)) == receipt.sha256
    return False


@contextmanager
def _told(place: str) -> Iterator[None]:
    """Whatever the place raises is told as a fault of the store's."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # libraries of stores have errors of their own
        raise ShelfError(f"this worker cannot use {place}: {error}") from error
