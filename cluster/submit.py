"""Run a sweep on the cluster that this script was sent to.

    ray submit cluster/deploy/aws.yaml cluster/submit.py results/cifar10
    ray job submit --working-dir . -- python cluster/submit.py results/cifar10
    ray job submit --working-dir . -- python cluster/submit.py results/cifar10 s3://bucket/cifar10

The second word says where the results are kept: an absolute path or a URL. Without it they are kept in the
sweep's folder, unless that is Ray's own copy of a working directory, which Ray deletes: then in
`~/espalier-results` on the machine that runs the job, below which the folder keeps its name.

It imports nothing of the project, for `ray submit` copies this one file to the head's home folder.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path

NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
SAFE = re.compile(rf"/?{NAME}(/{NAME})*/?")
"""`ray submit` does not quote its arguments: a space would split one, and $(...) would run."""
PLACE = re.compile(rf"([a-z][a-z0-9]*://|/){NAME}(/{NAME})*/?")

COPIES = "working_dir_files"
"""The folder below which Ray keeps its copies of working directories."""
KEPT = "espalier-results"


def arguments(words: list[str]) -> tuple[str, str]:
    """The sweep's folder, and where its results are kept if that is said.

    >>> arguments(["results/cifar10/"])
    ('results/cifar10', '')
    >>> arguments(["results/cifar10", "s3://bucket/cifar10"])
    ('results/cifar10', 's3://bucket/cifar10')

    Raises:
        ValueError: There are none or too many, or one holds other characters.
    """
    folder, place = (*words, "", "")[:2]
    if not SAFE.fullmatch(folder) or len(words) > 2 or (len(words) == 2 and not PLACE.fullmatch(place)):
        raise ValueError(
            "submit.py takes one sweep folder, a path of letters, digits and . _ - / as in results/cifar10, "
            "and where the results are kept if elsewhere, an absolute path or a URL such as "
            f"s3://bucket/cifar10; got {words}"
        )
    return folder.rstrip("/"), place.rstrip("/")


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


def kept(place: Path, folder: str, results: str) -> str:
    """Where the results are kept; nothing if that is the sweep's own folder."""
    sweep = place / folder
    if results or COPIES not in sweep.resolve().parts:
        return results
    return str(Path.home() / KEPT / (Path(folder).name if Path(folder).is_absolute() else folder))


def command(folder: str, results: str) -> list[str]:
    """What runs the sweep on the cluster this machine belongs to."""
    more = ["--results", results] if results else []
    return [sys.executable, "-m", "espalier", "run", folder, "--address", "auto", *more]


def main() -> None:
    """Become `espalier run FOLDER --address auto`."""
    try:
        folder, results = arguments(sys.argv[1:])
        place, folder = start(folder)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(str(error))
    results = kept(place, folder, results)
    machine = "" if "://" in results else f" on {os.uname().nodename}"
    sys.stderr.write(f"submit.py: the sweep's tables are written to {results or place / folder}{machine}\n")
    os.chdir(place)
    os.execv(sys.executable, command(folder, results))


if __name__ == "__main__":
    main()
