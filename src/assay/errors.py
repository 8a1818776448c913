"""One family of refusals: each says what was expected, what came, and what to do next."""

from __future__ import annotations


class AssayError(Exception):
    """The root of everything this library refuses."""


class InputError(AssayError, ValueError):
    """Inputs, masks or settings whose values cannot be used."""


class KindError(AssayError, TypeError):
    """Something of the wrong kind: integers where slopes are asked for, a dict where a tensor is needed."""


class TargetError(AssayError, ValueError):
    """A target that the model's outputs cannot answer."""


class AbilityError(AssayError, TypeError):
    """A method that needs what this model cannot do."""


class ModelError(AssayError, RuntimeError):
    """A model that misbehaves: rows that influence each other, outputs that are not finite, a forward that fails."""


class VersionError(AssayError, ValueError):
    """A saved answer that this version cannot read."""


class MissingError(AssayError, ImportError):
    """An optional dependency that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; it comes with the extra {extra!r}: pip install 'assay[{extra}]'")
