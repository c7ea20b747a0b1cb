"""The folders that are read together, each with the name by which its rows are told apart."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from shlex import quote

from espalier.orchestrator.store.files import Files
from espalier.orchestrator.store.places import open_files

Folder = str | os.PathLike[str]
Folders = Folder | Sequence[Folder] | Mapping[str, Folder]


@dataclass(frozen=True)
class Sweeps:
    """Opened folders by name; `several` is whether rows say which of them they are from."""

    files: Mapping[str, Files]
    several: bool


def open_sweeps(folders: Folders) -> Sweeps:
    """Open one folder, or some.

    Raises:
        FileNotFoundError: One of them is not there.
        ValueError: None is given, or one twice.
    """
    if isinstance(folders, str | os.PathLike):
        return Sweeps({"": _opened(folders)}, several=False)
    named = dict(folders) if isinstance(folders, Mapping) else _named([*folders])
    if not named:
        raise ValueError("load: found no folder in the list; name one at least")
    return Sweeps({str(name): _opened(folder) for name, folder in named.items()}, several=True)


def _named(folders: Sequence[Folder]) -> dict[str, Folder]:
    """The folders by their own names, or by all that was given where two have one name.

    >>> list(_named(["results/mnist", "s3://bucket/digits/"])), list(_named(["a/x", "b/x"]))
    (['mnist', 'digits'], ['a/x', 'b/x'])
    """
    given = [os.fspath(folder) for folder in folders]
    if again := [text for text, count in Counter(given).items() if count > 1]:
        raise ValueError(f"load: found the folder '{again[0]}' twice; name each once")
    own = [text.rstrip("/").rpartition("/")[2] for text in given]
    counts = Counter(own)
    names = [
        name if name.strip(".") and counts[name] == 1 else text for name, text in zip(own, given, strict=True)
    ]
    return dict(zip(names, folders, strict=True))


def _opened(folder: Folder) -> Files:
    files = open_files(os.fspath(folder))
    if not files.is_there():
        raise FileNotFoundError(
            f"no sweep folder at '{folder}'; `espalier new {quote(str(folder))}` makes one"
        )
    return files
