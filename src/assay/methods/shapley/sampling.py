"""Sampling with one background row per draw: Shapley values when the background is large.

The other estimators ask every coalition under every replacement row. Strumbelj and Kononenko (2014)
draw an ordering and a row together, so that the cost does not grow with the rows. What the row adds
to the noise is largely known, because the sum of a draw's contributions is, and a regression on it
takes that part away (the method of control variates; Cochran 1977, section 7.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.errors import SettingError
from assay.methods.base import Axiom, Estimate, Method
from assay.methods.shapley.coalitions import orderings
from assay.methods.shapley.games import as_tensor
from assay.numerics import rng
from assay.numerics.pieces import pieces
from assay.numerics.precision import to_input_precision
from assay.numerics.statistics import widening
from assay.question.question import Question

_ROUNDINGS = 16  # last places of the largest numbers that sums of outputs may be off by


@final
@dataclass(frozen=True)
class SamplingShapley(Method):
    """Marginal contributions along random orderings, a single replacement row for each draw.

    One draw takes an ordering pi and a replacement row r and walks from r to x along pi and along
    its reverse,
    phi_i = mean f(x_{P_i + i}, r) - f(x_{P_i}, r)     (Strumbelj and Kononenko 2014, algorithm 1)

    Rows are used evenly: in random order, each once before any is used twice. A draw's sum
    f(x) - f(r) has a known mean, f(x) - E f(r), so the draws are adjusted by their regression on it
    (Cochran 1977, section 7.3), which makes the values complete; the standard error is that of the
    adjusted draws, widened by Student's factor, so that 1.96 of them make a 95 % interval.

    Settings:
        draws: how many pairs of an ordering and a row, at least 3 for a standard error.

    Cost: 2 * draws * features - draws evaluations per input, whatever the number of rows;
    `KernelShap` asks all rows. Values (n, features) in units of the target.

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
            raise SettingError(
                expected="as draws at least 3",
                got=self.draws,
                advice="A standard error needs a spread to measure: use 100.",
            )

    def players(self, question: Question) -> Tensor | None:
        return question.changeable_features()

    def held(self, features: int) -> int:
        return self.draws * features

    def rows_each(self, question: Question, players: int) -> int:
        return self.draws * (2 * players - 1)

    def values(self, question: Question, seed: int) -> Estimate:
        features = question.partition.count
        device = question.x.device
        orders = orderings(features, self.draws, seed, "sampling ")
        ranks = as_tensor(np.argsort(orders, axis=1), question.x)
        row_numbers = _balanced_rows(question.replacements, self.draws, seed)
        rows = as_tensor(row_numbers, question.x)
        prediction = question.prediction.to(torch.float64)
        contributions = torch.zeros(
            (question.n, self.draws, features),
            dtype=torch.float64,
            device=device,
        )
        # One question about many draws: a call of the model for each would cost more than its rows.
        asked_each = question.n * (2 * features - 1)
        for piece in pieces(self.draws, asked_each):
            walks = _walks(question, ranks[piece], rows[piece], prediction)
            contributions[:, piece] = walks
        base = question.base.to(torch.float64)
        # Prediction and base are known to the last place of the results' own type.
        unit = torch.finfo(to_input_precision(question.x[:0], question.x).dtype).eps
        largest = contributions.abs().sum(dim=2).amax(dim=1)
        rounding = _ROUNDINGS * unit * (prediction.abs() + base.abs() + largest)
        return Estimate(*_regression_adjusted(contributions, prediction - base, rounding))


