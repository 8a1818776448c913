"""What an annotation allows: a rule that reads a value as the annotation means it, or refuses.

What plainly means the same becomes what the annotation says: numbers of NumPy and tensors of one
number become Python's (a `repr` reads back, and JSON can hold them), an int becomes a float where a
float is meant, lists and arrays become tuples. A bool is no number, 2.0 is no whole number, and a
word is no sequence of letters.
"""

from __future__ import annotations

import dataclasses
import functools
import numbers
import types
import typing
from collections import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ForwardRef, Literal, TypeVar, Union, final

import numpy as np
import torch

_WIDEST = 256  # bits of a whole number


class Mismatch(Exception):
    """A value that is not of the kind of a rule."""


def _never(value: Any) -> bool:
    """No mismatch is the class's own to speak of."""
    return False


@final
@dataclass(frozen=True)
class Rule:
    """What one annotation allows.

    Settings:
        words: the kind in words, "a whole number".
        read: a value as the annotation means it, or `Mismatch`.
        late: which mismatches the class itself may speak of first, or put right.
        own: a type whose values no other rule of a union may read.
    """

    words: str
    read: Callable[[Any], Any]
    late: Callable[[Any], bool] = _never
    own: type | None = None


def resolved(annotation: Any, names: dict[str, Any]) -> Any:
    """An annotation that may be text, as types; `Any` where a name is not known at run time."""
    holder = types.SimpleNamespace(__annotations__={"setting": annotation})
    try:
        return typing.get_type_hints(holder, names)["setting"]
    except RecursionError:
        raise
    except Exception:  # an annotation of somebody else may be anything
        return Any


def rule_of(annotation: Any, names: dict[str, Any]) -> Rule:
    """The rule of an annotation; names are those that text inside it may use."""
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if isinstance(annotation, ForwardRef):
        return _recursive(annotation.__forward_arg__, names)
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is Literal:
        return _literal(arguments)
    if origin is tuple and arguments[-1] is Ellipsis:
        return _tuple(rule_of(arguments[0], names))
    several = _OF_SEVERAL.get(origin)
    if several is not None:
        return several([rule_of(argument, names) for argument in arguments])
    return _PLAIN[origin] if origin in _PLAIN and origin else _instance(origin or annotation)


def _anything(value: Any) -> Any:
    return value


_ANYTHING = Rule("anything", _anything)


def scalar(value: Any) -> Any:
    """A number of NumPy, or an array or tensor of a single one, as Python's; others as they are."""
    if isinstance(value, np.generic | np.ndarray) and value.ndim == 0:
        return value.item()
    if isinstance(value, torch.Tensor) and value.dim() == 0 and value.device.type != "meta":
        return value.detach().item()
    return value


def _whole(value: Any) -> int:
    number = scalar(value)
    if isinstance(number, bool) or not isinstance(number, int):
        raise Mismatch
    # Beyond these no seed is meant, and Python does not even write it down.
    if number.bit_length() > _WIDEST:
        raise Mismatch
    return number if type(number) is int else int(number)


def _real(value: Any) -> float:
    number = scalar(value)
    if type(number) is float and number == number:
        return number
    if isinstance(number, bool) or not isinstance(number, numbers.Real):
        raise Mismatch
    try:
        real = float(number)
    # An int beyond all floats.
    except OverflowError:
        raise Mismatch from None
    # NaN is below nothing and above nothing: no setting means it.
    if real != real:
        raise Mismatch
    return real


def _is_nan(value: Any) -> bool:
    number = scalar(value)
    return isinstance(number, float) and number != number


def _truth(value: Any) -> bool:
    answer = scalar(value)
    if not isinstance(answer, bool):
        raise Mismatch
    return answer


def _text(value: Any) -> str:
    text = scalar(value)
    if not isinstance(text, str):
        raise Mismatch
    return text


def _nothing(value: Any) -> None:
    if value is not None:
        raise Mismatch


def _callable(value: Any) -> Any:
    # A class of settings can be called, but it was an instance that was meant.
    is_class = isinstance(value, type) and dataclasses.is_dataclass(value)
    if not callable(value) or is_class:
        raise Mismatch
    return value


def _sequence(value: Any) -> Any:
    # What it holds is read where it is used: arrays and lists stay what they are.
    is_text = isinstance(value, str | bytes)
    if is_text or not (isinstance(value, abc.Sequence) or hasattr(value, "__array__")):
        raise Mismatch
    return value


_PLAIN: dict[Any, Rule] = {
    Any: _ANYTHING,
    object: _ANYTHING,
    Callable: Rule("a function", _callable),
    abc.Sequence: Rule("a list", _sequence),
    int: Rule("a whole number", _whole),
    float: Rule("a number", _real, _is_nan),
    bool: Rule("True or False", _truth),
    str: Rule("a text", _text),
    None: Rule("None", _nothing),
    type(None): Rule("None", _nothing),
    tuple: Rule("a tuple", lambda value: tuple(_items(value)), own=tuple),
}


