"""The parts of a question as text: its target, features and removal; who answers, and who judges."""

from __future__ import annotations

import re
from typing import Any

from assay.features.elements import Columns
from assay.features.partition import Features
from assay.methods.base import Method
from assay.metrics.base import Metric
from assay.registry.settings import parse
from assay.removals.base import Removal
from assay.removals.fixed import Background
from assay.targets import Target, as_target


def target(text: str | None) -> Target | None:
    """A target; a bare number is an output's index, as it is in the library.

    >>> target("3")
    Output(3)
    """
    if text is None:
        return None
    if re.fullmatch(r"-?[0-9]{1,18}", text.strip()):
        return as_target(int(text))
    return parse(text, Target)


def features(text: str | None) -> Features | None:
    """Who receives credit, None where nothing is said."""
    if text is None:
        return None
    return parse(text, Features)


def columns(names: tuple[str, ...]) -> Features:
    """The columns of a table of numbers, by name."""
    return Columns(names=names)


def removal(text: str | None) -> Removal | None:
    """What absent means, None where nothing is said."""
    if text is None:
        return None
    return parse(text, Removal)


def background(rows: Any) -> Removal:
    """Rows to average over: data, which settings as text cannot hold."""
    return Background(rows)


def method(text: str) -> Method:
    """Who answers."""
    return parse(text, Method)


def metric(text: str) -> Metric:
    """Who judges."""
    return parse(text, Metric)
