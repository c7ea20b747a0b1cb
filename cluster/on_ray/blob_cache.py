"""Which blobs the pool keeps in Ray's object store, so that jobs need not read them again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

SMALL_BYTES = 100 * 2**10
"""Ray sends a result below this with the answer itself (its `max_direct_call_object_size`): as long as a
reference is kept, the bytes lie in the driver's own memory, not in the object store."""

EACH_BYTES = 2 * 2**10
"""What such a result takes beside its bytes (measured: 5.9 KB for each of 4,000 bytes)."""

OWN_BUDGET = 32 * 2**20
"""Bytes of its own memory that the driver gives to small results."""


class BlobCache:
    """References by blob name; beyond a budget the least recently used are let go.

    Args:
        budget: Bytes of all blobs: what they may take of the object store.
        own: Bytes of the driver's memory that small blobs may take.

    >>> cache = BlobCache(budget=10)
    >>> for name in "ab": cache.put(name, name.upper(), size=5)
    >>> cache.get("a")
    'A'
    >>> cache.put("c", "C", size=5)
    >>> cache.get("b"), cache.size
    (None, 10)
    """

    def __init__(self, budget: int, own: int = OWN_BUDGET) -> None:
        self._budget, self._own = budget, own
        self._entries: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._small: OrderedDict[str, int] = OrderedDict()
        self.size = self.held = 0

    def get(self, name: str) -> Any:
        """The reference of a blob, or None."""
        if name not in self._entries:
            return None
        self._entries.move_to_end(name)
        if name in self._small:
            self._small.move_to_end(name)
        return self._entries[name][0]

    def put(self, name: str, reference: Any, size: int) -> None:
        """Keep a reference; a blob larger than the whole budget is not kept."""
        self.drop([name])
        self._entries[name] = (reference, size)
        self.size += size
        if size < SMALL_BYTES:
            self._small[name] = size + EACH_BYTES
            self.held += size + EACH_BYTES
        while self.size > self._budget:
            self.drop([next(iter(self._entries))])
        while self.held > self._own:
            self.drop([next(iter(self._small))])

    def drop(self, names: Iterable[str]) -> None:
        """Forget blobs. Calls in flight that name them keep them alive until they end."""
        for name in names:
            _, size = self._entries.pop(name, (None, 0))
            self.size -= size
            self.held -= self._small.pop(name, 0)
