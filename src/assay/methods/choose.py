"""One line from a predictor to an answer: which method suits a question is decided here."""

from __future__ import annotations

from typing import Any

from assay.answers.attribution import Attribution
from assay.errors import KindError
from assay.features.partition import Features
from assay.inputs.tensors import TensorLayout
from assay.methods.base import Method
from assay.methods.paths import ExpectedGradients, IntegratedGradients
from assay.models.base import Ability
from assay.question.question import Question
from assay.removals.base import Removal

_ENUMERATED = 11  # features whose 2^11 coalitions cost no more than the sampled method's budget


def explain(
    predictor: Any,
    inputs: Any,
    target: Any = None,
    *,
    features: Features | None = None,
    removal: Removal | None = None,
    method: Method | None = None,
    seed: int = 0,
) -> Attribution:
    """The answer of a sensible method for what this model can do; `answer.method` says which.

    Integrated gradients where the model has slopes (expected gradients where the removal is a
    background of rows), exact Shapley values for at most 11 features, and KernelSHAP beyond.

    Settings:
        predictor, inputs, target, features, removal: as in `Question`, also their refusals.
        method: asks a method of your choice instead.
        seed: decides the draws of a method that samples.

    Cost: 64 (200) gradients, 2^features or 2050 evaluations per input. Values (n, features), in
    units of the target.

    >>> import torch
    >>> answer = explain(lambda x: x[:, 0] * x[:, 1], torch.tensor([[3.0, 4.0]]))
    >>> answer.values, answer.method.partition("(")[0]
    (tensor([[6., 6.]]), 'IntegratedGradients')
    """
    if isinstance(predictor, Question):
        raise KindError(
            expected="a predictor and inputs",
            got="a Question",
            advice="Ask a method: Gradient()(question).",
        )
    question = Question(predictor, inputs, target, features, removal)
    chosen = method or suited(question)
    return chosen(question, seed=seed)


def suited(question: Question) -> Method:
    """The method that `explain` asks about this question."""
    # A conditional removal has no fixed baseline, so there is no straight path for IG.
    has_baseline = question.fixed_replacements is not None
    if has_baseline and _has_slopes(question):
        return ExpectedGradients() if question.replacements > 1 else IntegratedGradients()
    # Imported late: the family of methods that do without slopes is the larger part of the library.
    from assay.methods.shapley.exact import ExactShapley
    from assay.methods.shapley.kernel_shap import KernelShap

    return ExactShapley() if question.partition.count <= _ENUMERATED else KernelShap()


def _has_slopes(question: Question) -> bool:
    layout = question.layout
    if Ability.GRADIENT not in question.model.abilities or not isinstance(layout, TensorLayout):
        return False
    return all(dtype.is_floating_point for dtype in layout.dtypes)
