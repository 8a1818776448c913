"""The output of a class, by its label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from assay.errors import TargetError
from assay.targets.output import Output
from assay.targets.target import Outputs, Target


@final
@dataclass(frozen=True, eq=False)
class Label(Target):
    """The output of a class, by the label that the estimator was fitted with.

    Settings:
        label: a label for all inputs, or a list, an array or a column with one for each input.

    Units: the output's own, a probability of `predict_proba`. Errors: TargetError for a label that no
    class has, for a model whose classes have none (`wrap(model, classes=[...])`), and for the first of two
    classes where one output speaks for the second.

    >>> import assay
    >>> from sklearn.linear_model import LogisticRegression
    >>> model = LogisticRegression().fit([[0.0], [1.0]], ["bad", "good"])
    >>> answer = assay.explain(model, np.array([[0.2]]), target=Label("bad"))
    >>> answer.target
    'bad'
    """

    label: Any

    def told(self, outputs: Outputs) -> Target:
        labels = self._each
        if labels is None:
            place: Any = outputs.place_of(self._one)
        else:
            place = torch.tensor(list(map(outputs.place_of, labels)), dtype=torch.int64)
        return _OfClass(self, place, outputs)

    @property
    def _each(self) -> list[Any] | None:
        """One label for each input, where there are several."""
        label = self.label
        if isinstance(label, list):
            return label
        if hasattr(label, "__array__") and np.ndim(label):
            listed: list[Any] = np.asarray(label).tolist()
            return listed
        return None

    @property
    def _one(self) -> Any:
        # Numbers and texts of NumPy as Python's.
        return self.label.item() if hasattr(self.label, "item") else self.label

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        raise TargetError(
            expected="a target that knows the labels of the outputs",
            got=f"{self!r}, which names no output yet",
            advice="Ask a question with it, Question(model, inputs, target=Label(...)).",
        )

    def __repr__(self) -> str:
        labels = self._each
        if labels is None:
            return f"Label({self._one!r})"
        return f"Label({labels!r})"


@final
@dataclass(frozen=True, eq=False)
class _OfClass(Target):
    """A class whose place among the classes is known; what column that is, the outputs say."""

    asked: Label
    place: int | Tensor
    known: Outputs

    def sized(self, n: int) -> Target:
        if isinstance(self.place, Tensor) and len(self.place) != n:
            raise TargetError(
                expected=f"one label, or one for each of {n} inputs",
                got=f"{len(self.place)} labels",
                advice="Give each input its own, or one label for all of them.",
            )
        return self

    def take(self, rows: Tensor) -> Target:
        if not isinstance(self.place, Tensor):
            return self
        place = self.place[rows.to(self.place.device)]
        return _OfClass(Label([self.known_label(number) for number in place]), place, self.known)

    def known_label(self, number: Any) -> Any:
        """The label at a place."""
        return (self.known.classes or ())[int(number)]

    def choose(self, outputs: Tensor) -> Target:
        count = len(self.known.classes or ())
        columns = 1 if outputs.dim() == 1 else outputs.shape[1]
        if outputs.dim() <= 2 and columns == count:
            return Output(self.place).choose(outputs)
        # One output of two classes speaks for the second, as scikit-learn's decision_function does.
        if columns == 1 and count == 2 and bool((torch.as_tensor(self.place) == 1).all()):
            return Output(0).choose(outputs)
        if columns == 1 and count == 2:
            labels = self.known.classes or ()
            raise TargetError(
                expected=f"a label that {self.known.model} scores",
                got=f"{labels[0]!r}, while its one output speaks for {labels[1]!r}",
                advice=f"What speaks against is Negated(Label({labels[1]!r})).",
            )
        raise TargetError(
            expected=f"one output for each of {count} classes, for {self.asked!r}",
            got=f"outputs of shape {tuple(outputs.shape)}",
            advice="Point at one of them by its number: target=Output(0).",
        )

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        return self.take(rows).choose(outputs).score(outputs, torch.arange(len(outputs)))

    def __repr__(self) -> str:
        return repr(self.asked)


def is_label(value: Any) -> bool:
    """Whether something names classes: a text, or a list or a column of texts."""
    if isinstance(value, str):
        return True
    if hasattr(value, "__array__") and not isinstance(value, Tensor):
        array = np.asarray(value)
        # An array of objects may hold anything: its first entry tells.
        listed = array.ravel()[:1].tolist() if array.dtype.kind in "OUT" else []
        return bool(listed) and isinstance(listed[0], str)
    return isinstance(value, list) and bool(value) and all(isinstance(part, str) for part in value)
