"""Settings are checked by their annotations, here and for every class that has any.

A method, a metric, a removal, ... is a frozen dataclass of settings. Before its own `__post_init__`
compares a value with anything, the value is known to be of the kind that its annotation says: a
class then asks "is it positive?" and never "is it a number at all?". A subclass of a base does
nothing for it, here or in the code of others.

What plainly means the same becomes what the annotation says: numbers of NumPy and tensors of one
number become Python's (a `repr` reads back, and JSON can hold them), an int becomes a float where a
float is meant, lists and arrays become tuples. A bool is no number, 2.0 is no whole number, and a
word is no sequence of letters. Anything else is a `SettingKindError`. Of objects (a method inside
another) and of words out of a few, the class itself speaks first, and may put another in its place.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import numbers
import sys
import types
import typing
from collections import abc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ForwardRef, Literal, Self, TypeAlias, TypeVar, Union, final
from weakref import WeakKeyDictionary

import numpy as np
import torch

from assay.errors import AssayError, SettingError, SettingKindError

T = TypeVar("T")

_SHOWN = 80  # characters of a value that a refusal shows

_WIDEST = 256  # bits of a whole number


_NO_DEFAULT = object()


class _Mismatch(Exception):
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
        read: a value as the annotation means it, or `_Mismatch`.
        late: which mismatches the class itself may speak of first, or put right.
        own: a type whose values no other rule of a union may read.
    """

    words: str
    read: Callable[[Any], Any]
    late: Callable[[Any], bool] = _never
    own: type | None = None


class Settings:
    """The base of all bases whose subclasses are frozen dataclasses of settings."""

    def __new__(cls, *given: Any, **named: Any) -> Self:
        # Nothing is given where Python copies an object, or where all settings have defaults.
        if given or named:
            _check_names(cls, given, named)
        return super().__new__(cls)

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


