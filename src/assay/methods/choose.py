"""One line from a predictor to an answer: which method suits a question is decided here."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from assay.answers.attribution import Attribution
from assay.errors import KindError
from assay.features.partition import Features
from assay.inputs.layout import Context
from assay.inputs.tensors import TensorLayout
from assay.methods.base import Method
from assay.methods.gradients.paths import ExpectedGradients, IntegratedGradients
from assay.models.base import Ability
from assay.question.question import Question
from assay.removals.base import Removal
from assay.settings import shown, with_defaults
from assay.targets import LogOdds

_ENUMERATED = 11  # features whose 2^11 coalitions cost no more than the sampled method's budget


def explain(
    predictor: Any,
    inputs: Any,
    target: Any = None,
    *,
    features: Features | None = None,
    removal: Removal | None = None,
    truth: Any = None,
    context: Context | None = None,
    method: Method | type[Method] | str | None = None,
    seed: int = 0,
) -> Attribution:
    """The answer of a sensible method for what this model can do; `answer.method` says which.

    TreeSHAP for ensembles of trees: over the removal's rows, or where nothing was said of what absent
    means, by the training rows' own shares; of probabilities behind a logistic link, where no target
    was said, the log-odds are explained. Else integrated gradients where the model has slopes (expected
    gradients where the removal is a background of rows), exact Shapley values for at most 11 features,
    and KernelSHAP beyond.

    Settings:
        predictor, inputs, target, features, removal, truth, context: as in `Question`, also their
            refusals.
        method: asks a method of your choice instead: an instance, a class (with its defaults), or
            text as in `compare`, such as "KernelShap(budget=512)" or "SmoothGrad".
        seed: decides the draws of a method that samples.

    Cost: none of trees, else 64 (200) gradients, 2^features or 2050 evaluations per input.
    Values (n, features), in units of the target.

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
    # Before any model is asked: a misspelt name is not to cost an hour.
    chosen = None if method is None else as_method(method)
    question = Question(predictor, inputs, target, features, removal, truth, context=context)
    if chosen is None:
        if target is None and log_odds_of_trees(question):
            question = question.of(LogOdds(question.target))
        said = removal is not None or question.model.background is not None
        chosen = suited(question, says_absent=said)
    return chosen(question, seed=seed)


def as_method(method: Any) -> Method:
    """A method from an instance, from its class or from text."""
    if isinstance(method, str):
        if not _READERS:
            # Above the methods, and so by its name: nobody has loaded it yet.
            import_module("assay.registry.settings")
        for read in _READERS:
            return read(method)
    if isinstance(method, type) and issubclass(method, Method):
        return with_defaults(method)
    if not isinstance(method, Method):
        raise KindError(
            expected="a method, its class or its name",
            got=shown(method),
            advice='Hand over an instance such as Gradient(), or its name "Gradient".',
        )
    return method


_READERS: list[Callable[[str], Method]] = []


def read_names_with(reader: Callable[[str], Method]) -> None:
    """How text becomes a method is said by the registry, which stands above the methods."""
    _READERS[:] = [reader]


def suited(question: Question, *, says_absent: bool = True) -> Method:
    """The method that `explain` asks about this question.

    `says_absent` where the caller has said what absent means.
    """
    # Imported late: the family of methods that do without slopes is the larger part of the library.
    from assay.methods.trees.asked import sums_over_trees
    from assay.methods.trees.tree_shap import TreeShap

    if sums_over_trees(question):
        fixed = question.says_what_absent_means and question.fixed_replacements is not None
        return TreeShap("interventional" if says_absent and fixed else "path_dependent")
    # A conditional removal has no fixed baseline, so there is no straight path for IG.
    has_baseline = question.fixed_replacements is not None
    if has_baseline and _has_slopes(question):
        return ExpectedGradients() if question.replacements > 1 else IntegratedGradients()
    from assay.methods.shapley.exact import ExactShapley
    from assay.methods.shapley.kernel_shap import KernelShap

    return ExactShapley() if question.partition.count <= _ENUMERATED else KernelShap()


def log_odds_of_trees(question: Question) -> bool:
    """Whether probabilities of trees are asked about whose log-odds are a sum over trees."""
    from assay.methods.trees.asked import sums_over_trees

    if Ability.TREES not in question.model.abilities or not question.model.probabilities:
        return False
    return not sums_over_trees(question) and sums_over_trees(question.of(LogOdds(question.target)))


def _has_slopes(question: Question) -> bool:
    layout = question.layout
    if Ability.GRADIENT not in question.model.abilities or not isinstance(layout, TensorLayout):
        return False
    return all(dtype.is_floating_point for dtype in layout.dtypes)
