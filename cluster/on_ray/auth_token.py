"""The token that admits to a cluster: where it lies, and who may read it. Needs no Ray."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


def token_file(environment: Mapping[str, str] = os.environ) -> Path:
    """The file that Ray reads the token from if no variable holds it."""
    return Path(environment.get(TOKEN_PATH) or Path.home() / ".ray" / "auth_token")


def guard(file: Path) -> None:
    """Let nobody but its owner read a token that is there: Ray writes it readable by all.

    A file of another user, or on a disk mounted read-only (a Kubernetes secret), stays as it is.
    """
    with contextlib.suppress(OSError):
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            file.chmod(0o600)


def described(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Ray's mode of authentication here, and where the token comes from: `variable`, a path, or nothing.

    `open` is the mode of a file that others may read, in octal digits; nothing if only its owner may.
    """
    file = token_file(environment)
    mode = stat.S_IMODE(file.stat().st_mode) if file.is_file() else 0
    there = "variable" if environment.get(TOKEN) else str(file) if file.is_file() else ""
    opened = f"{mode:o}" if mode & 0o077 and there != "variable" else ""
    return {"mode": environment.get(MODE, ""), "token": there, "open": opened}
