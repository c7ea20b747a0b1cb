"""Whether a Ray answers, asked with sockets: Ray itself goes on trying for minutes."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable

from espalier.cluster.on_ray.grpc_question import begins, knows_ray

HUNG_UP = (
    "what listens there hangs up without an answer, as a head that is just starting or ending does, and a "
    "tunnel or proxy that does not reach one"
)
CONNECT_SECONDS, ANSWER_SECONDS, LOOK_SECONDS = 3.0, 3.0, 2.0


def silence(address: str) -> str:
    """Why no Ray can be at `host:port`, in words; empty if something there speaks Ray's protocol.

    Raises:
        ValueError: The address is no host:port.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"address {address!r} is no host:port (such as 10.0.0.1:6379), nor `auto`")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS) as link:
            link.settimeout(ANSWER_SECONDS)
            found = begins(link) and knows_ray(link, ANSWER_SECONDS)
    except TimeoutError:
        return "nothing answers"
    except (EOFError, BrokenPipeError, ConnectionResetError):  # a reset: it did not read all that was said
        return HUNG_UP
    except (OSError, OverflowError) as error:
        return str(getattr(error, "strerror", None) or error)
    return "" if found else "something else than Ray answers"


def nobody_listens(family: int, place: str | tuple[str, int]) -> bool:
    """Whether a socket is certainly without a listener: a busy one is not."""
    with socket.socket(family, socket.SOCK_STREAM) as link:
        link.settimeout(1.0)
        try:
            link.connect(place)
        except TimeoutError:
            return False
        except OSError as error:
            return error.errno in (errno.ECONNREFUSED, errno.ENOENT, errno.EHOSTUNREACH, errno.ENETUNREACH)
    return False


class Watch:
    """Tells when what a driver needs of Ray is gone.

    Args:
        missing: Says in words what is missing, or nothing.
        patience: Seconds for which it must be missing: a cluster may start its head anew.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self, missing: Callable[[], str], patience: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._missing, self._patience, self._clock = missing, patience, clock
        self._looked = self._here = clock()
        self.absent = ""
        """What was missing when it was last looked."""

    def look(self) -> str:
        """What is missing at this moment."""
        self._looked = self._clock()
        self.absent = self._missing()
        if not self.absent:
            self._here = self._looked
        return self.absent

    def gone(self) -> str:
        """What is gone for good, in words; nothing if all is there or it is too early to say."""
        if self._clock() - self._looked >= LOOK_SECONDS:
            self.look()
        return self.absent if self._looked - self._here >= self._patience else ""
