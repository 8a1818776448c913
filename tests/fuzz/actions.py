"""What is done with a question: every method and metric of the registry, and what is around them.

An action gives back what is to be compared, by name: the answer's numbers, and a function that says
what they should be (or raises `Unknown`).
"""

from __future__ import annotations

import dataclasses
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.linear_model  # noqa: F401  it loads rich, which draws a number once
import torch
from torch import Tensor, nn

import assay
from assay.methods.base import Axiom, Method
from fuzz import definitions
from fuzz.predictors import Predictor
from fuzz.questions import JUNK, Problem, Unknown

Expected = Callable[[Problem], Any]


@dataclass
class Claim:
    """Numbers that the library gave, what they should be, and how large an error is."""

    name: str
    given: Any
    expected: Expected
    slack: float = 1.0


@dataclass
class Done:
    """What an action gave: claims, and the numbers that must not depend on neighbours or chunks."""

    claims: list[Claim]
    per_input: Tensor | None = None


@dataclass
class Action:
    """A name and what it does with a question; `wrong` where its settings are of a wrong kind."""

    name: str
    run: Callable[[assay.Question], Done]
    wrong: bool = False


def _claims(answer: assay.Attribution, definition: Expected | None, promises: bool) -> list[Claim]:
    claims = [
        Claim("prediction", answer.prediction, lambda p: p.prediction()),
        Claim("base", answer.base, lambda p: p.base()),
    ]
    if definition is not None:
        claims.append(Claim("values", answer.values, definition))
    if promises and answer.gap is not None:
        total = answer.values.double().sum(1) + answer.gap.double()
        claims.append(Claim("gap", total, lambda p: p.prediction() - p.base()))
    return claims


def _exact(answer: assay.Attribution) -> Claim:
    """Completeness that holds whatever the budget."""
    return Claim("completeness", answer.values.double().sum(1), lambda p: p.prediction() - p.base())


LAWS = (
    assay.Coordinates(),
    assay.ShapleyKernel(),
    assay.SubsetToBaseline(),
    assay.GaussianNoise(0.1),
)

METHODS: dict[str, Callable[[random.Random], tuple[dict[str, Any], Expected | None]]] = {
    "Gradient": lambda draw: ({}, definitions.gradient),
    "InputXGradient": lambda draw: ({}, definitions.input_x_gradient),
    "Absolute": lambda draw: ({"method": assay.Gradient()}, definitions.absolute),
    "TimesInput": lambda draw: ({"method": assay.Gradient()}, definitions.times_input),
    "Smoothed": lambda draw: ({"method": assay.Gradient(), "draws": 3}, None),
    "IntegratedGradients": lambda draw: _steps(draw.choice((2, 3, 5))),
    "Path": lambda draw: ({"path": _straight, "steps": 3}, lambda p: definitions.integrated(p, 3)),
    "ExpectedGradients": lambda draw: ({"draws": 6}, None),
    "Occlusion": lambda draw: _window(draw.choice((1, 1, 2))),
    "Rise": lambda draw: (
        {"masks": draw.choice((40, "all")), "grid": draw.choice((None, 2))},
        None,
    ),
    "Lime": lambda draw: ({"neighbourhood": _neighbourhood(draw)}, None),
    "ExactShapley": lambda draw: ({}, definitions.shapley),
    "LowOrderShap": lambda draw: ({}, definitions.shapley),
    "PermutationShapley": lambda draw: ({"orderings": 2}, None),
    "KernelShap": lambda draw: ({"budget": draw.choice((None, 60))}, None),
    "SamplingShapley": lambda draw: ({"draws": 3}, None),
    "ProxyShap": lambda draw: ({"budget": 64}, None),
    "OwenValues": lambda draw: ({}, None),
    "LinearShap": lambda draw: ({}, definitions.shapley),
    "MaxShap": lambda draw: ({}, definitions.shapley),
    "Qii": lambda draw: ({"measure": draw.choice(("unary", "shapley", "banzhaf"))}, None),
    "Optimal": lambda draw: ({"perturbation": draw.choice(LAWS), "draws": 40}, None),
    "Guided": lambda draw: ({"map": assay.GradCam()}, None),
}


