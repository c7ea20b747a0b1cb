"""Sweeps to begin with: one `sweep.toml` per template, shipped with the package, and how they are read.

The first comment lines of each say what question it answers and what it costs (`# Answers:`, `# Costs:`).
This room imports nothing else of the project. `espalier new` writes what `find` gives: start reading there.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from shlex import quote


@dataclass(frozen=True)
class Template:
    """A sweep to copy: its name, or its folder if it is a user's own, and the text of its `sweep.toml`."""

    name: str
    text: str

    @property
    def answers(self) -> str:
        """The question that the sweep answers."""
        return told(self.text, "Answers")

    @property
    def costs(self) -> str:
        """How long it takes, and on which machine."""
        return told(self.text, "Costs")


def told(text: str, word: str) -> str:
    """What the first comment says after a word, with the indented lines that continue it.

    >>> told("# Answers: Which one?\\n# Costs: a minute\\n#   of one core.\\n#\\n# More.", "Costs")
    'a minute of one core.'
    >>> told("[data]", "Costs")
    ''
    """
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(f"# {word}:"):
            lines = [line.partition(":")[2].strip()]
        elif lines and line.startswith("#   "):
            lines.append(line[1:].strip())
        elif lines or not line.startswith("#"):
            break
    return " ".join(lines)


def templates() -> dict[str, Template]:
    """The templates of the package by name, the demo first."""
    names = {place.name.removesuffix(".toml"): place for place in files(__name__).iterdir()}
    shipped = {name: place for name, place in names.items() if place.name.endswith(".toml")}
    order = sorted(shipped, key=lambda name: (name != "demo", name))
    return {name: Template(name, shipped[name].read_text(encoding="utf-8")) for name in order}


def make_one(place: str, folder: str) -> str:
    """What is to be done where a folder has no `sweep.toml`, for an error to say of that `place`."""
    return (
        f"{place} does not exist: `espalier new {quote(folder)} --from TEMPLATE` makes one; "
        f"the templates are {', '.join(templates())}"
    )


def find(source: str, beside: Path) -> Template:
    """The template of that name, or the sweep in that folder; a relative one also beside the new folder.

    A template's name is the template, also where a folder has that name: `./demo` is the folder.

    Raises:
        ValueError: There is neither.
    """
    known = templates()
    if source in known:
        return known[source]
    for folder in (Path(source), beside / source):
        place = folder / "sweep.toml"
        if place.is_file():
            return Template(str(folder), place.read_text(encoding="utf-8"))
    raise ValueError(
        f"--from {source}: no template and no folder with a sweep.toml; the templates are {', '.join(known)}"
    )
