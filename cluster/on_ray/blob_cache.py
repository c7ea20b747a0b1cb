"""Which blobs the pool keeps in Ray's object store, so that jobs need not read them again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any


class BlobCache:
    """References by blob name; beyond `budget` bytes the least recently used are let go.

    >>> cache = BlobCache(budget=10)
    >>> for name in "ab": cache.put(name, name.upper(), size=5)
    >>> cache.get("a")
    'A'
    >>> cache.put("c", "C", size=5)
    >>> cache.get("b"), cache.size
    (None, 10)
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._entries: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self.size = 0

    def get(self, name: str) -> Any:
        """The reference of a blob, or None."""
        if name not in self._entries:
            return None
        self._entries.move_to_end(name)
        return self._entries[name][0]

    def put(self, name: str, reference: Any, size: int) -> None:
        """Keep a reference; a blob larger than the whole budget is not kept."""
        self.drop([name])
        self._entries[name] = (reference, size)
        self.size += size
        while self.size > self._budget:
            self.drop([next(iter(self._entries))])

    def drop(self, names: Iterable[str]) -> None:
        """Forget blobs. Calls in flight that name them keep them alive until they end."""
        for name in names:
            _, size = self._entries.pop(name, (None, 0))
            self.size -= size
