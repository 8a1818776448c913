"""Which number was explained, in words: the class with its label, input by input.

A target such as `Predicted()` says by which rule a class was chosen, and not which one it was.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

from torch import Tensor

from assay.question.question import Question
from assay.targets import Contrast, LogOdds, LogProb, Negated, Output, Target, as_target


def explained(question: Question) -> tuple[str, ...]:
    """What was explained of each input, such as "P(class 1 = >50K)".

    >>> import torch, assay
    >>> net = torch.nn.Linear(2, 3)
    >>> explained(assay.Question(net, torch.ones(2, 2), target=assay.LogProb([2, 0])))
    ('log-probability of output 2', 'log-probability of output 0')
    """
    target = question.fixed_target
    return tuple(_words(target, question.model, row) for row in range(question.n))


def _words(target: Target, model: Any, row: int) -> str:
    if isinstance(target, Negated):
        return f"minus {_words(target.target, model, row)}"
    if isinstance(target, LogOdds):
        return f"log-odds of {_words(target.output, model, row)}"
    if isinstance(target, LogProb):
        return f"log-probability of {_words(target.output, model, row)}"
    if isinstance(target, Contrast):
        pair = [_words(as_target(side), model, row) for side in (target.a, target.b)]
        return " rather than ".join(pair)
    if not isinstance(target, Output):
        return " ".join(repr(target).split())
    index: Any = target.index
    if isinstance(index, Tensor):
        index = index[row].tolist()
    return _class_of(index, model)


def _class_of(index: Any, model: Any) -> str:
    """One output of a model, with the label of its class where the model knows it."""
    labels = _labels(model)
    if not isinstance(index, int) or labels is None:
        return f"output {index}"
    method = getattr(model, "method", "")
    # The one score of two classes is that of the second.
    if method == "decision_function" and len(labels) == 2:
        index = 1
    if not -len(labels) <= index < len(labels):
        return f"output {index}"
    number = index % len(labels)
    # A label that is the class's own number, 1 or 1.0, is said once.
    named = f"class {number}"
    if not _is_number(labels[index], number):
        named += f" = {labels[index]}"
    if getattr(model, "probabilities", None) or method == "predict_proba":
        return f"P({named})"
    return f"score of {named}"


def _is_number(label: Any, number: int) -> bool:
    """Whether a label is the number of its class; True is a word of its own."""
    return type(label) is not bool and isinstance(label, Real) and bool(label == number)


def _labels(model: Any) -> Any:
    """The labels of the classes in the order of the outputs, None where nobody knows them."""
    declared = getattr(model, "classes", None)
    if declared is not None:
        return declared
    # What `predict` answers is no class by its number.
    if getattr(model, "method", "predict") == "predict":
        return None
    labels = getattr(getattr(model, "estimator", None), "classes_", None)
    # Of several targets there is a list for each.
    if labels is not None and getattr(labels, "ndim", 0) == 1:
        return labels
    return None
