"""What is done with a question, and what the answer should be."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

import assay
from assay.methods.base import Axiom

Rule = str
"""The name of a definition of the twin: what it says of an input."""


@dataclass
class Done:
    """What an action gave.

    Settings:
        answer: numbers by the name of the definition that they should agree with, (n, ...).
        names: of the features, where there are any.
        per_input: numbers that must not depend on neighbours, shuffling or chunks.
        total: whether the values add up to prediction - base.
    """

    answer: dict[Rule, Tensor] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    per_input: Tensor | None = None
    total: Tensor | None = None


@dataclass(frozen=True)
class Action:
    """A name, what it does, and whether it follows from its features alone, whatever their order.

    Settings:
        name: of it.
        run: what it does with a question.
        whole: whether values of a column are switched and never computed with.
        orderless: whether the answer is the same under another order of columns.
        due: whether an answer is due where the question is in order.
        most: features that it can be asked about without taking long.
    """

    name: str
    run: Callable[[assay.Question], Done]
    whole: bool = True
    orderless: bool = False
    due: bool = True
    most: int = 60


def _of(answer: assay.Attribution, question: assay.Question, rule: Rule, method: Any) -> Done:
    found = {"prediction": answer.prediction, "base": answer.base}
    alone = len(answer.values) == question.n and not method.pools_inputs
    if not alone:
        return Done(names=tuple(answer.names))
    if rule:
        found[rule] = answer.values
    whole = Axiom.COMPLETENESS in method.axioms and rule != "sampled"
    total = answer.values.double().sum(1) if whole else None
    return Done(found, tuple(answer.names), answer.values, total)


_EXACT = (
    "ExactShapley",
    "LowOrderShap",
    "Occlusion",
    "Qii unary",
    "Qii shapley",
    "Qii banzhaf",
    "Rise all",
)

_METHODS: dict[str, tuple[Callable[[random.Random], Any], Rule, int]] = {
    "ExactShapley": (lambda d: assay.ExactShapley(), "shapley", 8),
    "LowOrderShap": (lambda d: assay.LowOrderShap(), "shapley", 8),
    "Occlusion": (lambda d: assay.Occlusion(), "occlusion", 2000),
    "Occlusion window": (lambda d: assay.Occlusion(window=2), "", 300),
    "Qii unary": (lambda d: assay.Qii("unary"), "occlusion", 2000),
    "Qii shapley": (lambda d: assay.Qii(), "shapley", 8),
    "Qii banzhaf": (lambda d: assay.Qii("banzhaf"), "banzhaf", 8),
    "Qii marginal": (lambda d: assay.Qii("marginal", given=(0,)), "", 60),
    "Qii independent": (lambda d: assay.Qii("unary", draws="independent"), "", 60),
    "Qii group": (lambda d: assay.Qii("unary", quantity=assay.Group()), "", 60),
    "Qii disparity": (lambda d: assay.Qii("unary", quantity=assay.Disparity((0,))), "", 60),
    "Rise all": (lambda d: assay.Rise(masks="all", estimator="ratio"), "rise", 7),
    "Rise": (lambda d: assay.Rise(masks=40, estimator=d.choice(("ratio", "centred"))), "", 300),
    "KernelShap": (lambda d: assay.KernelShap(budget=d.choice((None, 60))), "", 60),
    "PermutationShapley": (lambda d: assay.PermutationShapley(orderings=2), "", 60),
    "SamplingShapley": (lambda d: assay.SamplingShapley(draws=3), "sampled", 300),
    "ProxyShap": (lambda d: assay.ProxyShap(budget=64), "", 20),
    "OwenValues": (lambda d: assay.OwenValues(), "", 60),
    "LinearShap": (lambda d: assay.LinearShap(), "shapley", 300),
    "MaxShap": (lambda d: assay.MaxShap(), "shapley", 20),
    "Lime": (lambda d: assay.Lime(assay.CoinMasks(samples=60), keep=d.choice((None, 2))), "", 40),
    "Lime sizes": (lambda d: assay.Lime(assay.SizeMasks(samples=60)), "", 40),
}  # fmt: skip

_REFUSING = frozenset(
    {"LinearShap", "MaxShap", "Rise", "Lime", "Lime sizes", "KernelShap", "ProxyShap"}
)


def method(draw: random.Random) -> Action:
    """A method whose players are switched."""
    name = draw.choice(sorted(_METHODS))
    make, rule, most = _METHODS[name]
    asker = make(draw)
    seed = draw.randrange(3)

    def run(question: assay.Question) -> Done:
        return _of(asker(question, seed=seed), question, rule, asker)

    # A lattice of seven cells blends neighbours where there are more columns.
    whole = name not in ("Rise", "LinearShap", "MaxShap", "Rise all")
    due = name not in _REFUSING and "group" not in name and "disparity" not in name
    return Action(name, run, whole, name in _EXACT, due, most)


_POINTS: tuple[str, ...] = ("Gaussian", "Quartiles", "Instances")


def points(draw: random.Random, rows: Any) -> Action:
    """LIME from points around the input."""
    name = draw.choice(_POINTS)
    keep = draw.choice((None, 1))

    def run(question: assay.Question) -> Done:
        around = {
            "Gaussian": lambda: assay.Gaussian(samples=60),
            "Quartiles": lambda: assay.Quartiles(rows, samples=60),
            "Instances": lambda: assay.Instances(rows),
        }[name]()
        asker = assay.Lime(around, keep=keep)
        return _of(asker(question), question, "", asker)

    return Action(f"Lime {name}", run, False, False, False)


def parts(draw: random.Random) -> Action:
    """Prediction, base, and values under masks."""
    seed = draw.randrange(100)

    def run(question: assay.Question) -> Done:
        count = question.partition.count
        masks = torch.tensor(np.random.RandomState(seed).rand(3, count) < 0.5)
        values = question.value(masks)
        found = {"prediction": question.prediction, "base": question.base}
        return Done(found, tuple(question.partition.names), values)

    return Action("value", run, most=2000)


def metric(draw: random.Random) -> Action:
    """A metric of a method's answer."""
    name = draw.choice(
        ("Completeness", "Infidelity", "MaxSensitivity", "Infidelity of differences")
    )

    def run(question: assay.Question) -> Done:
        asker = assay.Occlusion()
        answer = asker(question)
        metrics = {
            "Completeness": lambda: assay.Completeness(),
            "Infidelity": lambda: assay.Infidelity(draws=6),
            "Infidelity of differences": lambda: assay.Infidelity(assay.DifferenceToBaseline()),
            "MaxSensitivity": lambda: assay.MaxSensitivity(asker, draws=3),
        }
        score = metrics[name]()(question, answer)
        return Done(per_input=torch.as_tensor(score.values))

    return Action(name, run, name != "MaxSensitivity", False, name == "Completeness")


