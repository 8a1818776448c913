"""One architecture, asked everything, beside autograd and occlusion by hand.

At the input, and at layers drawn by a seed: the twin puts a layer's activation in its place by a
hook that clones, calls rows one at a time, and knows nothing of the library.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import assay
from architectures.catalogue import Subject, build

STEPS = 3
MASKS = 40
GROUPS = 4  # features of a layer


@dataclass
class Case:
    """How one question of one architecture ended."""

    architecture: str
    layer: str
    method: str
    outcome: str
    detail: str = ""


class Unknown(Exception):
    """Nothing to compare with: the layer is called twice, or gives no tensor."""


class Twin:
    """The architecture, asked plainly."""

    def __init__(self, subject: Subject, layer: str, labels: Tensor) -> None:
        self.net = subject.net
        self.context = subject.context
        self.inputs = subject.inputs
        self.layer = layer
        self.labels = labels
        self._starts: dict[tuple[int, bool], Tensor] = {}
        self.target = [
            int(self._outputs(i, x[None])[0].argmax()) for i, x in enumerate(self.inputs)
        ]

    def _outputs(self, row: int, x: Tensor) -> Tensor:
        context = {name: value[row : row + 1] for name, value in self.context.items()}
        # A copy: a network may write on what it is handed.
        return self.net(x.clone(), **context)

    def start(self, row: int, absent: bool) -> Tensor:
        """What is attributed: the input or the layer's activation, of the input or its absence."""
        if (row, absent) not in self._starts:
            self._starts[row, absent] = self._start(row, absent)
        return self._starts[row, absent]

    def _start(self, row: int, absent: bool) -> Tensor:
        x = self.inputs[row : row + 1]
        x = torch.zeros_like(x) if absent else x
        if not self.layer:
            return x
        seen: list[Any] = []

        def hook(module: nn.Module, args: Any, output: Any) -> None:
            seen.append(output.clone() if isinstance(output, Tensor) else output)

        handle = self.net.get_submodule(self.layer).register_forward_hook(hook)
        try:
            with torch.no_grad():
                self._outputs(row, x)
        finally:
            handle.remove()
        if len(seen) != 1 or not isinstance(seen[0], Tensor):
            raise Unknown(f"{len(seen)} calls, {type(seen[0]).__name__ if seen else 'nothing'}")
        return seen[0]

    def score(self, row: int, point: Tensor) -> Tensor:
        """The target with the input, or the activation, in its place."""
        if not self.layer:
            return self._outputs(row, point)[0, self.target[row]]

        def hook(module: nn.Module, args: Any, output: Any) -> Tensor:
            return point.clone()

        handle = self.net.get_submodule(self.layer).register_forward_hook(hook)
        try:
            return self._outputs(row, self.inputs[row : row + 1])[0, self.target[row]]
        finally:
            handle.remove()

    def slope(self, row: int, point: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = point.detach().clone().requires_grad_()
            value = self.score(row, leaf)
            if not value.requires_grad:
                return torch.zeros_like(point)
            (slope,) = torch.autograd.grad(value, leaf, allow_unused=True)
        return torch.zeros_like(point) if slope is None else slope

    def _pool(self, elements: Tensor) -> Tensor:
        flat = elements.reshape(-1).double()
        pooled = torch.zeros(int(self.labels.max()) + 1, dtype=torch.float64)
        return pooled.index_add(0, self.labels.reshape(-1), flat)

    def gradient(self, row: int) -> Tensor:
        return self._pool(self.slope(row, self.start(row, absent=False)))

    def integrated(self, row: int) -> Tensor:
        x, absent = self.start(row, absent=False), self.start(row, absent=True)
        nodes, weights = np.polynomial.legendre.leggauss(STEPS)
        total = torch.zeros_like(x)
        for node, weight in zip(nodes, weights):
            total += weight / 2 * self.slope(row, absent + (node + 1) / 2 * (x - absent))
        return self._pool(total * (x - absent))

    def value(self, row: int, mask: Tensor) -> Tensor:
        x, absent = self.start(row, absent=False), self.start(row, absent=True)
        present = mask[self.labels].reshape(x.shape)
        with torch.no_grad():
            return self.score(row, torch.where(present, x, absent)).double()

    def occlusion(self, row: int) -> Tensor:
        count = int(self.labels.max()) + 1
        everyone = torch.ones(count, dtype=torch.bool)
        whole = self.value(row, everyone)
        others = ~torch.eye(count, dtype=torch.bool)
        return torch.stack([whole - self.value(row, mask) for mask in others])


def _labels(shape: tuple[int, ...]) -> Tensor:
    """Features in stripes of neighbours, at most GROUPS of them."""
    size = int(np.prod(shape))
    return (torch.arange(size) * min(GROUPS, size) // size).reshape(shape)


def _methods() -> list[tuple[str, Any, Callable[[Twin, int], Tensor] | None]]:
    return [
        ("Gradient", assay.Gradient(), Twin.gradient),
        ("IntegratedGradients", assay.IntegratedGradients(steps=STEPS), Twin.integrated),
        ("Occlusion", assay.Occlusion(), Twin.occlusion),
        ("Rise", assay.Rise(masks=MASKS), None),
    ]


def layers(net: nn.Module, count: int, seed: int = 0) -> list[str]:
    """Some layers by name; those without weights too."""
    names = [name for name, module in net.named_modules() if name]
    return sorted(random.Random(seed).sample(names, min(count, len(names))))


def ask(name: str, count: int = 10, seed: int = 0) -> list[Case]:
    """An architecture at its input and at `count` layers, by every method."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            subject = build(name, seed)
        except Exception as error:
            return [Case(name, "", "build", "not built", f"{type(error).__name__}: {error}"[:200])]
        before = _state(subject.net)
        cases = []
        for layer in ["", *layers(subject.net, count, seed)]:
            cases += _at(name, subject, layer)
            if _state(subject.net) != before:
                cases.append(Case(name, layer, "any", "wrong", "the network is not as it was"))
                before = _state(subject.net)
    return cases


def _state(net: nn.Module) -> Any:
    tensors = [float(t.detach().double().sum()) for t in net.state_dict().values()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()]
    return tensors, hooks, [m.training for m in net.modules()]


def _at(name: str, subject: Subject, layer: str) -> list[Case]:
    try:
        question, twin = _asked(subject, layer)
    except Exception as error:
        return [_raised(name, layer, method, error) for method, _, _ in _methods()]
    cases = []
    for method, asker, rule in _methods():
        try:
            answer = asker(question)
        except Exception as error:
            cases.append(_raised(name, layer, method, error))
            continue
        cases.append(_judged(Case(name, layer, method, "right"), answer, twin, rule))
    return cases


def _asked(subject: Subject, layer: str) -> tuple[assay.Question, Twin]:
    """The question at a layer, or at the input where none is named, and its twin."""
    context = {key: assay.Aligned(value) for key, value in subject.context.items()}
    labels = _labels(tuple(subject.inputs.shape[1:]))
    question = assay.Question(
        subject.net, subject.inputs, context=context, features=assay.Labels(labels)
    )
    if layer:
        labels = _labels(question.after(layer).layout.shapes[0])
        question = question.after(layer, assay.Labels(labels))
    return question, Twin(subject, layer, labels)


def _raised(name: str, layer: str, method: str, error: Exception) -> Case:
    """A refusal, or somebody else's exception."""
    known = isinstance(error, assay.errors.AssayError)
    detail = f"{type(error).__name__}: {error}"
    return Case(name, layer, method, "refused" if known else "foreign", detail)


def _judged(
    case: Case, answer: Any, twin: Twin, rule: Callable[[Twin, int], Tensor] | None
) -> Case:
    rows = range(len(twin.inputs))
    try:
        expected = torch.stack([rule(twin, row) for row in rows]) if rule else _rise(twin)
        answered = answer.values[: len(expected)].double()
    except Unknown as unknown:
        return Case(case.architecture, case.layer, case.method, "unchecked", str(unknown))
    error = float((answered - expected).abs().max())
    scale = max(float(expected.abs().max()), float(answer.prediction.abs().max()) * 1e-2, 1e-12)
    allowed = 1e-5 if answer.values.dtype == torch.float64 else 5e-3
    if not error <= allowed * scale:
        return Case(
            case.architecture, case.layer, case.method, "wrong",
            f"off by {error:.3g} of {scale:.3g}; layer note {answer.facts.get('layer')}",
        )  # fmt: skip
    return case


def _rise(twin: Twin) -> Tensor:
    """RISE of a function that calls the twin, for the first input: the same masks, another way to ask.

    It is asked many rows, one at a time, and masks are the same for all inputs.
    """
    x, absent = twin.start(0, absent=False), twin.start(0, absent=True)

    def plain(points: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.stack([twin.score(0, point[None].to(x.dtype)) for point in points])

    features = assay.Labels(twin.labels)
    alone = assay.Question(plain, x, features=features, removal=assay.Baseline(absent[0]))
    return assay.Rise(masks=MASKS)(alone).values.double()
