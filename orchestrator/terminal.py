"""What commands write: texts as they are, and errors in one line each."""

from __future__ import annotations

import functools
import os
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console

out = Console(highlight=False, markup=False, emoji=False)
"""Names of folders and texts of errors may hold brackets and colons, which are no markup."""


def say(text: str) -> None:
    """Write a text as it is: no markup, and no line broken that somebody may paste."""
    out.print(text, soft_wrap=True)


def command_line(*words: object) -> str:
    """A command to paste into a shell, each word quoted that needs it.

    >>> command_line("espalier", "run", "my sweep")
    "espalier run 'my sweep'"
    """
    return shlex.join(map(str, words))


def fail(message: str) -> NoReturn:
    """Say what is wrong on standard error and exit with 1."""
    err = Console(stderr=True, highlight=False, markup=False, emoji=False)
    err.print(f"espalier: {message}", soft_wrap=True)
    raise typer.Exit(1)


def plain_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """One line for what a user can mend, and one for a fault of ours that says where its traceback is.

    `ESPALIER_TRACEBACK=1` lets every error through.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort):  # both are RuntimeErrors
            raise
        except Exception as error:
            if os.environ.get("ESPALIER_TRACEBACK"):
                raise
            fail(in_words(error))

    return wrapped


MENDABLE = (ValueError, OSError, RuntimeError, NotImplementedError)
"""Errors that the code raises with a message for the user: what was found, and what would do."""


def in_words(error: Exception) -> str:
    """An error that ends a command, as one line."""
    if isinstance(error, MemoryError):
        return (
            f"this process ran out of memory{_detail(error)}: close other programs, or take fewer or "
            "narrower nets; what was finished is kept"
        )
    ours = isinstance(error, RecursionError | UnicodeError) or not isinstance(error, MENDABLE)
    return _fault(error) if ours or not str(error) else str(error)


def _detail(error: Exception) -> str:
    return f" ({error})" if str(error) else ""


def _fault(error: Exception) -> str:
    """A fault of ours: its name, and the file that has what a report of it needs."""
    versions = f"espalier {metadata.version('espalier')}, Python {sys.version}"
    trace = "".join(traceback.format_exception(error))
    place = _kept(f"{versions}\n{command_line(*sys.argv)}\n\n{trace}")
    return (
        f"a fault of Espalier itself, not of your input: {type(error).__name__}{_detail(error)}. "
        f"{place} What was finished is kept; running again goes on from there."
    )


def _kept(told: str) -> str:
    try:
        number, name = tempfile.mkstemp(prefix="espalier-fault-", suffix=".log")
        os.close(number)
        Path(name).write_text(told, encoding="utf-8")
    except OSError as error:  # such as a full disk
        return f"Its traceback could not be written to a file ({error}); ESPALIER_TRACEBACK=1 shows it."
    return f"Please report it with {name}, which holds the traceback and the command."