def _straight(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    return b + a * (x - b)


def _steps(steps: int) -> tuple[dict[str, Any], Expected]:
    return {"steps": steps}, lambda problem: definitions.integrated(problem, steps)


def _window(window: int) -> tuple[dict[str, Any], Expected | None]:
    return {"window": window}, definitions.occlusion if window == 1 else None


def _neighbourhood(draw: random.Random) -> Any:
    return draw.choice((
        assay.CoinMasks(samples=60), assay.SizeMasks(samples=60), assay.Gaussian(samples=60),
    ))  # fmt: skip


def _setting(draw: random.Random, kind: type[Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with one of them of a wrong kind."""
    fields = [field.name for field in dataclasses.fields(kind)]
    if not fields:
        return settings
    return {**settings, draw.choice(fields): draw.choice(JUNK)}


def _method(draw: random.Random, name: str) -> tuple[Callable[[], Method], Expected | None, bool]:
    kind = assay.METHODS[name]
    if name == "ShapleyRegression":
        return lambda: kind(*_regression()), None, False
    settings, definition = METHODS[name](draw) if name in METHODS else ({}, None)
    if draw.random() < 0.08:
        wrong = _setting(draw, kind, settings)
        return lambda: kind(**wrong), None, wrong is not settings
    return lambda: kind(**settings), definition, False


def _regression() -> tuple[Any, Any, Any]:
    from sklearn.linear_model import LinearRegression

    rows = np.random.RandomState(0).randn(20, 4)
    return LinearRegression(), rows, rows @ np.arange(1.0, 5)


_ALWAYS_COMPLETE = frozenset({
    "ExactShapley", "LowOrderShap", "PermutationShapley", "KernelShap", "ProxyShap", "OwenValues",
    "LinearShap", "MaxShap",
})  # fmt: skip


_MOST = 10  # features of which Rise is asked about all masks


def _few(asker: Method, question: assay.Question) -> Method:
    """The method, with a number of masks that can be asked again one by one."""
    if isinstance(asker, assay.Rise) and asker.masks == "all" and question.partition.count > _MOST:
        return dataclasses.replace(asker, masks=40)
    return asker


def method(draw: random.Random) -> Action:
    """One method of the registry."""
    name = draw.choice(list(assay.METHODS))
    make, definition, wrong = _method(draw, name)
    seed = draw.randrange(5)

    def run(question: assay.Question) -> Done:
        asker = _few(make(), question)
        answer = asker(question, seed=seed)
        promises = Axiom.COMPLETENESS in asker.axioms
        claims = [] if wrong else _claims(answer, definition, promises)
        if name in _ALWAYS_COMPLETE and not wrong:
            claims.append(_exact(answer))
        # A quantity that all inputs share, or a sample of all of them, has no answer of one alone.
        alone = len(answer.values) == question.n and not asker.pools_inputs
        return Done(claims, answer.values if alone else None)

    return Action(name, run, wrong)


def metric(draw: random.Random) -> Action:
    """One metric of the registry, on an answer of the cheapest kind."""
    name = draw.choice(list(assay.METRICS))
    kind = assay.METRICS[name]
    drawn = any(field.name == "draws" for field in dataclasses.fields(kind))
    settings: dict[str, Any] = {"draws": 4} if drawn else {}
    wrong = draw.random() < 0.08
    if wrong:
        settings = _setting(draw, kind, settings)
    if name == "MaxSensitivity":
        settings.setdefault("method", draw.choice((None, assay.Gradient(), assay.Occlusion())))
    asker = draw.choice((assay.Gradient, assay.Occlusion))()

    def run(question: assay.Question) -> Done:
        answer = asker(question)
        score = kind(**settings)(question, answer)
        values = torch.as_tensor(score.values)
        if name != "Completeness" or wrong:
            return Done([], values)
        given = answer.values.double().sum(1).numpy()

        def expected(problem: Problem) -> Any:
            return np.abs(given - (problem.prediction() - problem.base()))

        return Done([Claim("score", values, expected)], values)

    return Action(name, run, wrong)


def compare(draw: random.Random) -> Action:
    """A comparison, sometimes as a page."""
    names = draw.sample(
        ("Gradient", "Occlusion", "IntegratedGradients(steps=2)", "Rise(masks=40)"), 2
    )
    references = draw.random() < 0.5
    page = draw.random() < 0.4

    def run(question: assay.Question) -> Done:
        table = assay.compare(
            question, names, ["Infidelity(draws=4)", "Completeness"], references=references
        )
        repr(table)
        if page:
            with tempfile.TemporaryDirectory() as folder:
                written = assay.report(table, f"{folder}/page.html", labels=None)
                if b"<html" not in Path(written).read_bytes().lower():
                    raise AssertionError("no page was written")
        return Done([])

    return Action("report" if page else "compare", run)


def save(draw: random.Random) -> Action:
    """An answer that is saved and read again."""
    asker = draw.choice((assay.Gradient, assay.Occlusion, assay.KernelShap))()

    def run(question: assay.Question) -> Done:
        answer = asker(question)
        with tempfile.TemporaryDirectory() as folder:
            answer.save(f"{folder}/answer")
            again = assay.load(f"{folder}/answer")
        same = lambda p: answer.values.double().numpy()  # noqa: E731
        answer.to_pandas()
        repr(answer)
        return Done([Claim("saved", again.values, same, 0.0)])

    return Action("save", run)


def explain(draw: random.Random) -> Action:
    """What is chosen where nothing is said."""
    limit = draw.choice((1, 2))

    def run(question: assay.Question) -> Done:
        answers = assay.Occlusion().for_outputs(question)
        claims = []
        for column, answer in enumerate(answers[:limit]):
            whole = lambda p, c=column: np.stack([o.reshape(-1)[c].numpy() for o in p.clean])  # noqa: E731
            claims.append(Claim("output", answer.prediction, whole))
        return Done(claims)

    return Action("for_outputs", run)


def certify(draw: random.Random) -> Action:
    """Certificates of a selection."""
    kind = draw.choice((
        lambda: assay.HardStability(limit=256),
        lambda: assay.MultiplicativeSmoothing(4, 8),
        lambda: assay.MultiplicativeSmoothing(2, 8, design="stratified"),
        lambda: assay.SoftStability(1, samples=20),
    ))  # fmt: skip
    share = draw.choice((0.5, 1))

    def run(question: assay.Question) -> Done:
        selection = assay.Occlusion()(question).top(share)
        for certificate in kind().certify(question, selection):
            repr(certificate)
        return Done([])

    return Action("certify", run)


def verbs(draw: random.Random) -> Action:
    """The question itself: masks, points, slopes."""
    blend = draw.random() < 0.3
    seed = draw.randrange(100)

    def run(question: assay.Question) -> Done:
        count = question.partition.count
        masks = np.random.RandomState(seed).rand(3, count) < 0.5
        floats = torch.tensor(masks, dtype=torch.float32) if blend else torch.tensor(masks)
        values = question.value(floats)
        expected = lambda p: p.each(lambda i: [p.value(mask, i) for mask in masks])  # noqa: E731
        claims = [Claim("value", values, expected)]
        claims.append(Claim("score", question.score(question.x), lambda p: p.prediction()))
        return Done(claims, values)

    return Action("verbs", run)


def _layer(number: int, net: nn.Module) -> str:
    names = [name for name, _ in net.named_modules() if name] or ["nothing"]
    if number % 10 == 9:
        return "no such layer"
    return names[number % len(names)]


def _inside(problem: Problem, layer: str, owner: int, flat: Tensor) -> Tensor:
    """The activation of a layer at a point (1, ...), by a hook that clones."""
    net = problem.plain.model
    seen: list[Any] = []
    handle = net.get_submodule(layer).register_forward_hook(
        lambda m, i, o: seen.append(o.clone() if isinstance(o, Tensor) else None)
    )
    try:
        with torch.no_grad():
            problem.plain.outputs(problem.row(flat), owner)
    finally:
        handle.remove()
    if len(seen) != 1 or seen[0] is None:
        raise Unknown("a layer that is called twice, or gives no tensor")
    return seen[0]


def _behind(problem: Problem, layer: str, owner: int, activation: Tensor) -> Tensor:
    """The target with a layer's activation put in its place."""
    net = problem.plain.model
    handle = net.get_submodule(layer).register_forward_hook(lambda m, i, o: activation.clone())
    try:
        outputs = problem.plain.outputs(problem.row(problem.x[owner]), owner)
    finally:
        handle.remove()
    return problem.target.meant(outputs.double(), problem.clean[owner], owner)


def _slope_behind(problem: Problem, layer: str) -> Any:
    def of(i: int) -> Any:
        with torch.enable_grad():
            activation = _inside(problem, layer, i, problem.x[i]).detach().requires_grad_()
            value = _behind(problem, layer, i, activation)
            if not value.requires_grad:
                return np.zeros(activation.numel())
            (slope,) = torch.autograd.grad(value, activation, allow_unused=True)
        slope = torch.zeros_like(activation) if slope is None else slope
        return slope.reshape(-1).double().numpy()

    return problem.each(of)


def _occlusion_behind(problem: Problem, layer: str) -> Any:
    def of(i: int) -> Any:
        whole = problem.f(problem.x[i], i)
        with torch.no_grad():
            clean = _inside(problem, layer, i, problem.x[i])
            losses = np.zeros(clean.numel())
            for absent in problem.absent[i]:
                gone = _inside(problem, layer, i, absent).reshape(-1)
                for j in range(clean.numel()):
                    moved = clean.clone().reshape(-1)
                    moved[j] = gone[j]
                    value = float(_behind(problem, layer, i, moved.reshape(clean.shape)))
                    losses[j] += (whole - value) / len(problem.absent[i])
        return losses

    return problem.each(of)


def _base_behind(problem: Problem, layer: str) -> Any:
    """The target with the activation of the absent input in the place of the layer's."""

    def of(i: int) -> float:
        with torch.no_grad():
            gone = [_inside(problem, layer, i, absent) for absent in problem.absent[i]]
            return float(np.mean([float(_behind(problem, layer, i, point)) for point in gone]))

    return problem.each(of)


def _claims_behind(answer: assay.Attribution, layer: str, rule: Expected | None) -> list[Claim]:
    claims = [
        Claim("prediction", answer.prediction, lambda p: p.prediction()),
        Claim("base", answer.base, lambda p: _base_behind(p, layer)),
    ]
    if rule is not None:
        claims.append(Claim("values", answer.values, rule))
    return claims


def after(draw: random.Random) -> Action:
    """A method behind a random layer."""
    kind = draw.choice(("Gradient", "Occlusion", "IntegratedGradients"))
    number = draw.randrange(1000)

    def run(question: assay.Question) -> Done:
        net = getattr(question.model, "module", None)
        if not isinstance(net, nn.Module):
            question.after("layer")
            return Done([])
        layer = _layer(number, net)
        behind = question.after(layer)
        if kind == "IntegratedGradients":
            answer = assay.IntegratedGradients(steps=3)(behind)
            return Done(_claims_behind(answer, layer, None), answer.values)
        answer = assay.METHODS[kind]()(behind)
        rule = _slope_behind if kind == "Gradient" else _occlusion_behind
        return Done(_claims_behind(answer, layer, lambda p: rule(p, layer)), answer.values)

    return Action(f"after {kind}", run)


def upto(draw: random.Random) -> Action:
    """A unit of a layer."""
    number = draw.randrange(1000)

    def run(question: assay.Question) -> Done:
        net = getattr(question.model, "module", None)
        layer = _layer(number, net) if isinstance(net, nn.Module) else "layer"
        neuron = question.upto(layer, 0)
        answer = assay.Gradient()(neuron)

        def expected(problem: Problem) -> Any:
            return problem.each(lambda i: float(_inside(problem, layer, i, problem.x[i])[0, 0]))

        return Done([Claim("unit", answer.prediction, expected)], answer.values)

    return Action("upto", run)


KINDS = (
    (method, 12), (metric, 3), (after, 3), (upto, 1), (compare, 1), (save, 1), (explain, 1),
    (certify, 2), (verbs, 2),
)  # fmt: skip


SLOPES = frozenset({
    "Gradient", "InputXGradient", "Absolute", "TimesInput", "Smoothed", "IntegratedGradients",
    "Path", "ExpectedGradients",
})  # fmt: skip


def action(draw: random.Random, predictor: Predictor) -> Action:
    """Any of these; what a predictor cannot answer is asked seldom."""
    kinds, weights = zip(*KINDS)
    while True:
        found: Action = draw.choices(kinds, weights)[0](draw)
        slopes = found.name in SLOPES or found.name.startswith(("after", "upto"))
        able = predictor.family == "network" and not predictor.tokens
        if not slopes or able or draw.random() < 0.2:
            return found
