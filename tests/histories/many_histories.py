"""Plays random histories by the thousand: `python -m tests.histories.many_histories --histories 10000`.

`make histories` runs this. Histories are drawn in chunks, each by a seed of its own, so that `--first SEED
--histories 250` draws a chunk again. What goes wrong is made smaller and printed as a history that can be
pasted into a test; then the next chunk begins.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import zlib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.histories.drawn import histories
from tests.histories.playing import History, play

CHUNK = 250
"""Histories that are drawn by one seed."""


@dataclass
class Chunk:
    """What became of the histories of one seed."""

    seen: Counter[str] = field(default_factory=Counter)
    distinct: set[int] = field(default_factory=set)
    fault: str = ""
    seconds: float = 0.0


def drawn(number: int, count: int) -> Chunk:
    """Play so many histories of a seed; the first fault ends it."""
    chunk, began = Chunk(), time.process_time()

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(histories)
    def each(history: History) -> None:
        chunk.seen["histories"] += 1
        chunk.distinct.add(zlib.crc32(repr(history).encode()))
        play(history, chunk.seen)

    try:
        each()
    except Exception as error:  # noqa: BLE001 - whatever the product or a judgement raised is the fault
        notes = "\n".join(getattr(error, "__notes__", []))
        chunk.fault = f"seed {number}: {type(error).__name__}: {error}\n{notes}"
    chunk.seconds = time.process_time() - began
    return chunk


def figures(chunks: list[Chunk]) -> dict[str, Any]:
    """The counts of all chunks, by what they count."""
    seen = sum((chunk.seen for chunk in chunks), Counter())
    grouped: dict[str, dict[str, int]] = {}
    for name, count in sorted(seen.items()):
        kind, _, what = name.partition(": ") if ": " in name else (name.partition(" at ")[0], "", name)
        grouped.setdefault(kind, {})[what] = count
    return {
        "machine": platform.platform(),
        "histories": seen["histories"],
        "distinct": len(set[int]().union(*(chunk.distinct for chunk in chunks))),
        "cpu_seconds": round(sum(chunk.seconds for chunk in chunks)),
        "faults": sum(bool(chunk.fault) for chunk in chunks),
        **{kind: counts for kind, counts in grouped.items() if kind != "histories"},
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=10_000, help="how many, in chunks of 250")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that play them")
    parser.add_argument("--output", type=Path, help="where the figures go, as JSON")
    chosen = parser.parse_args()
    seeds = range(chosen.first, chosen.first + -(-chosen.histories // CHUNK))
    sizes = [min(CHUNK, chosen.histories - CHUNK * place) for place in range(len(seeds))]
    chunks: list[Chunk] = []
    with ProcessPoolExecutor(chosen.workers) as workers:
        for chunk in workers.map(drawn, seeds, sizes):
            chunks.append(chunk)
            whole = figures(chunks)
            told = {name: whole[name] for name in ("histories", "distinct", "cpu_seconds", "faults")}
            print(json.dumps(told), chunk.fault, flush=True)  # noqa: T201 - a command
            if chosen.output:
                chosen.output.write_text(json.dumps(whole, indent=2) + "\n")
    return 1 if whole["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
