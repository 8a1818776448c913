"""Settings as text: what a `repr` says, read back without evaluating code."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import pkgutil
from abc import ABCMeta
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, TypeVar

import assay.features
import assay.methods
import assay.metrics
import assay.perturbations
import assay.removals
import assay.targets
from assay.errors import InputError, KindError, MissingError

T = TypeVar("T")

_WINGS = (assay.methods, assay.metrics, assay.features, assay.removals)
_FILES = (assay.targets, assay.perturbations)


@cache
def words() -> Mapping[str, type]:
    """Every name that settings may use: of methods, metrics and what they are made of, features,
    removals, targets.
    """
    modules = list(_FILES)
    for wing in _WINGS:
        for entry in pkgutil.walk_packages(wing.__path__, f"{wing.__name__}."):
            try:
                modules.append(import_module(entry.name))
            except MissingError:  # an extra that is not installed: its names are not known here
                continue
    known: dict[str, type] = {}
    for module in modules:
        for name, kind in vars(module).items():
            if (
                isinstance(kind, ABCMeta)
                and kind.__module__ == module.__name__
                and _is_setting(kind)
            ):
                known[name] = kind
    return MappingProxyType(known)


def _is_setting(kind: type) -> bool:
    """Whether a class is a final one with settings, rather than plain data or an abstract noun."""
    return (
        dataclasses.is_dataclass(kind)
        and not inspect.isabstract(kind)
        and not kind.__name__.startswith("_")
    )


def parse(text: str, kind: type[T]) -> T:
    """The object that `text` describes, such as `Smoothed(Gradient(), noise=0.2)`; a bare name
    takes its defaults.

    Names of this library, literals and calls of such names alone are read: no attribute, no
    operator, nothing else. Errors: InputError for text that is no such thing or settings that its
    class refuses, KindError for another kind.

    >>> from assay.methods.base import Method
    >>> parse("Smoothed(Gradient, noise=0.2, draws=10)", Method)
    Smoothed(method=Gradient(), noise=0.2, draws=10, shape='gaussian')
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError) as error:
        raise InputError(
            expected="settings such as IntegratedGradients(steps=32)",
            got=repr(text),
            advice="",
        ) from error
    made = _made(tree.body, text)
    if isinstance(made, type):
        made = _called(made, [], {}, text)
    if not isinstance(made, kind):
        known = ", ".join(named(kind))
        raise KindError(
            expected=f"a {kind.__name__}",
            got=f"{type(made).__name__}: {text!r}",
            advice=f"Known: {known}.",
        )
    return made


def named(kind: type) -> list[str]:
    """The names that make a thing of this kind."""
    return sorted(name for name, each in words().items() if issubclass(each, kind))


def _made(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Name):
        return _word(node.id)
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or any(
            keyword.arg is None for keyword in node.keywords
        ):
            raise InputError(
                expected="names of this library to be called",
                got=f"{ast.unparse(node)!r} in {text!r}",
                advice="",
            )
        positional = [_value(each, text) for each in node.args]
        by_name = {str(keyword.arg): _value(keyword.value, text) for keyword in node.keywords}
        return _called(_word(node.func.id), positional, by_name, text)
    if isinstance(node, ast.Tuple):
        return tuple(_value(each, text) for each in node.elts)
    if isinstance(node, ast.List):
        return [_value(each, text) for each in node.elts]
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        said = ast.unparse(node)
        raise InputError(
            expected="a number, a text, a list or a name as setting",
            got=f"{said!r}, {text!r}",
            advice="",
        ) from error


def _value(node: ast.expr, text: str) -> Any:
    made = _made(node, text)
    return _called(made, [], {}, text) if isinstance(made, type) else made


def _word(name: str) -> type:
    if name not in words():
        raise InputError(
            expected=f"one of the names {', '.join(sorted(words()))}",
            got=repr(name),
            advice="",
        )
    return words()[name]


def _called(kind: type, positional: list[Any], by_name: dict[str, Any], text: str) -> Any:
    try:
        inspect.signature(kind).bind(*positional, **by_name)
    except TypeError as error:
        raise InputError(
            expected=f"{kind.__name__}{inspect.signature(kind)}",
            got=f"{text!r}: {error}",
            advice="",
        ) from error
    return kind(*positional, **by_name)
