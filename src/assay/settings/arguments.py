"""Arguments of functions, checked as settings are."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

from assay.errors import SettingError
from assay.settings.annotation import Mismatch, rule_of
from assay.settings.refusal import Wanted

T = TypeVar("T")


def argument(of: str, name: str, value: Any, annotation: Any) -> Any:
    """An argument of a function as its annotation means it, or a refusal: settings are not alone."""
    rule = rule_of(annotation, {})
    try:
        return rule.read(value)
    except Mismatch:
        raise Wanted(of, name, rule).refusal(value) from None


def checked_seed(seed: Any, of: str) -> int:
    """A seed, which is a whole number and nothing else: a text or a fraction would be one in
    silence.
    """
    whole: int = argument(of, "seed", seed, int)
    return whole


def checked_level(level: Any, of: str) -> float:
    """The level of an interval or a test, between 0 and 1."""
    share: float = argument(of, "level", level, float)
    if not 0 < share < 1:
        raise SettingError(
            expected=f"a level between 0 and 1 for {of}",
            got=share,
            advice="Use 0.95 for a 95 % interval.",
        )
    return share


def with_defaults(kind: type[T]) -> T:
    """An instance of a class whose settings all have defaults."""
    try:
        inspect.signature(kind).bind()
    except TypeError as error:
        raise SettingError(
            expected=f"settings for {kind.__name__}{inspect.signature(kind)}",
            got=f"the class alone: {error}",
            advice=f"Make one: {kind.__name__}(...), with the settings that have no default.",
        ) from error
    return kind()
