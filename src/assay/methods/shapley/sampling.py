"""Shapley values with one background row per draw: what a large background asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import InputError
from assay.methods.base import Axiom, Estimate, Method
from assay.methods.shapley.coalitions import orderings
from assay.methods.shapley.mask_method import widening
from assay.models.base import Ability
from assay.numerics import rng
from assay.question.question import Question


@final
@dataclass(frozen=True)
class SamplingShapley(Method):
    """Marginal contributions along random orderings, every draw with a single row in the place of
    what is absent.

    One draw takes an ordering pi and a replacement row r and walks from r to x along pi and along
    its reverse,
    phi_i = mean f(x_{P_i + i}, r) - f(x_{P_i}, r)     (Strumbelj and Kononenko 2014, algorithm 1). Rows are used
    evenly: in random order, each once before any is used twice. A draw's sum f(x) - f(r) has a
    known mean, f(x) - E f(r), so the draws are adjusted by their regression on it (Cochran 1977,
    section 7.3), which makes the values complete; the standard error is that of the adjusted draws,
    widened by Student's factor, so that 1.96 of them make a 95 % interval. Cost: 2 * draws *
    features - draws evaluations per input, whatever the number of rows; `KernelShap` asks all rows.

    >>> from assay.question.question import Question
    >>> question = Question(lambda x: x[:, 0] * x[:, 1], torch.tensor([[2.0, 3.0]]))
    >>> SamplingShapley(draws=4)(question).values.tolist()
    [[3.0, 3.0]]
    """

    draws: int = 100

    axioms = frozenset({Axiom.COMPLETENESS})
    cost: ClassVar[str] = "2 * draws * features"

    def __post_init__(self) -> None:
        if self.draws < 3:
            raise InputError(
                f"draws must be at least 3, got {self.draws}: a standard error needs a spread to measure"
            )

    def values(self, question: Question, seed: int) -> Estimate:
        question.require_removal()
        features, rows = question.partition.count, question.replacements
        orders = orderings(features, self.draws, seed)
        drawn = torch.from_numpy(_evenly(rows, self.draws, seed)).to(question.x.device)
        place = torch.from_numpy(np.argsort(orders, axis=1)).to(question.x.device)
        values = torch.zeros(
            question.n, self.draws, features, dtype=torch.float64, device=question.x.device
        )
        prediction = question.prediction.to(torch.float64)
        for which in range(self.draws):
            values[:, which] = _walk(question, place[which], drawn[which], prediction)
        return Estimate(*_adjusted(values, prediction - question.base.to(torch.float64)))


def _evenly(rows: int, draws: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Which row each draw takes: every row once before any is taken twice."""
    draw = rng.shared(seed, "background rows")
    return np.concatenate([draw.permutation(rows) for _ in range(-(-draws // rows))])[:draws]


def _walk(question: Question, place: Tensor, row: Tensor, prediction: Tensor) -> Tensor:
    """Both walks of one draw: the mean contribution of every feature, (n, features)."""
    features = len(place)
    met = place < torch.arange(features, device=place.device)[:, None]  # the first is empty
    masks = torch.cat((met, ~met[1:]))
    m, target = len(masks), question.fixed_target
    table = torch.zeros(question.n * m, dtype=torch.float64, device=place.device)

    def make(flat: Tensor) -> tuple[Tensor, Tensor]:
        owners = flat // m
        return question.masked(owners, masks[flat % m], row.expand(len(flat))), owners

    def use(flat: Tensor, owners: Tensor, outputs: Tensor) -> None:
        table[flat] = target.score(outputs, owners).to(torch.float64)

    question.ask(question.n * m, make, use, "with features removed")
    values = table.view(question.n, m)
    forwards = torch.cat((values[:, :features], prediction[:, None]), dim=1).diff(dim=1)
    backwards = torch.cat((prediction[:, None], values[:, features:], values[:, :1]), dim=1).diff(
        dim=1
    )
    return (forwards - backwards)[:, place] / 2


def _adjusted(values: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Draws (n, draws, features) to means that add up to `total` (n,), and their standard errors."""
    draws = values.shape[1]
    mean, sums = values.mean(dim=1, keepdim=True), values.sum(dim=2, keepdim=True)
    apart = sums - sums.mean(dim=1, keepdim=True)
    power = apart.square().sum(dim=1, keepdim=True)
    # without any spread of the sums there is nothing to adjust, and what rounding left is shared evenly
    share = torch.where(
        power > 0, ((values - mean) * apart).sum(dim=1, keepdim=True) / power, 1.0 / values.shape[2]
    )
    rest = values - mean - share * apart
    error = (rest.square().sum(dim=1) / ((draws - 2) * draws)).sqrt() * widening(draws - 2)
    adjusted = mean + share * (total[:, None, None] - sums.mean(dim=1, keepdim=True))
    return adjusted.squeeze(1), error
