"""Settings by name: those that a class does not have are refused, and the likely one is offered."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from assay.errors import SettingKindError


def check_names(kind: type, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
    """Refuses settings that a class does not have, or has to be given."""
    if not dataclasses.is_dataclass(kind):
        return
    fields = [field for field in dataclasses.fields(kind) if field.init]
    names = [field.name for field in fields]
    placed = [field.name for field in fields if not field.kw_only]
    unknown = [name for name in named if name not in names]
    twice = [name for name in placed[: len(given)] if name in named]
    needed = [name for name in _needed(fields) if name not in (*placed[: len(given)], *named)]
    if not (unknown or twice or needed or len(given) > len(placed)):
        return
    raise SettingKindError(
        expected=f"the settings of {kind.__name__}, {', '.join(names) or 'none'}",
        got=_misnamed(unknown, twice, needed, len(given)),
        advice=_like(unknown, names, kind.__name__),
    )


def _needed(fields: Iterable[dataclasses.Field[Any]]) -> list[str]:
    """The settings that have no default."""
    missing = dataclasses.MISSING
    return [
        field.name
        for field in fields
        if field.default is missing and field.default_factory is missing
    ]


def _misnamed(unknown: list[str], twice: list[str], needed: list[str], given: int) -> str:
    if unknown:
        return ", ".join(map(repr, unknown))
    if twice:
        return f"{', '.join(map(repr, twice))} twice, by place and by name"
    if needed:
        return f"no {' and no '.join(needed)}"
    return f"{given} settings by place"


def _like(unknown: list[str], names: list[str], kind: str) -> str:
    """What was probably meant."""
    for name in unknown:
        parts = [known for known in names if known in name or (len(name) > 2 and name in known)]
        near = parts or difflib.get_close_matches(name, names, n=1)
        if near:
            return f"Did you mean {near[0]}? help({kind}) says what each is."
    return f"help({kind}) says what each is."
