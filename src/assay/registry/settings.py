"""Settings as text: what a `repr` says, read back without evaluating code.

The grammar is Python's (its own parser builds the tree), but of the tree only names of this
library, names known from elsewhere (`assay.registry.aliases`), literals and calls of such names
are read: a text from a command line or a file can make settings, and can do nothing else.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import pkgutil
from abc import ABCMeta
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Any, TypeVar, final

import assay.features
import assay.methods
import assay.metrics
import assay.perturbations
import assay.removals
import assay.targets
from assay import extensions
from assay.certificates.hard_stability import HardStability
from assay.certificates.smoothing import MultiplicativeSmoothing
from assay.certificates.soft_stability import SoftStability
from assay.errors import AssayError, InputError, KindError, MissingError, SettingError
from assay.methods.base import Method
from assay.methods.choose import read_names_with
from assay.metrics.base import Metric
from assay.registry import aliases
from assay.registry.aliases import Alias

T = TypeVar("T")

# Where classes with settings live: every file of these wings, and these files.
_WINGS = (
    assay.methods,
    assay.metrics,
    assay.features,
    assay.removals,
    assay.targets,
)
_FILES = (assay.perturbations,)
# Who certifies: classes among data, which share no base.
_CERTIFIERS = (HardStability, MultiplicativeSmoothing, SoftStability)

_MOST_SHOWN = 200  # characters of a text that a refusal quotes


def words() -> Mapping[str, type]:
    """Every name that settings may use: methods, metrics and what they are made of, features,
    removals, targets; also the methods and metrics that others have registered.
    """
    registered: dict[str, type] = {**_other_methods(), **_other_metrics()}
    # This library's own names come last, so that nobody can take them.
    return MappingProxyType({**registered, **_own_words()})


def methods() -> dict[str, type[Method]]:
    """Every method by name: those of this library, then those of others."""
    return {**assay.methods.METHODS, **_other_methods()}


def metrics() -> dict[str, type[Metric]]:
    """Every metric by name: those of this library, then those of others."""
    return {**assay.metrics.METRICS, **_other_metrics()}


def _other_methods() -> dict[str, type[Method]]:
    return extensions.METHODS.classes(Method)


def _other_metrics() -> dict[str, type[Metric]]:
    return extensions.METRICS.classes(Metric)


@cache
def _own_words() -> Mapping[str, type]:
    own: dict[str, type] = {kind.__name__: kind for kind in _CERTIFIERS}
    for module in _modules():
        for name, kind in vars(module).items():
            # A class counts where it is defined, not where it is imported for use.
            if getattr(kind, "__module__", "") == module.__name__ and _is_setting(kind):
                own[name] = kind
    return MappingProxyType(own)


def _modules() -> list[ModuleType]:
    modules = list(_FILES)
    for wing in _WINGS:
        for entry in pkgutil.walk_packages(wing.__path__, f"{wing.__name__}."):
            try:
                modules.append(import_module(entry.name))
            # An extra that is not installed: its names are not known here.
            except MissingError:
                continue
    return modules


def _is_setting(kind: Any) -> bool:
    """Whether a class is a final one with settings, rather than plain data or an abstract noun."""
    return (
        isinstance(kind, ABCMeta)
        and dataclasses.is_dataclass(kind)
        and not inspect.isabstract(kind)
        and not kind.__name__.startswith("_")
    )


def parse(text: str, kind: type[T]) -> T:
    """The object that `text` describes, such as `Smoothed(Gradient(), noise=0.2)`.

    A bare name takes its defaults. Names of this library, names from papers and other libraries
    where something here answers them (`SmoothGrad`, in any case), literals and calls of such names
    alone are read: no attribute, no operator, nothing else. Errors: InputError for text that is no
    such thing, a name that nothing here answers, or settings that its class refuses; KindError for
    another kind.

    >>> from assay.methods.base import Method
    >>> parse("Smoothed(Gradient, noise=0.2, draws=10)", Method)
    Smoothed(method=Gradient(), noise=0.2, draws=10, shape='gaussian', statistic='mean', scale=None)
    >>> parse("smoothgrad", Method)
    Smoothed(method=Gradient(), noise=0.1, draws=50, shape='gaussian', statistic='mean', scale=None)
    """
    if not isinstance(text, str):
        raise KindError(
            expected=f"a {kind.__name__} as text",
            got=type(text).__name__,
            advice="Hand over its name or its repr, such as 'IntegratedGradients(steps=32)'.",
        )
    try:
        value = _Reader(text, kind).value()
    # Nested more deeply than Python can read, in whichever part of it.
    except (RecursionError, MemoryError) as error:
        raise _unreadable(text, kind) from error
    # Only now: what a text means does not depend on what it is wanted for.
    if not isinstance(value, kind):
        raise KindError(
            expected=f"a {kind.__name__}",
            got=f"{type(value).__name__}: {_shown(text)}",
            advice=f"Known: {', '.join(named(kind))}.",
        )
    return value


def _shown(text: str) -> str:
    """A text as far as a sentence can hold it."""
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}...")


# `explain` takes methods by name, too.
read_names_with(lambda text: parse(text, Method))


def named(kind: type) -> list[str]:
    """The names that make a thing of this kind."""
    return sorted(name for name, known in words().items() if issubclass(known, kind))


@final
@dataclasses.dataclass(frozen=True)
class _Reader:
    """Reads one text, for a thing of one kind, of which refusals then tell the names."""

    text: str
    kind: type

    def value(self) -> Any:
        name = self.text.strip()
        # Names from elsewhere may hold what no Python name does: "grad-cam", "shap.KernelExplainer".
        alias = aliases.find(name)
        if alias is not None and "(" not in name and name not in words():
            return self._made(self._behind(alias, name))
        return self._value(self._tree())

    def _tree(self) -> ast.expr:
        try:
            return ast.parse(self.text.strip(), mode="eval").body
        # A text may come from a file of anybody: deep nesting ends in the last two.
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise _unreadable(self.text, self.kind) from error

    def _value(self, node: ast.expr) -> Any:
        """What a node describes; a class takes its defaults."""
        return self._made(self._class_or_value(node))

    def _class_or_value(self, node: ast.expr) -> Any:
        # The whole grammar: names, calls, tuples, lists, literals.
        if isinstance(node, ast.Name):
            return self._named(node.id)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Tuple):
            return tuple(self._value(part) for part in node.elts)
        if isinstance(node, ast.List):
            return [self._value(part) for part in node.elts]
        return self._literal(node)

    def _literal(self, node: ast.expr) -> Any:
        try:
            return ast.literal_eval(node)
        # Also a list as the key of a mapping, which has no hash.
        except (ValueError, TypeError, SyntaxError) as error:
            raise InputError(
                expected="a number, a text, a list or a name as setting",
                got=f"something else in {_shown(self.text)}",
                advice="Nothing is computed from text: write the value itself.",
            ) from error

    def _call(self, node: ast.Call) -> Any:
        # `**mapping` is a keyword without a name.
        unpacked = any(keyword.arg is None for keyword in node.keywords)
        if unpacked or not isinstance(node.func, ast.Name):
            raise InputError(
                expected="names of this library to be called",
                got=f"something else in {_shown(self.text)}",
                advice="Write Name(setting=value): no attributes, no unpacking.",
            )
        positional = [self._value(argument) for argument in node.args]
        by_name = {str(keyword.arg): self._value(keyword.value) for keyword in node.keywords}
        target = self._named(node.func.id)
        if isinstance(target, type):
            return self._instance(target, positional, by_name)
        # An alias that stands for settings, not for a class, leaves none to be given.
        if positional or by_name:
            raise InputError(
                expected=f"{node.func.id} without settings",
                got=_shown(self.text),
                advice=f"It stands for {target!r}: write that, with the settings you want.",
            )
        return target

    def _named(self, name: str) -> Any:
        """The class of a name, or what an alias stands for."""
        known = words()
        # Our own names by their exact spelling, before any alias: Lime is the class, lime an alias.
        if name in known:
            return known[name]
        alias = aliases.find(name)
        if alias is not None:
            return self._behind(alias, name)
        raise InputError(
            expected=f"one of the names of a {self.kind.__name__}",
            got=_shown(name),
            advice=f"{_close(name, self.kind)}Known: {', '.join(named(self.kind))}.",
        )

    def _behind(self, alias: Alias, name: str) -> Any:
        if alias.answer != "settings":
            raise InputError(
                expected=f"one of the names of a {self.kind.__name__}",
                got=repr(name),
                advice=f"{alias.advice} Known: {', '.join(named(self.kind))}.",
            )
        # What stands in the table is text of the same grammar; refusals then quote that text.
        reader = _Reader(alias.here, self.kind)
        return reader._class_or_value(reader._tree())

    def _made(self, target: Any) -> Any:
        if isinstance(target, type):
            return self._instance(target, [], {})
        return target

    def _instance(self, kind: type, positional: list[Any], by_name: dict[str, Any]) -> Any:
        # Bound beforehand: a TypeError out of the class itself would be a fault, and no refusal.
        signature = inspect.signature(kind)
        try:
            signature.bind(*positional, **by_name)
        except TypeError as error:
            raise InputError(
                expected=f"settings for {kind.__name__}{signature}",
                got=f"{_shown(self.text)}: {error}",
                advice="Give the settings that have no default, by the names shown.",
            ) from error
        try:
            return kind(*positional, **by_name)
        except AssayError:
            raise
        # Of another kind than the class computes with: a text where a number is compared.
        except Exception as error:
            raise SettingError(
                expected=f"settings that {kind.__name__} can use",
                got=f"{_shown(self.text)}: {_shown(str(error))}",
                advice=f"They are {kind.__name__}{signature}.",
            ) from error


def _unreadable(text: str, kind: type) -> InputError:
    return InputError(
        expected="settings such as IntegratedGradients(steps=32)",
        got=_shown(text),
        advice=f"Write a name, or a call of one. Known: {', '.join(named(kind))}.",
    )


def _close(name: str, kind: type) -> str:
    """The known names that are spelled like an unknown one, as the start of an advice.

    Of the wanted kind where there are such: a metric is no good advice to whoever names a method.
    """
    right = set(named(kind))
    for words_of_kind in (right, set(words())):
        # Without case, and each once: an alias often differs from our own name by case alone.
        spellings = {
            alias.name.casefold(): alias.name
            for alias in reversed(aliases.ALIASES)
            if words_of_kind is not right or alias.here.partition("(")[0] in right
        }
        spellings |= {word.casefold(): word for word in words_of_kind}
        matches = difflib.get_close_matches(name[:_MOST_SHOWN].casefold(), spellings, n=3)
        if matches:
            return f"Did you mean {' or '.join(spellings[match] for match in matches)}? "
    return ""
