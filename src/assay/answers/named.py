"""A mapping whose entries are asked for by their names, and that says which names there are.

A plain dict answers a misspelt name with a bare KeyError; here it is a refusal like any other, with
the names to choose from. Everything else is a dict's own: `in`, `.get` and `**` know no refusal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from assay.errors import InputError
from assay.settings import shown

Key = TypeVar("Key")
Value = TypeVar("Value")


class Named(dict[Key, Value], Generic[Key, Value]):
    """Entries by name.

    >>> Named({"curve": 1.0})["curves"]
    Traceback (most recent call last):
        ...
    assay.errors.InputError: Expected one of the names curve, got 'curves'. Ask for one of these.
    """

    def __init__(self, entries: Mapping[Key, Value] | Iterable[tuple[Key, Value]] = ()) -> None:
        super().__init__(entries)

    def __missing__(self, wanted: Any) -> Value:
        """The entry that a name means though it is no key, or a refusal."""
        return self[self.meant(wanted)]

    def meant(self, wanted: Any) -> Key:  # may be overridden
        """The key that was meant; refused where there is none."""
        names = ", ".join(map(str, self)) or "none at all"
        raise InputError(
            expected=f"one of the names {names}", got=shown(wanted), advice="Ask for one of these."
        )
