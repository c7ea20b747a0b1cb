"""The collector of what cut-off workers left: checkpoints that no row names, once nobody can be at them."""

from __future__ import annotations

from espalier.orchestrator.store.files import BLOBS, Files
from espalier.orchestrator.store.inventory import Inventory


def collect(files: Files, inventory: Inventory, seconds: float) -> str:
    """Remove the strays that are older than `seconds`, by the store's own clock; for the holder of the lock.

    What was put aside in the same scan may have named some of them, so that then nothing is removed.

    Returns:
        What was removed, in words; nothing if nothing was.
    """
    if not inventory.strays or inventory.problems:
        return ""
    now, removed = files.clock(), dict[str, int]()
    for file, size in inventory.strays.items():
        changed = files.changed(f"{BLOBS}/{file}")
        if changed is not None and now - changed > seconds:
            files.remove(f"{BLOBS}/{file}")
            removed[file] = size
    for file in removed:
        del inventory.strays[file]
    if not removed:
        return ""
    first = ", ".join(sorted(removed)[:3]) + (", ..." if len(removed) > 3 else "")
    return (
        f"removed {len(removed)} checkpoints ({sum(removed.values()):,} bytes) of workers that had been cut "
        f"off, which no row names: {first}"
    )
