"""One family of refusals: each says what was expected, what came, and what to do next.

AssayError                       everything this library refuses
    InputError (ValueError)      inputs, masks or answers whose values cannot be used
        SettingError             settings of a method, metric, removal, ... that cannot be used
    KindError (TypeError)        something of the wrong kind
        SettingKindError         a setting of the wrong kind; a SettingError, too
    TargetError (ValueError)     a target that the model's outputs cannot answer
    AbilityError (TypeError)     a method that needs what this model cannot do
    ModelError (RuntimeError)    a model that misbehaves
    VersionError (ValueError)    a saved answer that this version cannot read
    MissingError (ImportError)   an optional dependency that is not installed

The three parts of a sentence are its constructor's; they stay at hand as attributes, beside
`asked`: which method or metric was at work, and on which question (put there by `asking`, as a
request is put to the errors of an HTTP client).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class AssayError(Exception):
    """The root of everything this library refuses: what was expected, what came, what to do.

    >>> error = InputError(expected="at least one input", got=0, advice="Hand over a row.")
    >>> str(error), error.advice
    ('Expected at least one input, got 0. Hand over a row.', 'Hand over a row.')
    """

    def __init__(self, *, expected: str, got: object, advice: str) -> None:
        self.expected = expected
        self.got = str(got)
        self.advice = advice
        self.asked = ""
        super().__init__(f"Expected {expected}, got {self.got}. {advice}")

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions cross the borders of processes by their arguments, which are named here.
        return _restored, (type(self), self.__dict__, self.args)


def _restored(kind: type[AssayError], parts: dict[str, Any], args: tuple[Any, ...]) -> AssayError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(parts)
    return error


class InputError(AssayError, ValueError):
    """Inputs, masks or answers whose values cannot be used."""


class SettingError(InputError):
    """Settings whose values cannot be used, told when they are made."""


class KindError(AssayError, TypeError):
    """Something of the wrong kind: integers where slopes are asked for, a dict where a tensor is
    needed.
    """


class SettingKindError(SettingError, KindError):
    """A setting of the wrong kind, such as a word where a number is meant, told when it is made."""


class TargetError(AssayError, ValueError):
    """A target that the model's outputs cannot answer."""


class AbilityError(AssayError, TypeError):
    """A method that needs what this model cannot do."""


class ModelError(AssayError, RuntimeError):
    """A model that misbehaves: rows that influence each other, outputs that are not finite, a
    forward that fails, after so many rows were `answered` for the same answer.
    """

    answered = 0


class VersionError(AssayError, ValueError):
    """A saved answer that this version cannot read."""


class MissingError(AssayError, ImportError):
    """An optional dependency that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            expected=f"{package}, which comes with the extra {extra!r}",
            got="no such package",
            advice=f"Install it: pip install 'assay[{extra}]'.",
        )


@contextmanager
def asking(what: object, question: object) -> Iterator[None]:
    """Tells every refusal inside the block who was asking, and what about; the innermost one
    counts.
    """
    try:
        yield
    except AssayError as error:
        if not error.asked:
            error.asked = f"{what!r} of {question!r}"
            error.add_note(f"Asked: {error.asked}")
        raise
