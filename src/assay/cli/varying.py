"""`--vary`: metrics with one other setting, by which a winner is asked again whether it is one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from assay.comparison.comparison import Comparison
from assay.comparison.persistence import Persistence
from assay.errors import AssayError, InputError
from assay.metrics.base import Metric
from assay.registry import parts


@final
@dataclass(frozen=True)
class Varied:
    """A metric that is compared by, and the other values of its settings.

    Settings:
        metric: as it is compared by.
        settings: by name, the values that are tried.
    """

    metric: Metric
    settings: dict[str, list[Any]]


@final
@dataclass(frozen=True)
class Lasting:
    """Whether a winner stays the winner, or why that cannot be said.

    Settings:
        metric: by which it won.
        found: what came out, None where nothing did.
        refusal: why.
    """

    metric: str
    found: Persistence | None
    refusal: str = ""


def varied(metrics: Sequence[Metric], texts: Sequence[str]) -> list[Varied]:
    """What is tried of each metric; refused before there is any work to lose."""
    found: list[Varied] = []
    for text in texts:
        other = parts.metric(text)
        metric = _own(metrics, other, text)
        [(name, value)] = _differences(metric, other)
        known = next((each for each in found if each.metric is metric), None)
        if known is None:
            known = Varied(metric, {})
            found.append(known)
        known.settings.setdefault(name, []).append(value)
    return found


def _own(metrics: Sequence[Metric], other: Metric, text: str) -> Metric:
    """The metric of which this is one with a single other setting."""
    kin = [each for each in metrics if type(each) is type(other)]
    near = [each for each in kin if len(_differences(each, other)) == 1]
    if len(near) == 1:
        return near[0]
    raise InputError(
        expected="one of the metrics that are compared by, with one other setting",
        got=text,
        advice=f"Settings are varied one at a time. Compared: {', '.join(map(repr, metrics))}.",
    )


def _differences(metric: Metric, other: Metric) -> list[tuple[str, Any]]:
    own: Any = metric  # every metric is a dataclass, which its base is not
    names = [each.name for each in dataclasses.fields(own) if each.init]
    return [
        (name, getattr(other, name))
        for name in names
        if repr(getattr(metric, name)) != repr(getattr(other, name))
    ]


def lasting(found: Comparison, tried: Sequence[Varied]) -> list[Lasting]:
    """The winners under other settings; what a metric refuses takes nothing else with it."""
    told = []
    for each in tried:
        label = repr(each.metric)
        try:
            told.append(Lasting(label, found.persistence(each.metric, each.settings)))
        except AssayError as refusal:
            told.append(Lasting(label, None, str(refusal)))
    return told
