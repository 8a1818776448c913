"""What a random predictor is, and how it is called plainly: one row at a time, from a fresh copy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Parts = tuple[Tensor, ...]
"""One input: a tensor (1, ...) for each of the predictor's tensors."""


@dataclass(frozen=True)
class Predictor:
    """A recipe: `fresh()` makes the same predictor again and again."""

    family: str
    kind: str
    fresh: Callable[[], Any]
    shapes: tuple[tuple[int, ...], ...]
    dtype: torch.dtype
    traits: frozenset[str] = frozenset()
    form: Any = None
    outputs: int = 1
    context: bool = False
    tokens: bool = False
    takes: str = "tensor"
    """"tensor", "array" or "frame": what it is called with, and so what inputs should be."""
    columns: tuple[str, ...] = field(default=())

    @property
    def elements(self) -> int:
        return sum(int(np.prod(shape)) for shape in self.shapes)


class Plain:
    """The predictor, asked one row at a time and nothing else."""

    def __init__(self, predictor: Predictor, context: list[dict[str, Any]] | None) -> None:
        self.predictor = predictor
        self.context = context
        self.model = predictor.fresh()
        if isinstance(self.model, nn.Module):
            self.model.eval()
        self._again = "state" in predictor.traits

    def outputs(self, row: Parts, owner: int) -> Tensor:
        """The outputs (...) of one row that belongs to the input `owner`."""
        if self._again:
            self.model = self.predictor.fresh()
            self.model.eval()
        found = self._called(row, self.context[owner] if self.context else {})
        found = _picked(found, self.predictor.form)
        return torch.as_tensor(np.asarray(found) if not isinstance(found, Tensor) else found)[0]

    def _called(self, row: Parts, context: dict[str, Any]) -> Any:
        predictor = self.predictor
        if predictor.takes == "tensor":
            return self.model(*(part.clone() for part in row), **context)
        arrays = [part.detach().numpy().copy() for part in row]
        if predictor.family != "estimator":
            return self.model(*arrays, **context)
        (array,) = arrays
        if predictor.columns:
            import pandas as pd

            array = pd.DataFrame(array, columns=list(predictor.columns))
        for name in ("predict_proba", "decision_function", "predict"):
            if hasattr(self.model, name):
                return getattr(self.model, name)(array)
        raise TypeError("an estimator without answers")


def _picked(found: Any, form: Any) -> Any:
    if form == "tuple":
        return found[0]
    if form == "dict":
        return found["logits"]
    if form == "nested":
        return found["all"][0]
    return found


def picker(form: Any) -> Any:
    """What `wrap(output=...)` is told of such outputs."""
    if form == "tuple":
        return 0
    if form == "dict":
        return "logits"
    if form == "nested":
        return lambda found: found["all"][0]
    return None