def _balanced_rows(rows: int, draws: int, seed: int) -> NDArray[np.int64]:
    """Which row each draw takes: every row once before any is taken twice."""
    generator = rng.shared(seed, "background rows")
    rounds = -(-draws // rows)
    permutations = [generator.permutation(rows) for _ in range(rounds)]
    return np.concatenate(permutations)[:draws]


def _walks(question: Question, ranks: Tensor, rows: Tensor, prediction: Tensor) -> Tensor:
    """Both walks of some draws: the mean contribution of every feature, (n, draws, features).

    `ranks` (draws, features): at which step of its ordering each feature joins; `rows` (draws,).
    """
    features = ranks.shape[1]
    # After k steps the features of rank below k are
    # present; the first coalition is empty. The reverse
    # walk meets their complements. The empty one serves
    # both walks, and the full one is the prediction, so
    # that neither is asked again.
    worths = _worths_under_rows(question, ranks, rows)
    empty = worths[:, :, :1]
    full = prediction[:, None, None].expand_as(empty)
    growing = torch.cat((worths[:, :, :features], full), dim=2)
    shrinking = torch.cat((full, worths[:, :, features:], empty), dim=2)
    # A feature that leaves takes its contribution
    # away: steps down come with a minus.
    contributions = growing.diff(dim=2) - shrinking.diff(dim=2)
    joining = ranks.expand_as(contributions)
    return contributions.gather(2, joining) / 2


def _worths_under_rows(question: Question, ranks: Tensor, rows: Tensor) -> Tensor:
    """The target along both walks of every draw, one replacement row each: (n, draws, m), float64.

    m = 2 features - 1: the empty coalition, those that grow, and those that shrink.
    """
    n = question.n
    draws, features = ranks.shape
    m = 2 * features - 1
    total = draws * n * m
    target = question.fixed_target
    table = torch.zeros(total, dtype=torch.float64, device=ranks.device)

    def make(numbers: Tensor) -> tuple[Tensor, Tensor]:
        draw = numbers // (n * m)
        owners = numbers // m % n
        place = numbers % m
        # The places behind the growing walk are complements of its steps from the second on.
        shrinks = place >= features
        steps = torch.where(shrinks, place - features + 1, place)
        grown = ranks[draw] < steps[:, None]
        return question.masked(owners, grown ^ shrinks[:, None], rows[draw]), owners

    def use(numbers: Tensor, owners: Tensor, outputs: Tensor) -> None:
        table[numbers] = target.score(outputs, owners).to(torch.float64)

    question.ask(total, make, use, "with features removed")
    return table.view(draws, n, m).transpose(0, 1)


def _regression_adjusted(
    contributions: Tensor, total: Tensor, rounding: Tensor
) -> tuple[Tensor, Tensor]:
    """Draws (n, draws, features) to means that add up to `total` (n,), and their standard errors.

    `rounding` (n,): a spread of the draws' sums up to which nothing can be told from it.

    The regression estimator of a mean, with a draw's sum as the auxiliary variable (Cochran 1977,
    section 7.3). The slopes of all features add up to one, hence completeness.
    """
    draws, features = contributions.shape[1:]
    mean = contributions.mean(dim=1, keepdim=True)
    sums = contributions.sum(dim=2, keepdim=True)
    mean_sum = sums.mean(dim=1, keepdim=True)
    centred_sums = sums - mean_sum
    power = centred_sums.square().sum(dim=1, keepdim=True)
    products = (contributions - mean) * centred_sums
    covariance = products.sum(dim=1, keepdim=True)
    # Where all draws have the same sum, as with one row, there is nothing to adjust: what rounding
    # left of a spread is no divisor, and what it left of the sum is shared evenly.
    spread = power > draws * rounding[:, None, None].square()
    divisor = torch.where(spread, power, 1.0)
    slope = torch.where(spread, covariance / divisor, 1.0 / features)
    residuals = contributions - mean - slope * centred_sums
    # Two degrees of freedom are spent, on the mean and on the slope.
    freedom = draws - 2
    variance = residuals.square().sum(dim=1) / (freedom * draws)
    error = variance.sqrt() * widening(freedom)
    adjusted = mean + slope * (total[:, None, None] - mean_sum)
    return adjusted.squeeze(1), error
