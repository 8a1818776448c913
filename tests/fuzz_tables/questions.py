"""The other parts of a question about a table: features, removal, target; and what they mean."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import assay
from fuzz_tables.frames import Table
from fuzz_tables.plain import Unknown
from fuzz_tables.predictors import Predictor, _array


@dataclass(frozen=True)
class Part:
    """A part of a question: what it is called, what is handed over; whether an answer is due."""

    name: str
    value: Any
    due: bool = True


# --- features


@dataclass(frozen=True)
class Owners:
    """Who receives credit: names, and the numbers of the columns of each."""

    part: Part
    names: tuple[str, ...]
    columns: tuple[tuple[int, ...], ...]


def features(draw: random.Random, table: Table, form: str) -> Owners:
    """Features, and whom they own."""
    titles = [str(name) for name in table.whole.columns]
    if form == "array":
        titles = [f"x{j}" for j in range(len(titles))]
    alone = tuple((j,) for j in range(len(titles)))
    name = draw.choices(("none", "elements", "columns", "groups", "junk"), (9, 2, 3, 4, 0.3))[0]
    if name == "groups" and len(titles) > 1 and table.names == "words":
        return _grouped(draw, titles, form)
    value = {"none": None, "elements": assay.Elements(), "columns": assay.Columns()}.get(name)
    if name == "junk":
        value = draw.choice((assay.Pixels(), assay.Words(), "age", 3, assay.Columns(("a",))))
    return Owners(Part(f"features {name}", value, name != "junk"), tuple(titles), alone)


def _grouped(draw: random.Random, titles: list[str], form: str) -> Owners:
    count = min(len(titles), draw.choice((2, 2, 3, 5)))
    members = sorted(draw.sample(range(len(titles)), count))
    by_name = draw.random() < 0.5 and form != "array"
    said = [titles[j] for j in members] if by_name else members
    owners: list[tuple[int, ...]] = []
    names: list[str] = []
    for j, title in enumerate(titles):
        if j == members[0]:
            owners.append(tuple(members))
            names.append("group")
        elif j not in members:
            owners.append((j,))
            names.append(title)
    part = Part("features groups", assay.Columns(groups={"group": said}))
    return Owners(part, tuple(names), tuple(owners))


# --- removals


@dataclass(frozen=True)
class Absent:
    """What is absent: the removal, the rows that stand in (None where no definition is known).

    Settings:
        part: the removal that is handed over.
        rows: a frame.
        each: whether there is a row for each input.
        whole: whether values are switched as they are, so that columns keep their types.
    """

    part: Part
    rows: Any = None
    each: bool = False
    whole: bool = True


def removal(draw: random.Random, table: Table, inputs: Any, form: str) -> Absent:
    """A removal."""
    name = draw.choices(tuple(REMOVALS), [weight for weight, _ in REMOVALS.values()])[0]
    return REMOVALS[name][1](draw, table, inputs, form)


def _given(frame: Any, form: str) -> Any:
    return _array(frame) if form == "array" else frame


def _background(draw: random.Random, table: Table, inputs: Any, form: str) -> Absent:
    rows = table.rows(20, draw.choice((1, 2, 2, 3)))
    return Absent(Part("Background", assay.Background(_given(rows, form))), rows)


def _baseline(draw: random.Random, table: Table, inputs: Any, form: str) -> Absent:
    each = draw.random() < 0.4
    rows = table.rows(20, len(inputs) if each else 1)
    part = Part(
        "Baseline of rows" if each else "Baseline of a row", assay.Baseline(_given(rows, form))
    )
    return Absent(part, rows, each and len(inputs) > 1)


def _zeros(draw: random.Random, table: Table, inputs: Any, form: str) -> Absent:
    said = draw.random() < 0.3
    part = Part(
        "Baseline(0.0)" if said else "no removal", assay.Baseline(0.0) if said else None, False
    )
    if not table.numbers:
        return Absent(part)
    zeros = {n: pd.Series([0.0]).astype(_safe(d)) for n, d in table.whole.dtypes.items()}
    return Absent(part, pd.DataFrame(zeros) if len(zeros) == table.whole.shape[1] else None)


def _safe(dtype: Any) -> Any:
    return "float64" if str(dtype).startswith("Sparse") else dtype


def _mean(draw: random.Random, table: Table, inputs: Any, form: str) -> Absent:
    rows = table.rows(20, draw.choice((1, 3, 5)))
    part = Part("Mean", assay.Mean(_given(rows, form)), table.numbers)
    if not table.numbers:
        return Absent(part, whole=False)
    mean = pd.DataFrame(_array(rows).mean(0, keepdims=True), columns=rows.columns)
    # Floats are handed over in the column's own precision.
    for j, dtype in enumerate(map(str, rows.dtypes)):
        if dtype.lower() in ("float16", "float32") and form == "frame":
            mean.isetitem(j, mean.iloc[:, j].astype(dtype.lower()).astype("float64"))
    return Absent(part, mean, whole=False)


def _noise(draw: random.Random, table: Table, inputs: Any, form: str) -> Absent:
    value = assay.Noise(0.5, draws=2)
    return Absent(Part("Noise", value, False), whole=False)


def _conditional(draw: random.Random, table: Table, inputs: Any, form: str) -> Absent:
    kind = draw.choice(("kernel", "gaussian"))
    rows = _given(table.rows(12, 25), form)
    value = assay.Conditional(rows, kind=kind, draws=4)
    return Absent(Part(f"Conditional {kind}", value, False), whole=kind == "kernel")


def _other_order(draw: random.Random, table: Table, inputs: Any, form: str) -> Absent:
    """Rows whose columns stand in another order, or that have one more: they are told by name."""
    rows = table.rows(20, 2)
    given = rows[list(reversed(rows.columns))] if table.names == "words" else rows
    if draw.random() < 0.3:
        given = given.assign(another=1.0)
    return Absent(Part("Background in another order", assay.Background(given), False), rows)


def _missing_column(draw: random.Random, table: Table, inputs: Any, form: str) -> Absent:
    rows = table.rows(20, 2).iloc[:, 1:]
    return Absent(Part("Background without a column", assay.Background(rows), False))


def _unseen(draw: random.Random, table: Table, inputs: Any, form: str) -> Absent:
    """A background with a category that no input has."""
    rows = table.rows(20, 2).copy()
    for j, kind in enumerate(table.kinds):
        if kind.name in ("str", "words as objects", "string"):
            rows.isetitem(
                j, pd.Series(["elsewhere"] * len(rows), index=rows.index, dtype=rows.dtypes.iloc[j])
            )
    return Absent(Part("Background of other words", assay.Background(rows), False), rows)


def _other_types(draw: random.Random, table: Table, inputs: Any, form: str) -> Absent:
    """The same values in other types: as a file, or a join, hands them over."""
    rows = table.rows(20, 2).copy()
    for j, kind in enumerate(table.kinds):
        column = rows.iloc[:, j]
        if isinstance(column.dtype, pd.CategoricalDtype):
            rows.isetitem(j, column.cat.remove_unused_categories())
        elif kind.number and kind.ordinary and not column.isna().any():
            rows.isetitem(j, column.astype(draw.choice(("float64", "object", "Float64"))))
    return Absent(
        Part("Background of other types", assay.Background(rows), False), rows, whole=False
    )


def _with_hole(draw: random.Random, table: Table, inputs: Any, form: str) -> Absent:
    rows = table.rows(20, 2).copy()
    try:
        rows.isetitem(0, rows.iloc[:, 0].mask([True, False]))
    except (TypeError, ValueError):
        return _background(draw, table, inputs, form)
    return Absent(Part("Background with a hole", assay.Background(rows), False), rows, whole=False)


def _junk(draw: random.Random, table: Table, inputs: Any, form: str) -> Absent:
    choices: tuple[Callable[[], Any], ...] = (
        lambda: "zeros",
        lambda: assay.Background(table.whole.iloc[:0]),
        lambda: assay.Background(table.whole.iloc[0]),
        lambda: assay.Baseline("red"),
        lambda: assay.Baseline(table.whole.iloc[0]),
        lambda: assay.Background(table.whole.to_dict()),
        lambda: assay.Background(table.whole.to_numpy()),
        lambda: assay.Baseline(float("nan")),
        lambda: assay.MaskToken("[MASK]"),
        lambda: assay.Blur(1.0),
        lambda: assay.Background(None),
        lambda: table.whole,
    )
    return Absent(Part("junk removal", draw.choice(choices), False))


_Maker = Callable[[random.Random, Table, Any, str], Absent]

REMOVALS: dict[str, tuple[float, _Maker]] = {
    "background": (13, _background),
    "baseline": (6, _baseline),
    "zeros": (2, _zeros),
    "mean": (2, _mean),
    "noise": (0.7, _noise),
    "conditional": (1, _conditional),
    "other order": (0.7, _other_order),
    "missing column": (0.3, _missing_column),
    "unseen": (0.7, _unseen),
    "other types": (1, _other_types),
    "hole": (0.7, _with_hole),
    "junk": (0.7, _junk),
}


# --- targets


@dataclass(frozen=True)
class Meaning:
    """A target, and what it makes of outputs (k,) beside those of the clean row."""

    part: Part
    score: Callable[[Any, Any], float]


def target(draw: random.Random, predictor: Predictor, outputs: int) -> Meaning:
    """A target for so many outputs."""
    names = ("none", "index", "contrast", "negated", "callable", "log odds", "beyond")
    name = draw.choices(names, (8, 4, 1, 1, 1, 1, 0.3))[0]
    which = draw.randrange(max(1, outputs))
    if name == "index":
        return Meaning(Part("target an index", which), lambda o, c: float(o[which]))
    if name == "contrast" and outputs > 1:
        other = (which + 1) % outputs
        part = Part("Contrast", assay.Contrast(which, other))
        return Meaning(part, lambda o, c: float(o[which] - o[other]))
    if name == "negated":
        return Meaning(
            Part("Negated", assay.Negated(assay.Output(which))), lambda o, c: -float(o[which])
        )
    if name == "callable":
        part = Part("target a callable", lambda found: found.reshape(len(found), -1).sum(1) ** 2)
        return Meaning(part, lambda o, c: float(np.sum(o)) ** 2)
    if name == "log odds":
        return Meaning(Part("LogOdds", assay.LogOdds(), False), _unknown)
    if name == "beyond":
        return Meaning(Part("target beyond", outputs + 3, False), _unknown)
    positive = "two classes" in predictor.traits and outputs == 2
    return Meaning(Part("no target", None), _unknown if positive else _predicted)


def _predicted(outputs: Any, clean: Any) -> float:
    return float(outputs[int(np.argmax(clean))])


def _unknown(outputs: Any, clean: Any) -> float:
    raise Unknown("a target that is read in more than one way")
