"""Keeps Ray's own lines off the terminal: they go to a file, which our errors name."""

from __future__ import annotations

import atexit
import contextlib
import io
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray._private import worker


class RayLog:
    """The file of one connection. `opened` begins to catch what Ray says, `close` ends it."""

    def __init__(self) -> None:
        handle, name = tempfile.mkstemp(prefix="espalier-ray-", suffix=".log")
        os.close(handle)
        self._path, self._named = Path(name), False
        self._handler = logging.FileHandler(self._path, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._logger = logging.getLogger("ray")
        self._were = self._logger.handlers
        self._logger.handlers = [self._handler]
        self._private: Any = worker
        self._print = self._private.print_to_stdstream
        self._private.print_to_stdstream = self._keep
        atexit.register(self._delete)

    def _keep(self, data: dict[str, Any], ignore_prefix: bool = False) -> None:  # noqa: ARG002 - Ray's signature
        """What Ray would print: errors of its nodes, with the last lines of their logs."""
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(f"({data.get('pid')}) {line}\n" for line in data["lines"])

    @property
    def where(self) -> str:
        """Ends an error: where Ray's own words are. The file then stays."""
        self._named = True
        return f"(Ray's own messages: {self._path})"

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Meanwhile what is written to the process's standard error, as Ray's C++ does, goes to the file.

        What Python writes to `sys.stderr` still comes to the terminal.
        """
        sys.stderr.flush()
        terminal, said = os.dup(2), sys.stderr
        with self._path.open("ab") as file:
            os.dup2(file.fileno(), 2)
        if _is_descriptor(said, 2):
            sys.stderr = os.fdopen(os.dup(terminal), "w", buffering=1, encoding="utf-8", errors="replace")
        try:
            yield
        finally:
            if sys.stderr is not said:
                sys.stderr.close()
                sys.stderr = said
            os.dup2(terminal, 2)
            os.close(terminal)

    def close(self) -> None:
        """Let Ray speak again, and delete the file unless an error named it."""
        self._private.print_to_stdstream = self._print
        self._logger.handlers = self._were
        self._handler.close()
        atexit.unregister(self._delete)
        self._delete()

    def _delete(self) -> None:
        if not self._named:
            self._path.unlink(missing_ok=True)


def _is_descriptor(stream: Any, number: int) -> bool:
    try:
        return stream.fileno() == number
    except (AttributeError, OSError, io.UnsupportedOperation):
        return False
