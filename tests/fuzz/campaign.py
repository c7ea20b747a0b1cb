"""Reads damaged files by the hundred thousand, in a process of its own that may crash, hang or swell.

`python -m tests.fuzz.campaign --inputs 1000000 --output FILE` is what `make fuzz` runs. A fault names its
reader, its seed and what happened; `--reader part --first SEED --inputs 1` makes it again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from tests.fuzz.mutations import damaged
from tests.fuzz.readers import READERS, workplace

SECONDS = 20
"""After which a reader counts as hung."""
MEMORY = 3 * 2**30
"""Bytes that a reader may add to its process's address space: a part may take 1 GiB, and a copy of it."""
TOLD = 20
"""Faults of a reader that are told one by one."""
LONGEST = 20_000
"""Characters of a refusal."""
BATCH = 5_000
"""Inputs of one process: then a new one, whose memory is told anew."""


class Hung(BaseException):
    """A reader has taken too long: nothing that it catches."""


@dataclass
class Report:
    """What became of the inputs of one reader: counts, and the faults by seed."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0
    grown: int = 0


def judged(name: str, first: int, count: int, place: Synchronized | None = None) -> Report:
    """Read the damaged files of some seeds, here and now; `place` is told of each seed before it is read."""
    report, began = Report(), time.monotonic()
    signal.signal(signal.SIGALRM, _ring)
    with workplace() as folder:
        outside = Path(folder) / "outside"
        inside = outside / "inside"
        inside.mkdir(parents=True)
        reader = READERS[name](inside)
        for number in range(first, first + count):
            if place is not None:
                place.value = number
            verdict, fault = _judge(reader, damaged(f"{name} {number}", reader.files))
            report.counts[verdict] += 1
            if fault:
                report.faults[number] = fault
        if odd := sorted(path.name for path in outside.iterdir() if path != inside):
            report.faults[first] = f"wrote beside its folder: {odd}"
    report.seconds = time.monotonic() - began
    return report


def _judge(reader: Any, data: bytes) -> tuple[str, str]:
    """`read`, `refused` or `fault`, and what is wrong."""
    signal.alarm(SECONDS)
    try:
        found = reader.read(data)
        if data not in reader.files and reader.same is not None and not reader.same(found):
            return "fault", "read as something that was never written"
    except reader.refusals as error:
        text = str(error)
        bad = not text or len(text) > LONGEST or not text.replace("\n", "").isprintable()
        return ("fault", f"a refusal that is no message: {text[:200]!a}") if bad else ("refused", "")
    except Hung:
        return "fault", f"no answer within {SECONDS} s"
    except BaseException as error:  # noqa: BLE001 - every other way to end is the fault that is looked for
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        return "fault", f"{type(error).__name__} at {place}: {str(error)[:200]!a}"
    finally:
        signal.alarm(0)
    return "read", ""


def _child(name: str, first: int, count: int, place: Synchronized, answer: Any) -> None:
    """A batch in this process, under a limit of memory."""
    damaged_once = judged(name, first, 1)  # imports and pools come before memory is measured
    used = _address_space()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = judged(name, first + 1, count - 1, place) if count > 1 else Report()
    report.counts += damaged_once.counts
    report.faults |= damaged_once.faults
    report.grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024
    answer.send(report)


def _ring(number: int, frame: Any) -> None:
    raise Hung


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def campaign(name: str, first: int, count: int, tell: Any = print) -> Report:
    """Read so many damaged files, in processes that may die: whoever kills one is a fault, and it goes on."""
    with workplace() as folder:
        READERS[name](Path(folder))  # what cannot be made fails here, and once
    whole, context, end = Report(), multiprocessing.get_context("fork"), first + count
    while first < end:
        batch = min(BATCH, end - first)
        place = context.Value("q", first)
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(name, first, batch, place, theirs))
        process.start()
        theirs.close()
        try:
            part = ours.recv()
            first += batch
        except EOFError:  # it died without an answer: what it had read until then is counted
            process.join()
            part = Report(Counter({"unknown": place.value - first, "fault": 1}))
            part.faults[place.value] = f"the process ended with {process.exitcode}"
            first = place.value + 1
        process.join()
        whole.counts += part.counts
        whole.seconds += part.seconds
        whole.grown = max(whole.grown, part.grown)
        for seed, fault in list(part.faults.items())[: max(0, TOLD - len(whole.faults))]:
            tell(f"{name} {seed}: {fault}")
        whole.faults |= part.faults
    return whole


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--inputs", type=int, default=1_000_000, help="damaged files, shared among the readers"
    )
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--reader", choices=sorted(READERS), help="this one alone")
    parser.add_argument("--output", type=Path, help="where the figures go, as JSON")
    chosen = parser.parse_args()
    names = [chosen.reader] if chosen.reader else list(READERS)
    figures: dict[str, Any] = {"machine": platform.platform(), "readers": {}}
    for name in names:
        report = campaign(name, chosen.first, -(-chosen.inputs // len(names)))
        figures["readers"][name] = {
            **{verdict: report.counts[verdict] for verdict in ("read", "refused", "unknown", "fault")},
            "seconds": round(report.seconds),
            "grown_mib": round(report.grown / 2**20),
        }
        print(name, json.dumps(figures["readers"][name]), flush=True)  # noqa: T201 - a command
    figures["inputs"] = sum(
        row[verdict]
        for row in figures["readers"].values()
        for verdict in ("read", "refused", "unknown", "fault")
    )
    figures["faults"] = sum(row["fault"] for row in figures["readers"].values())
    if chosen.output:
        chosen.output.write_text(json.dumps(figures, indent=2) + "\n")
    return 1 if figures["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
