"""Run a sweep on the cluster that this script was sent to.

    ray submit cluster/aws.yaml cluster/submit.py results/cifar10
    ray job submit --working-dir . -- python cluster/submit.py results/cifar10

It imports nothing of the project, for `ray submit` copies this one file to the head's home folder.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path

# `ray submit` does not quote its arguments: a space would split this one, and $(...) would run.
SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*/?")


def folder_name(arguments: list[str]) -> str:
    """The one argument, if it is a plain relative path.

    >>> folder_name(["results/cifar10"])
    'results/cifar10'

    Raises:
        ValueError: It is missing, is not alone, or holds other characters.
    """
    if len(arguments) != 1 or not SAFE.fullmatch(arguments[0]):
        raise ValueError(
            f"submit.py takes one sweep folder, a relative path of letters, digits and . _ - / such as "
            f"results/cifar10; got {arguments}"
        )
    return arguments[0].rstrip("/")


def installed() -> Path | None:
    """The folder that the package is imported from (of an editable install the checkout), if it is there."""
    spec = importlib.util.find_spec("espalier")
    return Path(spec.origin).parent.parent if spec is not None and spec.origin is not None else None


def checkout() -> Path | None:
    """The checkout that holds this script, if one does: `ray submit` copies the script alone."""
    beside = Path(__file__).resolve().parent.parent
    return beside if (beside / "espalier" / "__init__.py").is_file() else None


def root(folder: str) -> Path:
    """Where the sweep folder lies: here, else in the checkout (`ray submit` starts in the home folder).

    Raises:
        FileNotFoundError: No sweep.toml in any place.
    """
    found = [Path.cwd(), installed(), checkout()]
    places = list(dict.fromkeys(place for place in found if place is not None))
    for place in places:
        if (place / folder / "sweep.toml").is_file():
            return place
    raise FileNotFoundError(
        f"{folder}/sweep.toml is in none of {[str(place) for place in places]}: copy the sweep folder to the "
        "head (file_mounts in the cluster's YAML, or --working-dir of ray job submit)"
    )


def start(folder: str) -> tuple[Path, str]:
    """The folder to start in, and the sweep's as seen from there.

    A package that is not installed is imported from the current folder, by Ray's workers too: then that is
    the checkout, wherever the sweep lies.
    """
    place, beside = root(folder), checkout()
    if installed() is None and beside is not None and beside != place:
        return beside, str(place / folder)
    return place, folder


def command(folder: str) -> list[str]:
    """What runs the sweep on the cluster this machine belongs to."""
    return [sys.executable, "-m", "espalier", "run", folder, "--address", "auto"]


def main() -> None:
    """Become `espalier run FOLDER --address auto`."""
    try:
        place, folder = start(folder_name(sys.argv[1:]))
    except (ValueError, FileNotFoundError) as error:
        sys.exit(str(error))
    # A submitted job works in Ray's copy of the working directory, far from the folder that was sent.
    sys.stderr.write(f"submit.py: the sweep's tables are written to {place / folder}\n")
    os.chdir(place)
    os.execv(sys.executable, command(folder))


if __name__ == "__main__":
    main()