def _check_names(kind: type, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
    """Refuses settings that a class does not have, or has to be given."""
    if not dataclasses.is_dataclass(kind):
        return
    fields = [field for field in dataclasses.fields(kind) if field.init]
    names = [field.name for field in fields]
    placed = [field.name for field in fields if not field.kw_only]
    unknown = [name for name in named if name not in names]
    twice = [name for name in placed[: len(given)] if name in named]
    needed = [name for name in _needed(fields) if name not in (*placed[: len(given)], *named)]
    if not (unknown or twice or needed or len(given) > len(placed)):
        return
    raise SettingKindError(
        expected=f"the settings of {kind.__name__}, {', '.join(names) or 'none'}",
        got=_misnamed(unknown, twice, needed, len(given)),
        advice=_like(unknown, names, kind.__name__),
    )


def _needed(fields: Iterable[dataclasses.Field[Any]]) -> list[str]:
    """The settings that have no default."""
    missing = dataclasses.MISSING
    return [
        field.name
        for field in fields
        if field.default is missing and field.default_factory is missing
    ]


def _misnamed(unknown: list[str], twice: list[str], needed: list[str], given: int) -> str:
    if unknown:
        return ", ".join(map(repr, unknown))
    if twice:
        return f"{', '.join(map(repr, twice))} twice, by place and by name"
    if needed:
        return f"no {' and no '.join(needed)}"
    return f"{given} settings by place"


def _like(unknown: list[str], names: list[str], kind: str) -> str:
    """What was probably meant."""
    for name in unknown:
        parts = [known for known in names if known in name or (len(name) > 2 and name in known)]
        near = parts or difflib.get_close_matches(name, names, n=1)
        if near:
            return f"Did you mean {near[0]}? help({kind}) says what each is."
    return f"help({kind}) says what each is."


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
        except _Mismatch:
            wanted = _Wanted(type(settings).__name__, field.name, rule, field.default)
            refusal = wanted.refusal(value)
            if not (late and rule.late(value)):
                raise refusal from None
            postponed.append(refusal)
            continue
        if meant is not value:
            object.__setattr__(settings, field.name, meant)
    return postponed


def argument(of: str, name: str, value: Any, annotation: Any) -> Any:
    """An argument of a function as its annotation means it, or a refusal: settings are not alone."""
    rule = rule_of(annotation, {})
    try:
        return rule.read(value)
    except _Mismatch:
        raise _Wanted(of, name, rule).refusal(value) from None


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


# --- refusals


@final
@dataclass(frozen=True)
class _Wanted:
    """What a refusal names: a setting of a class, or an argument of a function."""

    of: str
    name: str
    rule: Rule
    default: Any = _NO_DEFAULT

    def refusal(self, value: Any) -> SettingKindError:
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
            except _Mismatch:
                continue
            return f"Write {self.of}({self.name}={shown(written)})."
        if isinstance(value, type):
            return f"Hand over an instance, not a class: {self.name}={value.__name__}(...)."
        if self.default is not _NO_DEFAULT and self.default is not dataclasses.MISSING:
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


# --- annotations as rules


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
    return rule_of(_resolved(annotation, names), names)


def _resolved(annotation: Any, names: dict[str, Any]) -> Any:
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
        raise _Mismatch
    # Beyond these no seed is meant, and Python does not even write it down.
    if number.bit_length() > _WIDEST:
        raise _Mismatch
    return number if type(number) is int else int(number)


def _real(value: Any) -> float:
    number = scalar(value)
    if type(number) is float and number == number:
        return number
    if isinstance(number, bool) or not isinstance(number, numbers.Real):
        raise _Mismatch
    try:
        real = float(number)
    # An int beyond all floats.
    except OverflowError:
        raise _Mismatch from None
    # NaN is below nothing and above nothing: no setting means it.
    if real != real:
        raise _Mismatch
    return real


def _is_nan(value: Any) -> bool:
    number = scalar(value)
    return isinstance(number, float) and number != number


def _truth(value: Any) -> bool:
    answer = scalar(value)
    if not isinstance(answer, bool):
        raise _Mismatch
    return answer


def _text(value: Any) -> str:
    text = scalar(value)
    if not isinstance(text, str):
        raise _Mismatch
    return text


def _nothing(value: Any) -> None:
    if value is not None:
        raise _Mismatch


def _callable(value: Any) -> Any:
    # A class of settings can be called, but it was an instance that was meant.
    is_class = isinstance(value, type) and issubclass(value, Settings)
    if not callable(value) or is_class:
        raise _Mismatch
    return value


def _sequence(value: Any) -> Any:
    # What it holds is read where it is used: arrays and lists stay what they are.
    is_text = isinstance(value, str | bytes)
    if is_text or not (isinstance(value, abc.Sequence) or hasattr(value, "__array__")):
        raise _Mismatch
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
            raise _Mismatch from None
        if array.ndim > 0:
            entries: list[Any] = array.tolist()
            return entries
    raise _Mismatch


def _each(rule: Rule, entries: list[Any]) -> list[Any]:
    try:
        return [rule.read(entry) for entry in entries]
    # A list that holds itself.
    except RecursionError:
        raise _Mismatch from None


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
            raise _Mismatch
        return tuple(rule.read(entry) for rule, entry in zip(rules, entries))

    words = ", ".join(rule.words for rule in rules)
    return Rule(f"a tuple ({words})", read, own=tuple)


def _mapping(rules: list[Rule]) -> Rule:
    keys, values = rules

    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise _Mismatch
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
            raise _Mismatch
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
            raise _Mismatch
        return value

    # A class says best itself what it is made of, and may make one of what was given.
    article = "an" if kind.__name__[0] in "AEIOU" else "a"
    return Rule(f"{article} {kind.__name__}", read, lambda value: True)


def _recursive(name: str, names: dict[str, Any]) -> Rule:
    """A type that holds itself: its rule is made when it is needed, once."""

    @functools.cache
    def rule() -> Rule:
        return rule_of(_resolved(name, names), names)

    return Rule("a tuple of the same", lambda value: rule().read(value))


def _union(rules: list[Rule]) -> Rule:
    """Any of several kinds: the one that takes the value as it is, or keeps its type, or the first."""

    def read(value: Any) -> Any:
        readings = []
        owners = [rule for rule in rules if rule.own is type(value)]
        for rule in owners or rules:
            try:
                meant = rule.read(value)
            except _Mismatch:
                continue
            if meant is value:
                return value
            readings.append(meant)
        if not readings:
            raise _Mismatch
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