def certify(draw: random.Random) -> Action:
    """A certificate of the strongest feature."""
    name = draw.choice(("HardStability", "MultiplicativeSmoothing", "SoftStability"))

    def run(question: assay.Question) -> Done:
        kinds = {
            "HardStability": lambda: assay.HardStability(limit=256),
            "MultiplicativeSmoothing": lambda: assay.MultiplicativeSmoothing(2, 8),
            "SoftStability": lambda: assay.SoftStability(1, samples=20),
        }
        selection = assay.Occlusion()(question).top(1)
        for certificate in kinds[name]().certify(question, selection):
            repr(certificate)
        return Done()

    return Action(name, run, due=False)


def save(draw: random.Random) -> Action:
    """An answer that is written, read again, and shown as a table."""

    def run(question: assay.Question) -> Done:
        asker = assay.Occlusion()
        answer = asker(question)
        with tempfile.TemporaryDirectory() as folder:
            answer.save(f"{folder}/answer")
            again = assay.load(f"{folder}/answer")
        if tuple(again.names) != tuple(answer.names) or not bool(
            (again.values == answer.values).all()
        ):
            raise AssertionError("a file that says something else")
        frame = answer.to_pandas()
        if not isinstance(frame.to_numpy(), np.ndarray) or len(repr(answer)) == 0:
            raise AssertionError("no table")
        return _of(answer, question, "occlusion", asker)

    return Action("save", run, orderless=True, most=300)


def compare(draw: random.Random) -> Action:
    """Two methods side by side, and their page."""
    page = draw.random() < 0.5

    def run(question: assay.Question) -> Done:
        table = assay.compare(
            question, ["Occlusion", "PermutationShapley(orderings=2)"], ["Completeness"]
        )
        repr(table)
        if page:
            with tempfile.TemporaryDirectory() as folder:
                assay.report(table, f"{folder}/page.html")
        return Done()

    return Action("report" if page else "compare", run, due=False)


def explain(draw: random.Random) -> Action:
    """What is chosen where nothing is said."""

    def run(question: assay.Question) -> Done:
        answers = assay.Occlusion().for_outputs(question)
        return Done(per_input=torch.stack([answer.values for answer in answers], 1))

    return Action("for_outputs", run, most=300)


def action(draw: random.Random, count: int, rows: Any) -> Action:
    """Any of these, for so many features."""
    kinds: dict[Callable[..., Action], float] = {
        method: 14, points: 2.5, parts: 3, metric: 2, certify: 1, save: 1, compare: 0.3, explain: 1,
    }  # fmt: skip
    while True:
        make = draw.choices(list(kinds), list(kinds.values()))[0]
        found = make(draw, rows) if make is points else make(draw)
        if count <= found.most:
            return found
