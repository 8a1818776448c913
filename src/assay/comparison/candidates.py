"""Methods and metrics of a comparison, read from what a user writes, and the names they go by."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, final

from assay.answers.attribution import Attribution
from assay.answers.named import Named, Value
from assay.answers.score import Score
from assay.comparison.ranking import ZERO, shuffled
from assay.errors import AssayError, InputError, KindError
from assay.methods.base import Method
from assay.metrics.base import Metric
from assay.registry.settings import parse
from assay.settings import short_repr as data_repr
from assay.settings import shown, with_defaults

MethodLike: TypeAlias = Method | Attribution | str


MetricLike: TypeAlias = Metric | str


def as_sequence(values: Any, what: str, way: str) -> Sequence[Any]:
    """A list of things; a text is one thing and no list, and an iterator is read once."""
    try:
        if not isinstance(values, str | bytes | Mapping):
            return list(values)
    except TypeError:  # a number, an array of a single one
        pass
    raise KindError(
        expected=f"a list of {what}",
        got=shown(values),
        advice=f"Write it with brackets: {way}.",
    )


def of_kind(kind: type, values: Iterable[Any]) -> Sequence[Any]:
    """The values, if all are of the kind."""
    listed = list(values)
    for value in listed:
        if not isinstance(value, kind):
            raise KindError(
                expected=f"a list of {kind.__name__}s",
                got=shown(value),
                advice=f"Ask for them: each of them is {_ASKED[kind]}.",
            )
    return listed


_ASKED: dict[type, str] = {Attribution: "method(question)", Score: "metric(question, answer)"}


def named(values: Any, what: str, read: Any) -> dict[str, Any]:
    """Methods or metrics by the names that a mapping gives them, or by their settings.

    They are read before any model is asked: a misspelt metric is not to cost an hour.
    """
    if not isinstance(values, Mapping):
        way = 'compare(question, ["Gradient"], ["Infidelity"])'
        return labelled([read(value) for value in as_sequence(values, what, way)])
    for name in values:
        if not isinstance(name, str) or not name.strip():
            raise KindError(
                expected=f"texts as the names of {what}",
                got=shown(name),
                advice='Write {"smooth": Smoothed(Gradient())}, name first.',
            )
    return {name: read(value) for name, value in values.items()}


def check_names(labels: Iterable[str]) -> None:
    """Refuses names that are those of reference points."""
    taken = {ZERO, *(shuffled(label) for label in labels)}
    for label in labels:
        if label in taken:
            raise InputError(
                expected="names of methods that are none of a reference point",
                got=repr(label),
                advice="Give it another name in the mapping.",
            )


def short_repr(value: object) -> str:
    """A repr with the settings that differ from their defaults; like the full one, it evaluates
    back, unless settings are data.
    """
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        # Data are told by their kind and shape: a table of rows is no name of a method.
        return " ".join(data_repr(value).split())
    shown = []
    for setting in dataclasses.fields(value):
        content = getattr(value, setting.name)
        default = setting.default
        if setting.default_factory is not dataclasses.MISSING:
            default = setting.default_factory()
        # Compared by their reprs: settings may be arrays, whose == is no bool.
        if setting.init and setting.repr and repr(content) != repr(default):
            shown.append(f"{setting.name}={short_repr(content)}")
    return f"{type(value).__name__}({', '.join(shown)})"


def short(label: str) -> str:
    """A label as people read it: empty brackets and the name of the one setting that every wrapper
    has left out.
    """
    # "Smoothed(Gradient)" is how people say it; the full label stays the key everywhere.
    return label.replace("()", "").replace("method=", "")


def labelled(values: Sequence[Any]) -> dict[str, Any]:
    """The values by their labels, those that would repeat one numbered."""
    by_label: dict[str, Any] = {}
    for value in values:
        # Labels are code where they can be: the page shows them as the way to do it again.
        stem = method_of(value) if isinstance(value, Attribution) else short_repr(value)
        label = stem
        count = 1
        # Numbered from 2 on: the first keeps its bare label.
        while label in by_label:
            count += 1
            label = f"{stem} #{count}"
        by_label[label] = value
    return by_label


def method_of(answer: Attribution) -> str:
    """The method of an answer as briefly as if it had been handed over itself."""
    try:
        return short_repr(parse(answer.method, Method))
    # Made by hand, of a class that is not known here, or with data that a text does not hold.
    except AssayError:
        return answer.method


def matching_label(wanted: object, labels: Sequence[str], noun: str) -> str:
    """The label of an instance, a label, or the name of a class that only one label starts with."""
    # The whole label first: it may also be the start of another one.
    if not isinstance(wanted, str) and not dataclasses.is_dataclass(wanted):
        wanted = shown(wanted)
    label = wanted if isinstance(wanted, str) else short_repr(wanted)
    if label in labels:
        return label
    # A class's name will do where one label alone is of it; two settings of it have to be told.
    matches = [known for known in labels if known.partition("(")[0] == label]
    if len(matches) != 1:
        raise InputError(
            expected=f"one {noun} of {', '.join(labels) or 'none at all'}",
            got=f"{label!r}, which fits {len(matches)} of them",
            advice="Give a label as it stands there, or the instance itself.",
        )
    return matches[0]


@final
class ByLabel(Named[str, Value]):
    """Entries by the label of a method or a metric; an instance will do, and a class's name."""

    def meant(self, wanted: Any) -> str:
        return matching_label(wanted, list(self), "label")


@final
class ByCell(Named[tuple[str, str], Value]):
    """Entries by the labels of a method and of a metric."""

    def meant(self, wanted: Any) -> tuple[str, str]:
        if not isinstance(wanted, tuple) or len(wanted) != 2:
            raise KindError(
                expected="the labels of a method and of a metric",
                got=shown(wanted),
                advice='Ask for one cell: ["Gradient", "Infidelity"].',
            )
        # Where a cell is missing, its method or its metric may well be known.
        methods = list(dict.fromkeys(method for method, _ in self))
        metrics = list(dict.fromkeys(metric for _, metric in self))
        cell = (
            matching_label(wanted[0], methods, "method"),
            matching_label(wanted[1], metrics, "metric"),
        )
        if cell not in self:
            raise InputError(
                expected="a method and a metric that have an entry together",
                got=" by ".join(cell),
                advice="A cell has a score, or else a reason in `refusals`.",
            )
        return cell


def method_from(value: MethodLike) -> Method | Attribution:
    """A method, or an answer of one, from an instance, a class or a name."""
    if isinstance(value, str):
        return parse(value, Method)
    # A class with its defaults, as its bare name would be.
    if isinstance(value, type) and issubclass(value, Method):
        return with_defaults(value)
    if not isinstance(value, Method | Attribution):
        raise KindError(
            expected="a method, its name or an attribution",
            got=f"{type(value).__name__}: {shown(value)}",
            advice='Hand over an instance such as Gradient(), or its name "Gradient".',
        )
    return value


def metric_from(value: MetricLike) -> Metric:
    """A metric from an instance, a class or a name."""
    if isinstance(value, str):
        return parse(value, Metric)
    if isinstance(value, type) and issubclass(value, Metric):
        return with_defaults(value)
    if not isinstance(value, Metric):
        raise KindError(
            expected="a metric or its name",
            got=f"{type(value).__name__}: {shown(value)}",
            advice='Hand over an instance such as Infidelity(), or its name "Infidelity".',
        )
    return value
