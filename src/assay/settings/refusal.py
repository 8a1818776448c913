"""What a refused value is told: what it should be, how it looks, and the line to write."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

from assay.errors import SettingKindError
from assay.settings.annotation import Mismatch, Rule

_SHOWN = 80  # characters of a value that a refusal shows


NO_DEFAULT = object()


@final
@dataclass(frozen=True)
class Wanted:
    """What a refusal names: a setting of a class, or an argument of a function."""

    of: str
    name: str
    rule: Rule
    default: Any = NO_DEFAULT

    def refusal(self, value: Any) -> SettingKindError:
        """The error for a value of another kind."""
        return SettingKindError(
            expected=f"{self.name} of {self.of} to be {self.rule.words}",
            got=shown(value),
            advice=self._advice(value),
        )

    def _advice(self, value: Any) -> str:
        """The line to write."""
        for meant in _guesses(value):
            try:
                written = self.rule.read(meant)
            except Mismatch:
                continue
            return f"Write {self.of}({self.name}={shown(written)})."
        if isinstance(value, type):
            return f"Hand over an instance, not a class: {self.name}={value.__name__}(...)."
        if self.default is not NO_DEFAULT and self.default is not dataclasses.MISSING:
            return f"Leave it out: {self.of}() has {self.name}={shown(self.default)}."
        words = self.rule.words
        example = next((each for known, each in _EXAMPLES if known in words), "...")
        return f"Write it so: {self.of}({self.name}={example})."


def shown(value: Any) -> str:
    """A value as a refusal shows it: on one line, and not too long."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a repr of somebody else
        text = f"a {type(value).__name__}"
    if len(text) <= _SHOWN:
        return text
    return f"{text[:_SHOWN]}... ({type(value).__name__})"


def has_length(value: Any) -> bool:
    """Whether a value counts what it holds: no iterator, no number, no array of a single one."""
    # Some arrays (sparse, nested) refuse to say; what they are is refused where they are read.
    if hasattr(value, "ndim") or hasattr(value, "nnz"):
        return getattr(value, "ndim", 2) > 0
    try:
        len(value)
    except TypeError:
        return False
    return not isinstance(value, str | bytes | type)


_EXAMPLES = (
    ("a tuple of whole numbers", "(0, 1)"),
    ("a whole number", "1"),
    ("a number", "0.5"),
    ("a text", "'name'"),
    ("a function", "lambda x: x"),
)


def _guesses(value: Any) -> Iterable[Any]:
    """What may have been meant by a value of the wrong kind: 10 by 10.0, 8 by "8"."""
    if isinstance(value, str):
        for number in (int, float):
            try:
                yield number(value)
            except ValueError:
                continue
    if isinstance(value, float) and value.is_integer():
        yield int(value)
