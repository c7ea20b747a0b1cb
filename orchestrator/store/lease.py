"""The right to write to a remote place, for a time that its holder makes longer while it lives.

The lease is an object. Clocks of two machines may differ, so one that seems to have run out is taken over
only if nobody renews it while it is watched for longer than a living holder would leave it alone.
"""

from __future__ import annotations

import re
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from espalier.orchestrator.store.files import LOCK, StoreLocked, this_process

LEASE_SECONDS, RENEWAL_SECONDS, WATCH_SECONDS, SETTLE_SECONDS = 180.0, 30.0, 75.0, 3.0
"""How long a lease is, how often its holder renews it, how long it is watched before it is taken over, and
how long after that it is read again: of two who take it at the same moment, the later one has it."""

_LEASE = re.compile(r"(?P<holder>.*); lease (?P<id>[0-9a-f]{32}) until (?P<until>[^ ]+)", re.DOTALL)


class Place(Protocol):
    """What a lease needs of the place that it is for: see `orchestrator.store.files`."""

    root: str

    def put_new(self, name: str, data: bytes) -> bool:
        """Write an object that must not exist; False if it does."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Write an object over what was there."""
        ...

    def read(self, name: str) -> bytes:
        """An object's bytes; FileNotFoundError if there is none."""
        ...

    def drop(self, name: str) -> None:
        """Delete an object; none there is fine."""
        ...


def written(holder: str, lease: str, until: float) -> bytes:
    """A lease as bytes; `until` in seconds since 1970."""
    return f"{holder}; lease {lease} until {_moment(until)}".encode()


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def run_out(text: bytes, now: float) -> bool:
    """Whether a lease is over at `now`.

    What is no lease binds nobody: the `.lock` of a local folder, say, that was copied to the place.

    >>> run_out(written("pid 1 on a", "0" * 32, until=100.0), now=99.0)
    False
    >>> run_out(b"pid 1 on a, since 1970-01-01", now=0.0)
    True
    """
    found = _LEASE.fullmatch(text.decode(errors="replace"))
    if found is None:
        return True
    try:
        return datetime.fromisoformat(found["until"]).timestamp() <= now
    except (ValueError, TypeError):
        return True


def is_lease(text: bytes) -> bool:
    """Whether the bytes are a lease."""
    return _LEASE.fullmatch(text.decode(errors="replace")) is not None


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _holder(text: bytes) -> str:
    said = text.decode(errors="replace")
    found = _LEASE.fullmatch(said)
    return (found["holder"] if found else said) or "an unknown process"


@dataclass
class Lease:
    """One writer's lease on a place.

    `clock` tells the time of day, in seconds since 1970; `sleep` waits; `tell` says to the user why.
    """

    place: Place
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], object] = time.sleep
    tell: Callable[[str], object] = _tell
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    _until: float = 0.0
    _holder: str = field(default_factory=lambda: this_process().decode())
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _released: threading.Event = field(default_factory=threading.Event)

    def take(self) -> None:
        """Get the lease, if need be from a holder that lets it run out.

        Raises:
            StoreLocked: Somebody holds it.
        """
        if not self.place.put_new(LOCK, self._text()):
            found = self._found()
            if not run_out(found, self.clock()):
                raise self._held(found)
            if is_lease(found):
                self.tell(
                    f"{self.place.root}: the lease of {_holder(found)} has run out; it is taken over in "
                    f"{WATCH_SECONDS:.0f} s unless it is renewed"
                )
                self.sleep(WATCH_SECONDS)
                if (now := self._found()) != found:
                    raise self._held(now)
            self.place.put(LOCK, self._text())
            self.sleep(SETTLE_SECONDS)
            self._refuse_another()
        threading.Thread(target=self._renew_until_released, name="lease", daemon=True).start()

    def renew(self) -> None:
        """Make the lease longer.

        Raises:
            StoreLocked: Another process has taken it over.
        """
        with self._guard:
            if self._released.is_set():
                return
            self._refuse_another()
            self.place.put(LOCK, self._text())

    def check(self) -> None:
        """Before a write: a lease that was not renewed in time, the machine having slept, may be another's.

        Raises:
            StoreLocked: It is.
        """
        if self.clock() >= self._until:
            self.renew()

    def release(self) -> None:
        """Give the lease back, unless it is another's by now."""
        with self._guard:
            self._released.set()
            if self.id.encode() in self._found():
                self.place.drop(LOCK)

    def _text(self) -> bytes:
        self._until = self.clock() + LEASE_SECONDS
        return written(self._holder, self.id, self._until)

    def _found(self) -> bytes:
        try:
            return self.place.read(LOCK)
        except FileNotFoundError:
            return b""

    def _refuse_another(self) -> None:
        found = self._found()
        if self.id.encode() not in found:
            self._until = 0.0  # every later write asks again, and is refused
            raise self._held(found)

    def _renew_until_released(self) -> None:
        while not self._released.wait(RENEWAL_SECONDS):
            try:
                self.renew()
            except (StoreLocked, OSError):
                continue  # the next write says so (`check`), or a later renewal succeeds

    def _held(self, text: bytes) -> StoreLocked:
        found = _LEASE.fullmatch(text.decode(errors="replace"))
        until = f" at {found['until']}" if found else ""
        return StoreLocked(
            f"{self.place.root} is in use by {_holder(text)}: wait for it; if it died, its lease runs "
            f"out{until} and the next run takes over"
        )
