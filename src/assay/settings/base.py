"""The base of classes with settings, which checks them before the class itself does.

Of objects (a method inside another) and of words out of a few, the class itself speaks first, and
may put another in its place; anything else that is not of its kind is a `SettingKindError`.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import typing
from collections.abc import Callable
from enum import Enum
from typing import Any, Self, TypeAlias, final
from weakref import WeakKeyDictionary

from assay.errors import AssayError, SettingKindError
from assay.settings.annotation import Mismatch, Rule, resolved, rule_of
from assay.settings.names import check_names
from assay.settings.refusal import Wanted


@final
class _Making(Enum):
    """Why an object is made, where nobody calls its class."""

    A_COPY = "a copy"


class Named:
    """The base of classes whose settings go by names: unknown, missing and repeated ones are refused."""

    def __new__(cls, *given: Any, **named: Any) -> Self:
        # Copies are made without settings, which come after.
        if len(given) != 1 or given[0] is not _Making.A_COPY:
            check_names(cls, given, named)
        return super().__new__(cls)

    def __getnewargs__(self) -> tuple[_Making]:
        """What copies and files of an object hand to `__new__`, which is told by it from a call."""
        return (_Making.A_COPY,)


class Settings(Named):
    """The base of all bases whose subclasses are frozen dataclasses of settings."""

    def __post_init__(self, *given: Any) -> None:
        check(self)
        following = getattr(super(), "__post_init__", None)
        if following is not None:
            following(*given)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # The dataclass calls what it finds here: of the class itself, or of a second parent.
        found: Any = cls.__post_init__
        if found is not Settings.__post_init__ and not hasattr(found, "checks_settings"):
            cls.__post_init__ = _checked(found)  # type: ignore[method-assign]


def _checked(own: Callable[..., None]) -> Callable[..., None]:
    """A `__post_init__` that finds settings of the annotated kinds."""

    @functools.wraps(own)
    def post_init(self: Any, *given: Any) -> None:
        late = check(self, late=True)
        if not late:
            own(self, *given)
            return
        try:
            own(self, *given)
        except AssayError:
            raise
        # Whatever a class trips over here is what the refusal below says.
        except Exception as error:
            raise late[0] from error
        check(self)

    post_init.checks_settings = True  # type: ignore[attr-defined]
    return post_init


def check(settings: Any, *, late: bool = False) -> list[SettingKindError]:
    """Puts every setting into the form of its annotation, or refuses it.

    With `late`, the refusals that the class itself may forestall come back.
    """
    postponed: list[SettingKindError] = []
    for field, rule in _rules(type(settings)):
        value = getattr(settings, field.name, field.default)
        # What a class writes itself is not held against it.
        if value is field.default:
            continue
        try:
            meant = rule.read(value)
        except Mismatch:
            wanted = Wanted(type(settings).__name__, field.name, rule, field.default)
            refusal = wanted.refusal(value)
            if not (late and rule.late(value)):
                raise refusal from None
            postponed.append(refusal)
            continue
        if meant is not value:
            object.__setattr__(settings, field.name, meant)
    return postponed


Rules: TypeAlias = tuple[tuple[dataclasses.Field[Any], Rule], ...]


_RULES: WeakKeyDictionary[type, Rules] = WeakKeyDictionary()


def _rules(kind: type) -> Rules:
    """The settings of a class, each with what its annotation allows."""
    known = _RULES.get(kind)
    if known is None:
        fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
        known = tuple((field, _of_field(kind, field)) for field in fields if field.init)
        _RULES[kind] = known
    return known


def _of_field(kind: type, field: dataclasses.Field[Any]) -> Rule:
    annotation: Any = field.type
    # An annotation is text of the module of the class that wrote it.
    writer = next(
        (base for base in kind.__mro__ if field.name in getattr(base, "__annotations__", {})), kind
    )
    names = {**vars(sys.modules.get(writer.__module__, typing)), **vars(writer)}
    return rule_of(resolved(annotation, names), names)
