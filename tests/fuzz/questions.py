"""Features, removals, targets and contexts at random, each with what it means, written out plainly.

`Problem` is the slow twin: the definition of a masked row, of the target and of its slope, one row
at a time. Where a part is of a wrong kind, there is nothing to compare, and `meant` is None.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

import assay
from fuzz.predictors import Plain, Predictor
from fuzz.tensors import Inputs

JUNK = (
    None, "x", -1, 0, 1.5, float("nan"), float("inf"), True, (), [], {}, object(), b"", 3 + 1j,
    torch.tensor([1.0]), torch.tensor(2), np.float32(0.5), np.int64(2), np.arange(3), "", [None],
    lambda x: x, int, (1, 2), [0.5], {"a": 1}, range(3), slice(2), 10**30, -0.0, "auto",
)  # fmt: skip


_WRONG = 0.03  # the share of parts that are of a wrong kind


@dataclass(frozen=True)
class Part:
    """One part of a question: a name, the object, and what it means (None: not known)."""

    name: str
    value: Any
    meant: Any = None


def features(draw: random.Random, predictor: Predictor) -> Part:
    """Who receives credit: the part's meaning is a label for each element, and how to pool."""
    count = predictor.elements
    shape = predictor.shapes[0]
    one = len(predictor.shapes) == 1
    kinds = ["none"] * 10 + ["elements", "labels", "halves", "partial"] * 2
    if one and len(shape) in (2, 3):
        kinds += ["pixels", "patches", "pixels mean"] * 2
    if one and len(shape) == 1:
        kinds += ["columns"]
    kind = "junk" if draw.random() < _WRONG else draw.choice(kinds)
    everyone = np.arange(count)
    if kind == "none":
        return Part(kind, None, (everyone, "sum"))
    if kind == "elements":
        return Part(kind, assay.Elements(), (everyone, "sum"))
    if kind in ("labels", "halves", "partial"):
        return _labels(draw, predictor, kind)
    if kind == "columns":
        groups = {"both": [0, count - 1]}
        labels = np.minimum(everyone, np.where(everyone == count - 1, 0, everyone))
        return Part(kind, assay.Columns(tuple("abcdefg"[:count]), groups=groups), (labels, "sum"))
    if kind == "junk":
        return Part(kind, draw.choice(JUNK))
    height, width = shape[-2:]
    channels = shape[0] if len(shape) == 3 else 1
    if kind == "patches":
        size = draw.choice((1, 2, 3, 50))
        rows = np.arange(height)[:, None] // size
        grid = rows * -(-width // size) + np.arange(width)[None] // size
        meant = (np.tile(grid.reshape(-1), channels), "sum")
        return Part(kind, _made(assay.Patches, size), meant if size < 50 else None)
    pooling = "mean" if kind == "pixels mean" else "sum"
    labels = np.tile(np.arange(height * width), channels)
    return Part(kind, assay.Pixels(pooling), (labels, pooling))


def _labels(draw: random.Random, predictor: Predictor, kind: str) -> Part:
    count = predictor.elements
    labels = np.arange(count) % 2 if kind == "halves" else None
    if labels is None:
        low = -1 if kind == "partial" else 0
        labels = np.array([draw.randint(low, 2) for _ in range(count)])
        labels[0] = 2
    maps = []
    start = 0
    for shape in predictor.shapes:
        size = int(np.prod(shape))
        maps.append(torch.as_tensor(labels[start : start + size].reshape(shape)))
        start += size
    value = tuple(maps) if len(maps) > 1 else maps[0]
    return Part(kind, assay.Labels(value), (labels, "sum"))


def _made(kind: Any, *args: Any, **settings: Any) -> Any:
    """Settings are refused when they are made: the refusal is then the part."""
    try:
        return kind(*args, **settings)
    except assay.errors.AssayError as refusal:
        return refusal


def _removals(draw: random.Random, predictor: Predictor, floating: bool) -> list[str]:
    """Names of what is likely to suit."""
    kinds = ["none", "none", "number", "row", "rows", "background", "background"]
    if floating or draw.random() < 0.1:
        kinds += ["mean", "noise"]
    if draw.random() < 0.03:
        kinds = ["conditional"]
    if (floating and len(predictor.shapes[0]) == 3) or draw.random() < 0.02:
        kinds += ["blur"]
    return kinds


def removal(draw: random.Random, predictor: Predictor, inputs: Inputs) -> Part:
    """What absent means: replacements (draws, elements), the same for all inputs, or per input."""
    floating = inputs.plain is not None and all(x.is_floating_point() for x in inputs.plain)
    kind = draw.choice(_removals(draw, predictor, floating))
    if draw.random() < 2 * _WRONG:
        kind = draw.choice(("junk", "junk value"))
    if kind == "junk":
        return Part(kind, draw.choice(JUNK))
    if kind == "junk value":
        junk = draw.choice(JUNK)
        maker = draw.choice((assay.Baseline, assay.Background, assay.Mean, assay.Blur, assay.Noise))
        return Part(kind, (maker, junk))
    count = predictor.elements
    if kind == "none":
        return Part(kind, None, lambda n: torch.zeros(n, 1, count, dtype=torch.float64))
    if kind == "noise":
        return Part(kind, assay.Noise(0.5, draws=draw.choice((1, 3)), seed=draw.randrange(9)))
    if kind == "blur":
        return Part(kind, assay.Blur(1.0))
    if inputs.plain is None:
        return Part(kind, assay.Baseline(1.0))
    if kind == "number":
        return _number(draw, inputs.plain, count)
    return _rows(draw, predictor, inputs, kind)


def _number(draw: random.Random, plain: tuple[Tensor, ...], count: int) -> Part:
    whole = any(not part.is_floating_point() for part in plain)
    number = draw.choice((0, 1, 2)) if whole else draw.choice((0.5, -1, 2, 0.25))

    def fill(n: int) -> Tensor:
        return torch.full((n, 1, count), float(number), dtype=torch.float64)

    return Part("number", assay.Baseline(number), fill)


def _rows(draw: random.Random, predictor: Predictor, inputs: Inputs, kind: str) -> Part:
    assert inputs.plain is not None
    rows = {"row": 1, "rows": len(inputs.plain[0])}.get(kind, draw.choice((1, 3)))
    if kind == "conditional":
        rows = 12
    generator = torch.Generator().manual_seed(draw.randrange(10**6))
    parts = []
    for part in inputs.plain:
        shape = (rows, *part.shape[1:])
        numbers = torch.randn(shape, generator=generator, dtype=torch.float64)
        if part.dtype == torch.bool:
            numbers = numbers > 0
        elif not part.is_floating_point():
            numbers = (numbers.abs() * 2).round().clamp(0, 9)
        parts.append(numbers.to(part.dtype))
    flat = torch.cat([part.reshape(rows, -1).double() for part in parts], dim=1)
    value = _like(inputs, parts)
    if kind == "conditional":
        return Part(kind, assay.Conditional(value))
    if kind == "mean":
        return Part(kind, assay.Mean(value), lambda n: flat.mean(0).expand(n, 1, -1))
    if kind == "background":
        return Part(kind, assay.Background(value), lambda n: flat.expand(n, -1, -1))
    if kind == "row":
        return Part(kind, assay.Baseline(value), lambda n: flat.expand(n, -1).unsqueeze(1))
    return Part(kind, assay.Baseline(value), lambda n: flat[:n].unsqueeze(1))


def _like(inputs: Inputs, parts: list[Tensor]) -> Any:
    """Rows in the kind of container that the inputs have."""
    if inputs.kind == "frame":
        import pandas as pd

        return pd.DataFrame(parts[0].numpy(), columns=list("abcd"))
    # NumPy has no bfloat16.
    typed = all(part.dtype != torch.bfloat16 for part in parts)
    arrays = typed and isinstance(_first(inputs.raw), np.ndarray)
    held = [part.numpy() if arrays else part for part in parts]
    return tuple(held) if len(held) > 1 else held[0]


def _first(raw: Any) -> Any:
    return raw[0] if isinstance(raw, tuple) and raw else raw


def target(draw: random.Random, predictor: Predictor, n: int) -> Part:
    """Which number: what it means is a function of one row's outputs and its clean outputs."""
    kinds = ["callable", "square"]
    if predictor.form == "grid":
        kinds += ["pair"] if predictor.outputs > 0 else []
    else:
        kinds += ["none", "none", "zero", "zero", "last", "labels", "contrast", "negated"]
        if predictor.outputs > 1 and predictor.form != "column":
            kinds += ["log prob", "log odds"]
    kind = draw.choice(kinds)
    if draw.random() < _WRONG:
        kind = draw.choice(("pair", "far", "neuron", "junk", "junk", "log odds of p", "log prob"))
    labels = [draw.choice((0, -1)) for _ in range(n)]
    table: dict[str, tuple[Any, Any]] = {
        "none": (None, lambda o, c, i: _vector(o)[int(_vector(c).argmax())]),
        "zero": (0, lambda o, c, i: _vector(o)[0]),
        "last": (-1, lambda o, c, i: _vector(o)[-1]),
        "labels": (labels, lambda o, c, i: _vector(o)[labels[i]]),
        "log prob": (assay.LogProb(0), lambda o, c, i: o.log_softmax(0)[0]),
        "log odds": (assay.LogOdds(0), lambda o, c, i: o[0] - o[1:].logsumexp(0)),
        "log odds of p": (assay.LogOdds(0, probabilities=True), None),
        "contrast": (assay.Contrast(0, -1), lambda o, c, i: _vector(o)[0] - _vector(o)[-1]),
        "negated": (assay.Negated(0), lambda o, c, i: -_vector(o)[0]),
        "callable": (lambda o: o.flatten(1).sum(1) if o.dim() > 1 else o, lambda o, c, i: o.sum()),
        "square": (lambda o: (o.reshape(len(o), -1) ** 2).sum(1), lambda o, c, i: (o**2).sum()),
        "pair": ((-1, 1), lambda o, c, i: o[-1, 1]),
        "far": (7, None),
        "neuron": (assay.Neuron("head", 0), None),
    }
    if kind == "junk":
        return Part(kind, draw.choice(JUNK))
    value, meant = table[kind]
    return Part(kind, value, meant)


def _vector(outputs: Tensor) -> Tensor:
    if outputs.dim() > 1:
        raise IndexError("outputs of several dimensions")
    return outputs.reshape(-1)


def context(draw: random.Random, predictor: Predictor, n: int) -> Part:
    """What goes beside the inputs: meaning is one dict for each row."""
    if predictor.tokens and draw.random() < 0.4:
        mask = torch.ones(n, *predictor.shapes[0], dtype=torch.long)
        mask[:, -1] = 0
        rows = [{"mask": mask[i : i + 1]} for i in range(n)]
        return Part("mask", {"mask": assay.Aligned(mask)}, rows)
    if predictor.context and draw.random() < 0.8:
        scale = torch.arange(1, n + 1, dtype=torch.float64)
        rows = [{"scale": scale[i : i + 1], "power": 2.0} for i in range(n)]
        value = {"scale": assay.Aligned(scale), "power": assay.Shared(2.0)}
        return Part("scale", value, rows)
    if draw.random() < 0.02:
        return Part("junk", {"scale": draw.choice(JUNK)})
    return Part("none", None, [{} for _ in range(n)])


def _usual_labels(predictor: Predictor, labels: Any) -> Any:
    """Who receives credit where nothing is said: the pixels of a colour picture (3, h, w)."""
    shape = predictor.shapes[0]
    if len(predictor.shapes) > 1 or len(shape) != 3 or not shape[0] == 3 < min(shape[1:]):
        return labels
    return np.tile(np.arange(shape[1] * shape[2]), 3)


def _of_estimator(target: Part, model: Any) -> Any:
    """What a target means of an estimator: of two classes the second, of probabilities themselves."""
    known = hasattr(model, "predict_proba")
    scored = known or hasattr(model, "decision_function")
    if target.name == "none" and scored and len(getattr(model, "classes_", ())) == 2:
        return lambda o, c, i: _vector(o)[-1]
    if target.name == "log prob" and known:
        return lambda o, c, i: o[0].clamp_min(torch.finfo(o.dtype).tiny).log()
    if target.name == "log odds" and known:
        # Certain ones are held one rounding away from it.
        return lambda o, c, i: torch.logit(o[0], eps=torch.finfo(o.dtype).eps)
    return target.meant


class Unknown(Exception):
    """There is nothing to compare an answer with."""


@dataclass
class Problem:
    """A question, written out: the slow twin."""

    predictor: Predictor
    inputs: Inputs
    features: Part
    removal: Part
    target: Part
    context: Part

    def __post_init__(self) -> None:
        if self.inputs.plain is None:
            raise Unknown("inputs")
        for part in (self.features, self.target, self.context):
            if part.meant is None:
                raise Unknown(part.name)
        self.parts = self.inputs.plain
        self.n = len(self.parts[0])
        if self.n == 0 or self.predictor.elements == 0:
            raise Unknown("nothing")
        self.plain = Plain(self.predictor, self.context.meant)
        self.labels, self.pooling = self.features.meant
        if self.features.name == "none":
            self.labels = _usual_labels(self.predictor, self.labels)
        self.meant = self.target.meant
        if self.predictor.family == "estimator":
            self.meant = _of_estimator(self.target, self.plain.model)
        self.count = int(self.labels.max()) + 1

    @cached_property
    def x(self) -> Tensor:
        """The inputs as flat rows (n, elements), float64."""
        return torch.cat([part.reshape(self.n, -1).double() for part in self.parts], dim=1)

    @cached_property
    def absent(self) -> Tensor:
        """(n, draws, elements)."""
        if self.removal.meant is None:
            raise Unknown(self.removal.name)
        rows: Tensor = self.removal.meant(self.n)
        # Replacements have the number types of the inputs.
        parts = rows.split([int(np.prod(s)) for s in self.predictor.shapes], dim=2)
        typed = [part.to(own.dtype).double() for part, own in zip(parts, self.parts)]
        absent = torch.cat(typed, dim=2)
        # What belongs to nobody is never removed.
        ownerless = torch.as_tensor(self.labels < 0)
        return torch.where(ownerless, self.x[:, None], absent)

    def row(self, flat: Tensor) -> tuple[Tensor, ...]:
        """A flat row as what the predictor takes, in its number types."""
        sizes = [int(np.prod(shape)) for shape in self.predictor.shapes]
        return tuple(
            piece.reshape(1, *shape).to(own.dtype)
            for piece, shape, own in zip(flat.split(sizes), self.predictor.shapes, self.parts)
        )

    @cached_property
    def clean(self) -> list[Tensor]:
        """The outputs on the inputs."""
        return [self._outputs(self.x[i], i).detach() for i in range(self.n)]

    def _outputs(self, flat: Tensor, owner: int) -> Tensor:
        with torch.no_grad():
            # A copy: some predictors answer in one buffer.
            return self.plain.outputs(self.row(flat), owner).double().clone()

    def f(self, flat: Tensor, owner: int) -> float:
        """The target at one point."""
        outputs = self._outputs(flat, owner)
        return float(self.meant(outputs, self.clean[owner], owner))

    def slope(self, flat: Tensor, owner: int) -> Tensor:
        """Its gradient there (elements,), by autograd."""
        with torch.enable_grad():
            point = flat.clone().requires_grad_()
            outputs = self.plain.outputs(self.row(point), owner)
            value = self.meant(outputs, self.clean[owner], owner)
            if not value.requires_grad:
                return torch.zeros_like(flat)
            (slope,) = torch.autograd.grad(value, point, allow_unused=True)
        return torch.zeros_like(flat) if slope is None else slope.double()

    def value(self, mask: np.ndarray[Any, Any], owner: int) -> float:
        """v(S): the mean over the replacements of f with what is not in S replaced."""
        present = torch.as_tensor(np.where(self.labels < 0, True, mask[self.labels]))
        rows = [torch.where(present, self.x[owner], absent) for absent in self.absent[owner]]
        return float(np.mean([self.f(row, owner) for row in rows]))

    def prediction(self) -> np.ndarray[Any, Any]:
        """f(x)."""
        return np.array([self.f(self.x[i], i) for i in range(self.n)])

    def base(self) -> np.ndarray[Any, Any]:
        """f(absent)."""
        nobody = np.zeros(self.count, bool)
        return np.array([self.value(nobody, i) for i in range(self.n)])

    def pool(self, elements: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """(n, elements) to (n, features)."""
        pooled = np.zeros((len(elements), self.count))
        for label in range(self.count):
            mine = elements[:, self.labels == label]
            if mine.shape[1]:
                pooled[:, label] = mine.mean(1) if self.pooling == "mean" else mine.sum(1)
        return pooled

    def each(self, of: Callable[[int], Any]) -> np.ndarray[Any, Any]:
        """One row for each input."""
        return np.stack([np.asarray(of(i), dtype=float) for i in range(self.n)])
