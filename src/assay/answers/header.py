"""The header of a saved file, checked field by field before anything is made of it.

A file may come from anybody: every field that is needed must be there, must be of its kind, and no
others. What is refused is told by its name, as a schema would (json-schema.org).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

from assay.errors import InputError

_SHOWN = 60  # characters of a wrong value that a refusal quotes


@final
@dataclass(frozen=True)
class Field:
    """What one field of a header must be: in words, and as a test of its value."""

    words: str
    fits: Callable[[Any], bool]


def _is_whole(value: Any, least: int = 0) -> bool:
    # True is an int to Python. Whole numbers above 2^62 would not fit an array.
    return type(value) is int and least <= value < 1 << 62


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


TEXT = Field("a text", _is_text)

MAPPING = Field("a mapping", lambda value: isinstance(value, dict))

FLAG = Field("true or false", lambda value: isinstance(value, bool))


def whole(least: int = 0) -> Field:
    """A whole number from `least` on."""
    return Field(f"a whole number from {least} on", lambda value: _is_whole(value, least))


def number(low: float, high: float) -> Field:
    """A finite number, low <= value <= high."""

    def fits(value: Any) -> bool:
        return type(value) in (int, float) and low <= value <= high

    return Field(f"a number from {low:g} to {high:g}", fits)


def one_of(*options: str) -> Field:
    """One of some words."""
    return Field(f"one of {', '.join(options)}", lambda value: _is_text(value) and value in options)


def listed(part: Field) -> Field:
    """A list whose entries are all of one kind."""

    def fits(value: Any) -> bool:
        return isinstance(value, list) and all(map(part.fits, value))

    return Field(f"a list, each {part.words}", fits)


def optional(part: Field) -> Field:
    """What may be null."""
    return Field(f"{part.words} or null", lambda value: value is None or part.fits(value))


def checked(stored: Any, schema: Mapping[str, Field], where: str) -> dict[str, Any]:
    """The fields of a header: those of the schema, each of its kind, and no others.

    >>> checked({"steps": 3}, {"steps": whole(1)}, "a file")
    {'steps': 3}
    """
    if not isinstance(stored, dict):
        raise damaged(where, "a mapping of fields", shown(stored))
    for name in schema.keys() - stored.keys():
        raise damaged(where, f"the field {name!r}", "none")
    for name in stored.keys() - schema.keys():
        raise damaged(where, f"the fields {', '.join(schema)}", f"another one, {shown(name)}")
    for name, field in schema.items():
        if not field.fits(stored[name]):
            raise damaged(where, f"{field.words} as {name!r}", shown(stored[name]))
    return dict(stored)


def parsed(text: str, where: str) -> Any:
    """JSON, or a refusal: also of what is nested or numbers too deeply for Python."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError, MemoryError) as error:
        raise damaged(where, "facts as JSON", f"something else: {shown(error)}") from error


def damaged(where: str, expected: str, got: str) -> InputError:
    """The refusal of a file that says what no `save` would have written."""
    return InputError(
        expected=f"{expected} in {where}",
        got=got,
        advice="The file is damaged or was written by something else: save the answer again.",
    )


def shown(value: Any) -> str:
    """A wrong value, as far as a sentence can hold it."""
    try:
        text = value if isinstance(value, str) else str(value)
    # Nested too deeply to be written, or a number of too many digits.
    except (ValueError, RecursionError):
        return f"a {type(value).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def product(shape: list[int]) -> int:
    """How many numbers a shape holds."""
    return math.prod(shape)
