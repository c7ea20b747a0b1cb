"""How much Python a piece of work runs: the same on every machine, unlike its seconds."""

import sys
from collections.abc import Callable


def calls(work: Callable[[], object]) -> int:
    """Calls of Python functions, and values that generators give, while `work` runs."""
    counted = 0

    def count(frame, event, argument):
        nonlocal counted
        counted += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return counted
