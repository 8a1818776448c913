"""LIME: a linear surrogate fitted to a model in the neighbourhood of an input.

Ribeiro, Singh and Guestrin (2016), "Why should I trust you? Explaining the predictions of any
classifier". Three decisions stand in three places: where to look (`neighbourhood.py`), how to fit
(`surrogate.py`, `least_squares.py`), and whether a Gaussian process helps to integrate
(`bayesian_quadrature.py`, behind the setting `proxy`). This file is the method that joins them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, final, get_args

import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import InputError, KindError, SettingError
from assay.methods.base import Axiom, Estimate, Method
from assay.methods.lime.bayesian_quadrature import QuadratureMoments
from assay.methods.lime.few_draws import fit_few_draws, suits
from assay.methods.lime.masks import CoinMasks, Masks
from assay.methods.lime.neighbourhood import Neighbourhood, Sample
from assay.methods.lime.quartiles import Quartiles
from assay.methods.lime.surrogate import (
    DrawMoments,
    Selection,
    Selector,
    Surrogate,
    fit,
)
from assay.numerics.pieces import pieces
from assay.question.question import Question

_FIT_CELLS = 1 << 23  # numbers of the designs that are held at once: 64 MiB in float64


@final
@dataclass(frozen=True)
class Lime(Method):
    """The coefficients of a linear surrogate that is fitted to the model around the input.

    min over g of sum_i pi(z_i) (f(z_i) - g_0 - g . z_i)^2 + ridge |g|^2 sum_i pi(z_i)
    (Ribeiro, Singh and Guestrin 2016, equation 1)

    What is explained (probability, log-odds) is the question's target.

    Settings:
        neighbourhood: how z is drawn and weighted. `CoinMasks` (superpixels, patches; the default),
            `SizeMasks` (words), `Quartiles` (tables), `Gaussian` (around the point, on all columns
            or some), `Instances` (real rows).
        keep: how many columns have a coefficient, all by default; they are refitted alone.
        selection: how they are picked. "forward" selection, the "lasso" path, the "highest"
            standardised weights, or "auto": forward up to six, highest above, as in the original.
        ridge: penalty, relative to weights that sum to one; 0 by default, plain least squares.
        proxy: with `Quartiles`, integrates a Gaussian process that is fitted to the draws exactly
            (Bayesian quadrature: O'Hagan 1991), and adds what it misses from the draws. A few
            hundred draws then tell what takes thousands alone, for seconds of arithmetic, where the
            model has structure; no error is lost where it has none. Off by default.

    Cost: the neighbourhood's samples in evaluations per input (times the draws of the removal, for
    masks); `Instances` and `Quartiles` share theirs between inputs with the same target, and
    neighbourhoods of masks between all outputs (`for_outputs`).

    Values: (n, features), per unit of input for `Gaussian` and `Instances`, in units of the target
    otherwise; sandwich standard errors (given the columns picked; 0 for the others). Facts: `r2`,
    `intercept`, and with `keep` the `stability`, the expected Jaccard similarity of the columns
    that two repeats with other seeds would pick; one number per input. Errors: InputError where
    there are too few samples for the columns, or inputs that the neighbourhood cannot move.

    >>> from assay import Question
    >>> question = Question(lambda x: 2 * x[:, 0] - x[:, 1], torch.tensor([[1.0, 3.0]]))
    >>> Lime()(question).values.round(decimals=4)
    tensor([[ 2., -3.]])
    """

    neighbourhood: Neighbourhood = field(default_factory=CoinMasks)
    keep: int | None = None
    selection: Selection = "auto"
    ridge: float = 0.0
    proxy: bool = False

    cost: ClassVar[str] = "samples"

    def __post_init__(self) -> None:
        if not isinstance(self.neighbourhood, Neighbourhood):
            raise KindError(
                expected="a neighbourhood such as CoinMasks(), Gaussian() or Quartiles(rows)",
                got=type(self.neighbourhood).__name__,
                advice="A number of samples is a setting of the neighbourhood: CoinMasks(1000).",
            )
        if self.keep is not None and self.keep < 1:
            raise SettingError(
                expected="at least one column to keep",
                got=self.keep,
                advice="Leave it out to keep all of them.",
            )
        if self.selection not in get_args(Selection):
            raise SettingError(
                expected="the selection 'auto', 'forward', 'lasso' or 'highest'",
                got=repr(self.selection),
                advice="Leave it out: 'auto' is what the original does.",
            )
        if self.proxy and not isinstance(self.neighbourhood, Quartiles):
            raise KindError(
                expected="Quartiles(rows) for a proxy",
                got=repr(self.neighbourhood),
                advice="Leave the proxy out.",
            )
        if not 0 <= self.ridge < math.inf:
            raise SettingError(
                expected="a ridge of at least 0, and finite",
                got=self.ridge,
                advice="0 is plain least squares; 0.01 is mild for answers and columns of scale one.",
            )

    @property
    def kind(self) -> Kind:
        return self.neighbourhood.kind

    @property
    def axioms(self) -> frozenset[Axiom]:
        # Selections, and the hyperparameters of
        # a proxy, are not linear in the model.
        if self.keep is None and not self.proxy:
            return frozenset({Axiom.LINEARITY})
        return frozenset()

    def players(self, question: Question) -> Tensor | None:
        # Neighbourhoods of points move what masks cannot.
        if not isinstance(self.neighbourhood, Masks):
            return None
        return question.changeable_features()

    def without_players(self, question: Question) -> Estimate:
        """A constant: the intercept, which explains all there is."""
        ones = [1.0] * question.n
        notes = {"r2": ones, "intercept": question.prediction.tolist()}
        if self.keep is not None:
            notes["stability"] = ones
        return replace(super().without_players(question), notes=notes)

    def rows_each(self, question: Question, players: int) -> int:
        neighbourhood = self._neighbourhood()
        switched = isinstance(neighbourhood, Masks)
        return neighbourhood.size() * (question.replacements if switched else 1)

    def values(self, question: Question, seed: int) -> Estimate:
        self._require_samples(question)
        neighbourhood = self._neighbourhood()
        # A design may be every input's own: it has a number for each draw and column.
        cells_each = neighbourhood.size() * question.partition.count
        estimates = []
        for part in _parts(question, cells_each):
            sample = neighbourhood.sample(part, seed).without_constants()
            estimates.append(self._estimate(sample, seed))
        return _joined(estimates)

    def per_output(self, questions: Sequence[Question], seed: int) -> Sequence[Tensor | Estimate]:
        """One surrogate for each output; with masks, all from the same model evaluations."""
        masks = self.neighbourhood
        if not isinstance(masks, Masks):
            return super().per_output(questions, seed)
        self._require_samples(questions[0])
        table = masks.table(questions[0], seed)
        columns = [question.column or 0 for question in questions]
        # Every output of the model is answered, and held, for every mask.
        outputs = 1 + max(columns)
        numbers_each = max(outputs, questions[0].partition.count)
        cells_each = masks.size() * numbers_each
        estimates: list[list[Estimate]] = [[] for _ in questions]
        streams = [_parts(question, cells_each) for question in questions]
        for parts in zip(*streams):
            answers = parts[0].outputs(table.masks)
            # Fitted one output at a time, as if it had been asked
            # alone: its numbers are the same, and the error bars, which
            # cost as much as a Gram matrix, are its own in any case.
            for per_question, part, column in zip(estimates, parts, columns):
                sample = table.sample(part.prediction, answers[:, :, column])
                per_question.append(self._estimate(sample, seed))
        return [_joined(per_question) for per_question in estimates]

    def _neighbourhood(self) -> Neighbourhood:
        """The neighbourhood, its draws spread as suits a proxy where that was left open."""
        neighbourhood = self.neighbourhood
        if self.proxy and isinstance(neighbourhood, Quartiles):
            return replace(neighbourhood, design=neighbourhood.design or "sobol")
        return neighbourhood

    def _estimate(self, sample: Sample, seed: int) -> Estimate:
        surrogate = self._surrogate(sample, seed)
        notes = {
            "r2": surrogate.r2.tolist(),
            "intercept": surrogate.intercept.tolist(),
        }
        if self.keep is not None:
            notes["stability"] = surrogate.stability.tolist()
        return Estimate(
            values=surrogate.coefficients * sample.unit,
            standard_error=surrogate.standard_error * sample.unit,
            notes=notes,
        )

    def _surrogate(self, sample: Sample, seed: int) -> Surrogate:
        selector = Selector(self.keep, self.selection, self.ridge)
        if self.proxy and sample.cells is not None:
            return fit(QuadratureMoments.of(sample, sample.cells, seed), selector)
        # The same columns in another order of work: only time and memory hang on it.
        if suits(sample, selector):
            return fit_few_draws(sample, selector, seed)
        return fit(DrawMoments.of(sample, seed), selector)

    def _require_samples(self, question: Question) -> None:
        columns = question.partition.count
        kept = min(columns, self.keep or columns)
        # The intercept, and one draw more for a residual.
        least = kept + 2
        determined = self.neighbourhood.size() >= least
        # A ridge makes up for missing draws, but
        # there is none while columns are selected.
        ridge_alone = self.ridge > 0 and self.keep is None
        if not determined and not ridge_alone:
            raise InputError(
                expected=f"at least {least} samples for {kept} columns",
                got=self.neighbourhood.size(),
                advice=(
                    "Raise the samples, keep fewer columns, use coarser features, or set a ridge."
                ),
            )


def _parts(question: Question, cells_each: int) -> Iterator[Question]:
    """The question in parts whose designs fit in memory, where all of it does not."""
    for piece in pieces(question.n, cells_each, _FIT_CELLS):
        # A question that is whole keeps what it has been asked so far.
        whole = piece.stop - piece.start == question.n
        yield question if whole else question.part(piece.start, piece.stop)


def _joined(estimates: Iterable[Estimate]) -> Estimate:
    """The estimates of the parts of a question, one after the other."""
    values = []
    errors = []
    notes: dict[str, list[float]] = {}
    for estimate in estimates:
        values.append(estimate.values)
        if estimate.standard_error is not None:
            errors.append(estimate.standard_error)
        for name, numbers in estimate.notes.items():
            notes.setdefault(name, []).extend(numbers)
    return Estimate(torch.cat(values), torch.cat(errors), notes)
