"""One line from a predictor to an answer."""

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
from assay.removals.base import FixedAbsent, Removal

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
    """The answer of a sensible method for what this model can do; `answer.method` says which one it
    was.

    Integrated gradients where the model has slopes (expected gradients where the removal is a
    background of rows), exact Shapley values for at most 11 features, and KernelSHAP beyond.
    `method` asks a method of your choice instead. Everything else is as in `Question`, also its
    refusals. Cost: 64 (200) gradients, 2^features or 2050 evaluations per input. Values (n,
    features), in units of the target.

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
    return (method or suited(question))(question, seed=seed)


def suited(question: Question) -> Method:
    """The method that `explain` asks about this question."""
    layout = question.layout
    smooth = isinstance(layout, TensorLayout) and all(
        dtype.is_floating_point for dtype in layout.dtypes
    )
    # A conditional removal has no fixed baseline, so there is no straight path for IG.
    if (
        Ability.GRADIENT in question.model.abilities
        and smooth
        and question.fixed_replacements is not None
    ):
        return ExpectedGradients() if question.replacements > 1 else IntegratedGradients()
    from assay.methods.shapley.exact import ExactShapley
    from assay.methods.shapley.kernel_shap import KernelShap

    return ExactShapley() if question.partition.count <= _ENUMERATED else KernelShap()
