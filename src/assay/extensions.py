"""Methods and metrics of other people: named by entry points of their distributions, or by hand.

A distribution names its classes in the groups `assay.methods` and `assay.metrics`:

    [project.entry-points."assay.methods"]
    SignedGradient = "their_package.signed:SignedGradient"

A class is known by its own `__name__`, as its `repr` says it, whatever the entry point is called.
Entry points are read when a name is first looked up, never at import. One that is broken, or whose
class cannot be used, is skipped with a warning: the faults of a stranger's package are no reason
why this library should not work.
"""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract, isclass
from typing import Any, TypeVar, final

from assay.errors import KindError

Base = TypeVar("Base")


@final
class Extensions:
    """The classes that others have put into one group, by name."""

    def __init__(self, group: str) -> None:
        self.group = group
        self._by_hand: dict[str, type[Any]] = {}
        self._by_entry_point: dict[str, type[Any]] = {}
        # The search path at the last scan: a scan reads the metadata of every distribution.
        self._scanned: tuple[str, ...] | None = None

    def add(self, kind: type[Any], base: type[Any]) -> None:
        """Registers a class until the end of the process.

        A class of the same name that was registered before is replaced, as by a cell of a notebook
        that is run again. Errors: KindError for a class that cannot be used.
        """
        fault = _fault(kind, base)
        if fault:
            raise KindError(
                expected=f"a class of a {base.__name__.lower()} to register",
                got=f"{kind!r}, {fault}",
                advice=(
                    f"Write a frozen dataclass that subclasses assay.{base.__name__}, with a "
                    "public name of its own."
                ),
            )
        self._by_hand[kind.__name__] = kind

    def remove(self, kind: type[Any]) -> None:
        """Takes back what `add` did; a class that is not registered is left alone."""
        self._by_hand.pop(kind.__name__, None)

    def classes(self, base: type[Base]) -> dict[str, type[Base]]:
        """Every class of the group, by name; those registered by hand come last and win."""
        # Compared and not only asked for once: a notebook may add a folder to the path.
        search_path = tuple(sys.path)
        if self._scanned != search_path:
            self._scanned = search_path
            self._by_entry_point = {
                kind.__name__: kind for kind in _loaded(entry_points(group=self.group), base)
            }
        return {**self._by_entry_point, **self._by_hand}


# One for each group of entry points; what was registered lives as long as the process.
METHODS = Extensions("assay.methods")

METRICS = Extensions("assay.metrics")


def _loaded(points: Any, base: type[Any]) -> Iterator[type[Any]]:
    for point in points:
        try:
            kind = point.load()
        # Whatever the import of a stranger's module raises, it must not stop this library.
        except Exception as error:
            _skip(point, f"{type(error).__name__}: {error}")
            continue
        fault = _fault(kind, base)
        if fault:
            _skip(point, f"{kind!r}, {fault}")
        else:
            yield kind


def _skip(point: EntryPoint, reason: str) -> None:
    # Only entry points that were made by hand belong to no distribution.
    distribution = "an unknown distribution" if point.dist is None else point.dist.name
    warnings.warn(
        f"Skipped the entry point {point.name} = {point.value} ({point.group}) of {distribution}: "
        f"{reason}. Mend or uninstall that distribution.",
        stacklevel=2,
    )


def _fault(kind: Any, base: type[Any]) -> str:
    """Why a class cannot be used as a base's; empty where it can."""
    if not isclass(kind) or not issubclass(kind, base):
        return f"which is no subclass of {base.__name__}"
    if isabstract(kind):
        lacking = sorted(getattr(kind, "__abstractmethods__", ()))
        return f"which is abstract: it lacks {', '.join(lacking)}"
    # Tables, labels and settings as text read the fields; a class without any is `()`.
    if not dataclasses.is_dataclass(kind):
        return "which is no dataclass"
    if kind.__name__.startswith("_"):
        return "whose name is private"
    if any(theirs.__name__ == kind.__name__ for theirs in _in_this_library(base, kind)):
        return "whose name this library has itself"
    return ""


def _in_this_library(base: type[Any], kind: type[Any]) -> Iterator[type[Any]]:
    # At every depth: bases such as MaskMethod stand between a method and Method.
    for child in base.__subclasses__():
        if child.__module__.startswith("assay.") and child is not kind:
            yield child
        yield from _in_this_library(child, kind)
