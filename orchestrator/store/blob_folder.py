"""The checkpoints of a store as its one writer sees them, whoever wrote the files (see `blob_names`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa

from espalier.cluster.pool import Receipt
from espalier.orchestrator.store.blob_names import (
    digest,
    digests,
    is_straight,
    keys_of,
    refuse_receipt,
    straight_name,
)
from espalier.orchestrator.store.files import BLOBS, Files, Misplaced
from espalier.orchestrator.store.inventory import Inventory
from espalier.tasks.plain_text import printable
from espalier.tasks.spec import key_of

NETS = "nets"


class BlobFolder:
    """Checkpoints in `files`; what is there is counted in `inventory`.

    `nets` gives the rows of table `nets`, which is asked for only where a worker has written files.
    """

    def __init__(self, files: Files, inventory: Inventory, nets: Callable[[], pa.Table]) -> None:
        self._files, self._inventory, self._nets = files, inventory, nets

    def scan(self) -> dict[str, str]:
        """Take note of what the driver has written; gives what lies there and is no file, in words.

        What workers wrote waits for `count_straight`, once the tables have been scanned.
        """
        sizes, odd = self._files.sizes(BLOBS), self._files.irregular(BLOBS)
        sizes = {name: size for name, size in sizes.items() if name not in odd}
        found = self._inventory
        found.strays = {name: size for name, size in sizes.items() if is_straight(name)}
        found.blobs = {name: size for name, size in sizes.items() if name not in found.strays}
        return odd

    def count_straight(self) -> None:
        """Of the files that workers wrote, count those that a row names."""
        found = self._inventory
        if not found.strays:
            return
        for name, sha256 in self._recorded().items():
            file = straight_name(name, sha256)
            if (size := found.strays.get(file)) is not None:
                self._count(name, Receipt(file, sha256, size))

    def _recorded(self) -> dict[str, str]:
        """The digests that rows have, by the name of the blob; the table is read once."""
        if self._inventory.digests is None:
            self._inventory.digests = digests(self._nets())
        return self._inventory.digests

    def _count(self, name: str, receipt: Receipt) -> None:
        self._inventory.blobs[name], self._inventory.receipts[name] = receipt.size, receipt
        self._inventory.strays.pop(receipt.file, None)

    def refuse(self, receipts: Mapping[str, Receipt], nets: pa.Table | None) -> None:
        """Refuse receipts of files that are not there as they say, or that no row would name.

        Raises:
            ValueError: There is one.
        """
        keys = set(nets["key"].to_pylist()) if nets is not None else set[str]()
        if unnamed := sorted(keys_of(receipts) - keys):
            raise ValueError(f"no row of table '{NETS}' came with the checkpoint of {unnamed[0]}")
        for name, receipt in receipts.items():
            refuse_receipt(name, receipt)
            try:
                size = self._files.stamp(f"{BLOBS}/{receipt.file}").size
            except FileNotFoundError:
                raise ValueError(f"{BLOBS}/{receipt.file}, which a worker wrote, is not there") from None
            if size != receipt.size:
                raise ValueError(
                    f"{BLOBS}/{receipt.file} has {size} bytes, where the worker wrote {receipt.size}"
                )

    def accept(self, receipts: Mapping[str, Receipt]) -> dict[str, Receipt]:
        """Count files of workers, which `refuse` let pass; gives those whose rows are to be signed.

        A net that has its row already (it was trained again for its checkpoint's sake) cannot be signed anew.
        If the row names these very bytes they count; other bytes, which no row will ever name, are kept under
        the plain name.
        """
        present, fresh = self._inventory.present[NETS], dict[str, Receipt]()
        for name, receipt in receipts.items():
            if (key_of(name),) not in present:
                fresh[name] = receipt
            elif self._recorded().get(name) == receipt.sha256:
                self._count(name, receipt)
            elif name not in self._inventory.blobs:
                self.put(name, self._whole(receipt))
        return fresh

    def count(self, receipts: Mapping[str, Receipt]) -> None:
        """Count files of workers whose rows are there now."""
        for name, receipt in receipts.items():
            self._count(name, receipt)
            if self._inventory.digests is not None:
                self._inventory.digests[name] = receipt.sha256

    def put(self, name: str, data: bytes) -> None:
        """Write a checkpoint, unless there is one of that name: same key, same bits."""
        if name not in self._inventory.blobs and self._files.publish(f"{BLOBS}/{name}", data):
            self._inventory.blobs[name] = len(data)

    def read(self, name: str) -> bytes:
        """A checkpoint's bytes.

        Raises:
            FileNotFoundError: There is none.
            ValueError: The bytes are not those that the row names.
        """
        receipt = self._inventory.receipts.get(name)
        return self._files.read(f"{BLOBS}/{name}") if receipt is None else self._whole(receipt)

    def _whole(self, receipt: Receipt) -> bytes:
        data = self._files.read(f"{BLOBS}/{receipt.file}")
        if (found := digest(data)) != receipt.sha256:
            told = f"its SHA-256 is {found[:12]}.., its row says {receipt.sha256[:12]}.."
            raise ValueError(f"{BLOBS}/{receipt.file}: {told}")
        return data

    def remove(self, name: str) -> None:
        """Delete a checkpoint; none there is fine."""
        self._files.remove(f"{BLOBS}/{self._file(name)}")
        self._inventory.receipts.pop(name, None)
        self._inventory.blobs.pop(name, None)

    def _file(self, name: str) -> str:
        receipt = self._inventory.receipts.get(name)
        return name if receipt is None else receipt.file

    def check(self, name: str, verify: Callable[[str, bytes], None]) -> str:
        """See `Store.check_blobs`; gives its message, or nothing."""
        file = f"{BLOBS}/{self._file(name)}"
        told, cure = printable(file), "it will be computed again"
        try:
            verify(name, self.read(name))
        except FileNotFoundError:
            self._lose(name)
            return f"{told}: missing; {cure}"
        except (ValueError, Misplaced) as error:
            place = printable(self._files.quarantine(file))
            self._lose(name)
            what = error.what if isinstance(error, Misplaced) else str(error).removeprefix(f"{file}: ")
            return f"{told}: {what}; moved to {place}; {cure}"
        return ""

    def _lose(self, name: str) -> None:
        """A checkpoint's file is gone; one that the driver wrote under the plain name may be there too."""
        self._inventory.blobs.pop(name, None)
        if self._inventory.receipts.pop(name, None) is not None:
            try:
                self._inventory.blobs[name] = self._files.stamp(f"{BLOBS}/{name}").size
            except FileNotFoundError:
                return
