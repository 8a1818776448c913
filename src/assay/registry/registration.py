"""A method or metric of your own, known by name for the rest of the process.

What is installed has a better way: the entry points of `assay.extensions`.
"""

from __future__ import annotations

from inspect import isclass
from typing import TypeVar

from assay import extensions
from assay.errors import KindError
from assay.methods.base import Method
from assay.metrics.base import Metric

Kind = TypeVar("Kind", bound=type[Method] | type[Metric])


def register(kind: Kind) -> Kind:
    """Gives a method or metric class a name in `parse`, `compare`, the tables and the refusals.

    It may stand above the class as a decorator. A class of the same name that was registered
    before is replaced, so that a cell of a notebook can be run again. A library that is installed
    names its classes by entry points instead (`assay.methods`, `assay.metrics`), and needs no
    call. Errors: KindError for what is no such class, is abstract, is no dataclass, or bears a
    name that this library has itself.

    >>> import dataclasses, assay
    >>> @assay.register
    ... @dataclasses.dataclass(frozen=True)
    ... class Ones(assay.Method):
    ...     def values(self, question, seed):
    ...         return question.x * 0 + 1
    >>> from assay.registry import parse
    >>> parse("Smoothed(Ones(), draws=2)", assay.Method).method
    Ones()
    >>> assay.extensions.METHODS.remove(Ones)
    """
    # Two groups, since a name is looked up for a method or for a metric.
    if isclass(kind) and issubclass(kind, Method):
        extensions.METHODS.add(kind, Method)
    elif isclass(kind) and issubclass(kind, Metric):
        extensions.METRICS.add(kind, Metric)
    else:
        raise KindError(
            expected="the class of a method or metric",
            got=repr(kind),
            advice=(
                "Hand over the class itself, a subclass of assay.Method or assay.Metric: "
                "assay.register(MyMethod)."
            ),
        )
    return kind
