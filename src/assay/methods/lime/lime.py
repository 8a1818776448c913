"""LIME: a linear surrogate fitted to a model in the neighbourhood of an input."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import InputError, KindError, SettingError
from assay.methods.base import Axiom, Estimate, Method
from assay.methods.lime import least_squares as sparse
from assay.methods.lime.bayesian_quadrature import smooth_fit
from assay.methods.lime.masks import CoinMasks, Masks
from assay.methods.lime.neighbourhood import Neighbourhood, Sample
from assay.methods.lime.quartiles import Quartiles
from assay.methods.lime.surrogate import Fit, Selection, fit, select
from assay.models.base import Ability
from assay.question.question import Question

_FIT_CELLS = 1 << 23  # elements of the designs that are held at once: 64 MiB


@final
@dataclass(frozen=True)
class Lime(Method):
    """The coefficients of a linear surrogate that is fitted to the model around the input.

    min over g of sum_i pi(z_i) (f(z_i) - g_0 - g . z_i)^2 + ridge |g|^2 sum_i pi(z_i)
    (Ribeiro, Singh and Guestrin 2016, equation 1)

    The neighbourhood says how z is drawn and weighted: `CoinMasks` (superpixels, patches),
    `SizeMasks` (words), `Gaussian` (around the point, on all columns or some), `Instances` (real
    rows), `Quartiles` (tables). `keep` columns are picked by forward selection, by the lasso path
    or by the highest standardised weights ("auto": forward up to six), and refitted. What is
    explained (probability, log-odds) is the question's target.

    `proxy` (with `Quartiles`): a Gaussian process is fitted to the draws, its part of the surrogate
    integrated exactly (Bayesian quadrature: O'Hagan 1991), and what it misses is added from the
    draws. A few hundred draws then tell what takes thousands alone, for seconds of arithmetic,
    where the model has structure; no error is lost where it has none.

    Cost: the neighbourhood's samples in evaluations per input (times the draws of the removal, for
    masks); `Instances` and `Quartiles` share theirs between inputs with the same target. Values:
    (n, features), per unit of input for `Gaussian` and `Instances`, in units of the target
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
                advice="",
            )
        if self.keep is not None and self.keep < 1:
            raise SettingError(
                expected="at least one column to keep",
                got=self.keep,
                advice="",
            )
        if self.selection not in ("auto", "forward", "lasso", "highest"):
            raise SettingError(
                expected="the selection 'auto', 'forward', 'lasso' or 'highest'",
                got=repr(self.selection),
                advice="",
            )
        if self.proxy and not isinstance(self.neighbourhood, Quartiles):
            raise KindError(
                expected="Quartiles(rows) for a proxy",
                got=repr(self.neighbourhood),
                advice="Leave the proxy out.",
            )
        if not self.ridge >= 0:
            raise SettingError(
                expected="a ridge of at least 0",
                got=self.ridge,
                advice="",
            )

    @property
    def kind(self) -> Kind:
        return self.neighbourhood.kind

    @property
    def axioms(self) -> frozenset[Axiom]:
        return frozenset({Axiom.LINEARITY}) if self.keep is None and not self.proxy else frozenset()

    def values(self, question: Question, seed: int) -> Estimate:
        self._enough(question)
        around = self._around()
        step = max(1, _FIT_CELLS // (around.size() * question.partition.count))
        values, errors, notes = [], [], {"r2": [], "intercept": [], "stability": []}  # type: ignore[var-annotated]
        for start in range(0, question.n, step):
            part = question.part(start, start + step) if step < question.n else question
            sample = around.sample(part, seed)
            made = self._fit(sample, seed)
            values.append(made.coefficients * sample.unit)
            errors.append(made.standard_error * sample.unit)
            for name in notes:
                notes[name].extend(getattr(made, name).tolist())
        facts: dict[str, Any] = (
            notes if self.keep is not None else {name: notes[name] for name in ("r2", "intercept")}
        )
        return Estimate(torch.cat(values), torch.cat(errors), facts)

    def _around(self) -> Neighbourhood:
        """The neighbourhood, its draws spread as suits a proxy where that was left open."""
        around = self.neighbourhood
        if not (self.proxy and isinstance(around, Quartiles)):
            return around
        return replace(around, design=around.design or "sobol")

    def _fit(self, sample: Sample, seed: int) -> Fit:
        if self.proxy and sample.cells is not None:
            return smooth_fit(sample, sample.cells, self.keep, self.selection, self.ridge, seed)
        return fit(sample, self.keep, self.selection, self.ridge, seed)

    def every_output(self, question: Question, seed: int = 0) -> Tensor:
        """The surrogates of all outputs from the same evaluations, (n, outputs, features); masks
        only.
        """
        if not isinstance(self.neighbourhood, Masks):
            raise KindError(
                expected="a neighbourhood of masks for all outputs at once",
                got=repr(self.neighbourhood),
                advice="",
            )
        self._enough(question)
        sample = self.neighbourhood.sample_outputs(question, seed)
        data = sparse.moments(sample.design, sample.weights, sample.answers)
        columns = data.moment.shape[1]
        if self.keep is None or self.keep >= columns:
            return sparse.solve(data.gram, data.moment, self.ridge).view(question.n, -1, columns)
        picked = select(data.gram, data.moment, self.keep, self.selection, self.ridge)
        some = sparse.solve(
            sparse.restrict(data.gram, picked), data.moment.gather(1, picked), self.ridge
        )
        return torch.zeros_like(data.moment).scatter_(1, picked, some).view(question.n, -1, columns)

    def _enough(self, question: Question) -> None:
        columns, samples = question.partition.count, self.neighbourhood.size()
        least = min(columns, self.keep or columns) + 2
        if samples < least and (self.ridge == 0 or self.keep is not None):
            raise InputError(
                expected=f"at least {least} samples for {least - 2} columns",
                got=samples,
                advice=(
                    "Raise the samples, keep fewer columns, use coarser features, or set a ridge."
                ),
            )
