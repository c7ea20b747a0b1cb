"""Small JSON files of a sweep's folder, read by a schema."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from espalier.tasks.plain_text import printable, shortened

T = TypeVar("T")
MOST = 60
"""Characters of what was found that an error shows."""


def shaped(value: Any, schema: TypeAdapter[T], place: str, cure: str) -> T:
    """A value that came from JSON, as the schema says.

    Raises:
        ValueError: It is another; names the file `place`, the field, what was found and the `cure`.
    """
    try:
        return schema.validate_python(value)
    except ValidationError as error:
        fault = error.errors()[0]
    field = shortened(printable(".".join(map(str, fault["loc"]))), MOST)
    where = f"{place}: '{field}'" if field else place
    if fault["type"] == "missing":
        raise ValueError(f"{where} is missing: {cure}")
    if fault["type"] == "value_error":
        raise ValueError(f"{where} {fault['msg'].removeprefix('Value error, ')}: {cure}")
    raise ValueError(f"{where} is {_short(fault['input'])}; {_lower(fault['msg'])}: {cure}")


def _short(value: Any) -> str:
    return shortened(repr(value), MOST)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
