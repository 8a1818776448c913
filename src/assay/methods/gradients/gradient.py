"""Slopes at the input: the gradient (saliency), and the gradient times the input.

Both are local: they say what an infinitely small change would do (Ancona et al. 2018, section 3).
Their kin are compositions: `Absolute(Gradient())` is the saliency map of Simonyan et al. (2014),
`Smoothed(Gradient())` is SmoothGrad, `TimesInput(Gradient())` multiplies by the difference to the
absent input; see `wrappers.py`. Slopes gathered along a way are in `paths.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from assay.answers.attribution import Kind
from assay.methods.base import Axiom, Method
from assay.models.base import Ability
from assay.question.question import Question


@final
@dataclass(frozen=True)
class Gradient(Method):
    """The slope of the target at the input (saliency).

    phi_i = d f(x) / d x_i      (Baehrens et al. 2010, definition 2; Simonyan et al. 2014, section 3)

    Cost: one forward and backward pass per input. Values: (n, features), in target per unit of
    input; signed, `Absolute(Gradient())` for magnitudes. Errors: KindError for integers, AbilityError for a
    model without slopes.

    >>> import torch, assay
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> _ = net.weight.data.copy_(torch.tensor([[3.0, -1.0]]))
    >>> Gradient()(assay.Question(net, torch.ones(1, 2))).values
    tensor([[ 3., -1.]])
    """

    needs = frozenset({Ability.GRADIENT})
    kind = Kind.SLOPE
    axioms = frozenset({Axiom.DUMMY, Axiom.LINEARITY, Axiom.IMPLEMENTATION_INVARIANCE})
    tells_prediction = True
    cost: ClassVar[str] = "1 gradient"

    def values(self, question: Question, seed: int) -> Tensor:
        return self.per_output((question,), seed)[0]

    def per_output(self, questions: Sequence[Question], seed: int) -> list[Tensor]:
        slopes = questions[0].slopes_at_inputs(questions)
        return [asked.pool(slope) for asked, slope in zip(questions, slopes)]


@final
@dataclass(frozen=True)
class InputXGradient(Method):
    """The slope at the input times the input.

    phi_i = x_i d f(x) / d x_i      (Shrikumar et al. 2016, section 2; the homework's equation 1)

    Multiplies by x itself, whatever the removal; `TimesInput(Gradient())` multiplies by x - absent.
    Cost: one forward and backward pass per input. Values: (n, features), in units of the target.
    Errors: KindError for integers, AbilityError for a model without slopes.

    >>> import torch, assay
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> _ = net.weight.data.copy_(torch.tensor([[3.0, -1.0]]))
    >>> InputXGradient()(assay.Question(net, torch.tensor([[2.0, 5.0]]))).values
    tensor([[ 6., -5.]])
    """

    needs = frozenset({Ability.GRADIENT})
    axioms = frozenset({Axiom.DUMMY, Axiom.LINEARITY, Axiom.IMPLEMENTATION_INVARIANCE})
    tells_prediction = True
    cost: ClassVar[str] = "1 gradient"

    def values(self, question: Question, seed: int) -> Tensor:
        return self.per_output((question,), seed)[0]

    def per_output(self, questions: Sequence[Question], seed: int) -> list[Tensor]:
        slopes = questions[0].slopes_at_inputs(questions)
        # Pooled after the product: a feature's elements have values of their own.
        return [asked.pool(asked.x * slope) for asked, slope in zip(questions, slopes)]
