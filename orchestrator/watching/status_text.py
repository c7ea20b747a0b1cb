"""A look at a sweep in lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from espalier.orchestrator.running.heartbeat import Heartbeat, age
from espalier.orchestrator.running.progress import STILL_SECONDS, duration
from espalier.orchestrator.terminal import command_line
from espalier.orchestrator.watching.status import Failure, Status

SHOWN = 10
"""Failures, and jobs at work, that are told one by one."""
SILENT_SECONDS = 120.0
"""A run that has said nothing for so long has perhaps died with its machine."""
CAUSES = {
    "lost": "a worker or its node died",
    "preempted": "a node was taken away",
    "late": "no result within the time limit",
    "memory": "out of memory",
    "store": "no access to the store",
    "error": "an error",
    "hopeless": "would fail again",
    "unknown": "not recorded",
}


def lines(status: Status, folder: str) -> Iterator[str]:
    """What is broken, failed, at work and left, a line each."""
    for problem in status.broken:
        yield f"broken: {problem}"
    yield from _failed(status, folder)
    yield _disk(status)
    if status.active:
        yield from _run(status.beat, status.at)
    if not status.plan.tasks:
        yield (
            "Nothing more can be done; see above for what failed."
            if status.failures
            else "Nothing is missing."
        )
        return
    yield _left(status)
    if not status.active:
        yield f"No run is active; go on with:  {command_line('espalier', 'run', folder)}"


def _failed(status: Status, folder: str) -> Iterator[str]:
    if status.causes:
        counts = ", ".join(f"{count} x {CAUSES.get(cause, cause)}" for cause, count in status.causes.items())
        yield f"failed attempts so far: {counts}"
    hidden = len(status.failures) - SHOWN
    if hidden > 0:
        yield f"{hidden} more jobs failed for good before these (table jobs):"
    for failure in status.failures[-SHOWN:]:
        yield _failure(failure, folder)


def _failure(failure: Failure, folder: str) -> str:
    tries = f" after {failure.attempts} attempts" if failure.attempts > 1 else ""
    place = f" on {failure.node}" if failure.node else ""
    log = f"; its log:  {command_line('espalier', 'logs', folder, failure.key)}" if failure.log else ""
    return f"{failure.outcome}{tries}{place}: {failure.label}: {failure.error}{log}"


def _disk(status: Status) -> str:
    free = "" if status.free is None else f"; {_size(status.free)} free on its disk"
    return f"The folder holds {_size(status.used)}{free}."


def _size(count: int) -> str:
    """Bytes for people.

    >>> _size(12_300_000), _size(5), _size(4_560_000_000)
    ('12.3 MB', '0.0 MB', '4.6 GB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _run(beat: Heartbeat | None, at: datetime) -> Iterator[str]:
    if beat is None:
        yield "A run is active; it hands out no jobs at this moment."
        return
    silent = age(beat, at)
    if silent > SILENT_SECONDS:
        yield (
            f"A run holds the folder and has not been heard of for {duration(silent)}: "
            "does its machine still run?"
        )
        return
    moved = f"; no job has ended for {duration(beat.quiet)}" if beat.quiet > STILL_SECONDS else ""
    yield (
        f"A run is active for {duration((beat.at - beat.since).total_seconds())}: "
        f"{len(beat.running)} of {beat.slots} slots at work, {beat.queued} queued{moved}."
    )
    for job in sorted(beat.running, key=lambda job: -job.seconds)[:SHOWN]:
        yield f"    {job.label} (for {duration(job.seconds)})"


def _left(status: Status) -> str:
    slots = f"on {status.slots} slot{'s' if status.slots != 1 else ''}"
    if status.seconds_left is not None:
        return f"About {duration(status.seconds_left)} of work left {slots}."
    unseen = " and ".join(status.unseen)
    return (
        f"Time left: ?, until two jobs of {unseen} have ended; "
        f"by the cost model about {duration(status.predicted)} {slots}."
    )