_PLURALS = {"a whole number": "whole numbers", "a number": "numbers", "a text": "texts"}


def _several(noun: str, rule: Rule) -> str:
    """A container of what a rule allows, in words."""
    if rule is _ANYTHING:
        return noun
    if rule.words in _PLURALS:
        return f"{noun} of {_PLURALS[rule.words]}"
    return f"{noun}, each {rule.words}"


def _items(value: Any) -> list[Any]:
    """The entries of what may stand for a tuple."""
    if isinstance(value, list | tuple | range):
        return list(value)
    # Arrays, tensors, columns of a table.
    if hasattr(value, "__array__") or isinstance(value, torch.Tensor):
        try:
            array = value.detach().cpu() if isinstance(value, torch.Tensor) else np.asarray(value)
        except Exception:  # an `__array__` of somebody else
            raise Mismatch from None
        if array.ndim > 0:
            entries: list[Any] = array.tolist()
            return entries
    raise Mismatch


def _each(rule: Rule, entries: list[Any]) -> list[Any]:
    try:
        return [rule.read(entry) for entry in entries]
    # A list that holds itself.
    except RecursionError:
        raise Mismatch from None


def _same(value: Any, entries: list[Any]) -> bool:
    """Whether a container holds these very entries."""
    return all(one is other for one, other in zip(value, entries, strict=True))


def _tuple(rule: Rule) -> Rule:
    """Any number of entries, all of one kind."""

    def read(value: Any) -> Any:
        entries = _each(rule, _items(value))
        return value if type(value) is tuple and _same(value, entries) else tuple(entries)

    return Rule(_several("a tuple", rule), read, own=tuple)


def _row(rules: list[Rule]) -> Rule:
    """A tuple of so many entries, each of its own kind."""

    def read(value: Any) -> Any:
        entries = _items(value)
        if len(entries) != len(rules):
            raise Mismatch
        return tuple(rule.read(entry) for rule, entry in zip(rules, entries))

    words = ", ".join(rule.words for rule in rules)
    return Rule(f"a tuple ({words})", read, own=tuple)


def _mapping(rules: list[Rule]) -> Rule:
    keys, values = rules

    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise Mismatch
        entries = {keys.read(key): values.read(entry) for key, entry in value.items()}
        return value if _same(value.values(), list(entries.values())) else entries

    words = "a dict"
    if values is not _ANYTHING:
        words = f"a dict from {keys.words} to {values.words}"
    return Rule(words, read)


def _literal(options: tuple[Any, ...]) -> Rule:
    allowed = {type(option) for option in options}

    def read(value: Any) -> Any:
        word = scalar(value)
        if type(word) not in allowed or word not in options:
            raise Mismatch
        return word

    words = " or ".join(map(repr, options))
    return Rule(words, read, lambda value: type(scalar(value)) in allowed)


def _instance(kind: Any) -> Rule:
    if isinstance(kind, TypeVar) or not isinstance(kind, type):
        return _ANYTHING

    def read(value: Any) -> Any:
        try:
            fits = isinstance(value, kind)
        # A protocol that is not for run time.
        except TypeError:
            return value
        if not fits:
            raise Mismatch
        return value

    # A class says best itself what it is made of, and may make one of what was given.
    article = "an" if kind.__name__[0] in "AEIOU" else "a"
    return Rule(f"{article} {kind.__name__}", read, lambda value: True)


def _recursive(name: str, names: dict[str, Any]) -> Rule:
    """A type that holds itself: its rule is made when it is needed, once."""

    @functools.cache
    def rule() -> Rule:
        return rule_of(resolved(name, names), names)

    return Rule("a tuple of the same", lambda value: rule().read(value))


def _union(rules: list[Rule]) -> Rule:
    """Any of several kinds: the one that takes the value as it is, or keeps its type, or the first."""

    def read(value: Any) -> Any:
        readings = []
        owners = [rule for rule in rules if rule.own is type(value)]
        for rule in owners or rules:
            try:
                meant = rule.read(value)
            except Mismatch:
                continue
            if meant is value:
                return value
            readings.append(meant)
        if not readings:
            raise Mismatch
        alike = [meant for meant in readings if type(meant) is type(value)]
        return (alike or readings)[0]

    words = " or ".join(dict.fromkeys(rule.words for rule in rules))
    return Rule(words, read, lambda value: any(rule.late(value) for rule in rules))


_OF_SEVERAL: dict[Any, Callable[[list[Rule]], Rule]] = {
    Union: _union,
    types.UnionType: _union,
    tuple: _row,
    dict: _mapping,
    abc.Mapping: _mapping,
}
