"""LIME: a linear surrogate fitted to a model in the neighbourhood of an input."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor

from assay import rng
from assay.errors import InputError, KindError
from assay.method import Axiom, Estimate, Kind, Method
from assay.methods import sparse
from assay.methods.neighbourhood import CoinMasks, Masks, Neighbourhood, Sample
from assay.model import Ability
from assay.question import Question

Selection = Literal["auto", "forward", "lasso", "highest"]

_FIT_CELLS = 1 << 23  # elements of the designs that are held at once: 64 MiB
_BLOCKS = 20  # blocks of draws that the selection's stability is resampled from
_REPEATS = 20  # resampled selections, compared in pairs


@final
@dataclass(frozen=True, eq=False)
class Fit:
    """Surrogates of some inputs: coefficients, their standard errors, columns picked (n, k), intercepts, R^2."""

    coefficients: Tensor
    standard_error: Tensor
    picked: Tensor | None
    intercept: Tensor
    r2: Tensor
    stability: Tensor


def fit(sample: Sample, keep: int | None, selection: Selection, ridge: float, seed: int) -> Fit:
    """The weighted least squares surrogate of every row of answers, on all columns or on `keep` of them.

    Standard errors are the sandwich B^-1 W B^-1 with B the weighted second moment of the centred columns and
    W = sum_i w_i^2 e_i^2 z_i z_i' over the random draws (White 1980), times m / (m - columns - 1).
    """
    data = sparse.moments(sample.design, sample.weights, sample.answers)
    columns = data.moment.shape[1]
    if keep is None or keep >= columns:
        picked, coefficients = None, sparse.solve(data.gram, data.moment, ridge)
        variance = _sandwich(sample, data, coefficients, columns)
        bread = sparse.inverse(data.gram, ridge)
        error = (bread @ variance @ bread).diagonal(dim1=-2, dim2=-1)
        stability = torch.ones_like(data.mean)
    else:
        picked = _select(data.gram, data.moment, keep, selection, ridge)
        bread = sparse.inverse(sparse.restrict(data.gram, picked), ridge)
        some = (bread @ data.moment.gather(1, picked)[..., None]).squeeze(-1)
        coefficients = torch.zeros_like(data.moment).scatter_(1, picked, some)
        variance = sparse.restrict(_sandwich(sample, data, coefficients, keep), picked)
        some_error = (bread @ variance @ bread).diagonal(dim1=-2, dim2=-1)
        error = torch.zeros_like(data.moment).scatter_(1, picked, some_error)
        stability = _stability(sample, keep, selection, ridge, seed)
    curved = (coefficients[:, None, :] @ data.gram @ coefficients[..., None]).flatten()
    left = data.power - 2 * (coefficients * data.moment).sum(dim=1) + curved
    r2 = torch.where(data.power > 0, 1 - left / data.power.clamp_min(torch.finfo(left.dtype).tiny), 1.0)
    intercept = data.mean - (data.centre * coefficients).sum(dim=1)
    return Fit(coefficients, error.clamp_min(0).sqrt(), picked, intercept, r2, stability)


def _select(gram: Tensor, moment: Tensor, keep: int, selection: Selection, ridge: float) -> Tensor:
    """The picked columns (..., keep). "auto" is forward selection up to six columns, the highest weights above."""
    if selection == "lasso":
        return sparse.lasso_path(gram, moment, keep)
    if selection == "forward" or (selection == "auto" and keep <= 6):
        return sparse.forward_selection(gram, moment, keep)
    return sparse.highest_weights(gram, moment, keep, ridge)


def _sandwich(sample: Sample, data: sparse.Moments, coefficients: Tensor, columns: int) -> Tensor:
    """The covariance (n, d, d) of the moments: what the random draws scatter around the fit."""
    share = sample.weights / sample.weights.sum(dim=1, keepdim=True)
    apart = sample.design - data.centre[:, None, :]
    fitted = coefficients @ apart[0].T if len(apart) == 1 else (apart @ coefficients[..., None]).squeeze(-1)
    left = share * (sample.answers - data.mean[:, None] - fitted)
    scores = (left[..., None] * apart)[:, sample.fixed :]
    draws, spent = scores.shape[1], columns + 1
    if sample.levels is not None and draws > 2 * (3 * sample.levels.shape[1] + 1):
        # A balanced design adds no error from main effects (Owen 1992), so they are taken out of what is left.
        scores, spent = _without_main_effects(scores, sample.levels), 3 * sample.levels.shape[1] + 1
    return scores.mT @ scores * (draws / max(1, draws - spent))


def _without_main_effects(scores: Tensor, levels: Tensor) -> Tensor:
    """Scores (n, m, d) less their mean at every level (m, columns) of every column."""
    strata = torch.nn.functional.one_hot(levels, 4).flatten(1).to(scores.dtype)
    means = strata.T @ scores / strata.sum(dim=0)[:, None].clamp_min(1)
    middle = scores.mean(dim=1, keepdim=True)
    return scores - middle - strata @ (means - middle)


def _stability(sample: Sample, keep: int, selection: Selection, ridge: float, seed: int) -> Tensor:
    """The mean Jaccard similarity (n,) of the columns that pairs of bootstrap repeats over blocks of draws pick.

    Blocks are summed up once, so that a repeat costs a Gram matrix of sums. A balanced design agrees better than this.
    """
    design, weights, answers = sample.design, sample.weights, sample.answers
    table = torch.cat([torch.ones_like(design[..., :1]), design], dim=2)
    draws = table.shape[1] - sample.fixed
    block = torch.cat([torch.zeros(sample.fixed), 1 + torch.arange(draws) % _BLOCKS]).to(design.device)
    parts = [(table[:, at], weights[:, at], answers[:, at]) for at in (block == one for one in range(_BLOCKS + 1))]
    grams = torch.stack([rows.mT @ (weight[..., None] * rows) for rows, weight, _ in parts])
    sums = torch.stack([((weight * own)[:, None] @ rows).squeeze(1) for rows, weight, own in parts])
    counts = rng.shared(seed, "lime stability").multinomial(_BLOCKS, [1 / _BLOCKS] * _BLOCKS, size=_REPEATS)
    members = torch.zeros(_REPEATS, len(answers), design.shape[2], dtype=torch.bool, device=design.device)
    for member, count in zip(members, torch.from_numpy(counts).to(design)):
        times = torch.cat([torch.ones_like(count[:1]), count])
        gram, moment = torch.tensordot(times, grams, 1), torch.tensordot(times, sums, 1)
        whole = gram[:, :1, :1]
        centre, gram, moment = gram[:, 0, 1:] / whole[:, 0], gram / whole, moment / whole[:, 0]
        apart = gram[:, 1:, 1:] - centre[:, :, None] * centre[:, None, :]
        member.scatter_(1, _select(apart, moment[:, 1:] - centre * moment[:, :1], keep, selection, ridge), True)
    one, other = members[::2], members[1::2]
    return ((one & other).sum(dim=2) / (one | other).sum(dim=2)).mean(dim=0, dtype=torch.float64)


@final
@dataclass(frozen=True)
class Lime(Method):
    """The coefficients of a linear surrogate that is fitted to the model around the input.

    min over g of sum_i pi(z_i) (f(z_i) - g_0 - g . z_i)^2 + ridge |g|^2 sum_i pi(z_i)
    (Ribeiro, Singh and Guestrin 2016, equation 1)

    The neighbourhood says how z is drawn and weighted: `CoinMasks` (superpixels, patches), `SizeMasks` (words),
    `Gaussian` (around the point, on all columns or some), `Instances` (real rows), `Quartiles` (tables). `keep` columns
    are picked by forward selection, by the lasso path or by the highest standardised weights ("auto": forward up to
    six), and refitted. What is explained (probability, log-odds) is the question's target.

    Cost: the neighbourhood's samples in evaluations per input (times the draws of the removal, for masks); `Instances`
    and `Quartiles` share theirs between inputs with the same target. Values: (n, features), per unit of input for
    `Gaussian` and `Instances`, in units of the target otherwise; sandwich standard errors (given the columns picked; 0
    for the others). Facts: `r2`, `intercept`, and with `keep` the `stability`, the expected Jaccard similarity of the
    columns that two repeats with other seeds would pick; one number per input. Errors: InputError where there are too
    few samples for the columns, or inputs that the neighbourhood cannot move.

    >>> from assay import Question
    >>> question = Question(lambda x: 2 * x[:, 0] - x[:, 1], torch.tensor([[1.0, 3.0]]))
    >>> Lime()(question).values.round(decimals=4)
    tensor([[ 2., -3.]])
    """

    neighbourhood: Neighbourhood = field(default_factory=CoinMasks)
    keep: int | None = None
    selection: Selection = "auto"
    ridge: float = 0.0

    needs: ClassVar[frozenset[Ability]] = frozenset()
    kind: ClassVar[Kind] = Kind.CONTRIBUTION
    axioms: ClassVar[frozenset[Axiom]] = frozenset()
    cost: ClassVar[str] = "samples"

    def __post_init__(self) -> None:
        if not isinstance(self.neighbourhood, Neighbourhood):
            raise KindError(
                "Expected a neighbourhood such as CoinMasks(), Gaussian() or Quartiles(rows), "
                f"got {type(self.neighbourhood).__name__}."
            )
        if self.keep is not None and self.keep < 1:
            raise InputError(f"Expected at least one column to keep, got {self.keep}.")
        if self.selection not in ("auto", "forward", "lasso", "highest"):
            raise InputError(f"Expected the selection 'auto', 'forward', 'lasso' or 'highest', got {self.selection!r}.")
        if not self.ridge >= 0:
            raise InputError(f"Expected a ridge of at least 0, got {self.ridge}.")

    @property
    def unit(self) -> Kind:
        return self.neighbourhood.kind

    @property
    def promises(self) -> frozenset[Axiom]:
        return self.axioms | {Axiom.LINEARITY} if self.keep is None else self.axioms

    def values(self, question: Question, seed: int) -> Estimate:
        self._enough(question)
        step = max(1, _FIT_CELLS // (self.neighbourhood.size() * question.partition.count))
        values, errors, notes = [], [], {"r2": [], "intercept": [], "stability": []}  # type: ignore[var-annotated]
        for start in range(0, question.n, step):
            part = question.part(start, start + step) if step < question.n else question
            sample = self.neighbourhood.sample(part, seed)
            made = fit(sample, self.keep, self.selection, self.ridge, seed)
            values.append(made.coefficients * sample.unit)
            errors.append(made.standard_error * sample.unit)
            for name in notes:
                notes[name].extend(getattr(made, name).tolist())
        facts: dict[str, Any] = notes if self.keep is not None else {name: notes[name] for name in ("r2", "intercept")}
        return Estimate(torch.cat(values), torch.cat(errors), facts)

    def every_output(self, question: Question, seed: int = 0) -> Tensor:
        """The surrogates of all outputs from the same evaluations, (n, outputs, features); masks only."""
        if not isinstance(self.neighbourhood, Masks):
            raise KindError(f"Expected a neighbourhood of masks for all outputs at once, got {self.neighbourhood!r}.")
        self._enough(question)
        sample = self.neighbourhood.sample_outputs(question, seed)
        data = sparse.moments(sample.design, sample.weights, sample.answers)
        columns = data.moment.shape[1]
        if self.keep is None or self.keep >= columns:
            return sparse.solve(data.gram, data.moment, self.ridge).view(question.n, -1, columns)
        picked = _select(data.gram, data.moment, self.keep, self.selection, self.ridge)
        some = sparse.solve(sparse.restrict(data.gram, picked), data.moment.gather(1, picked), self.ridge)
        return torch.zeros_like(data.moment).scatter_(1, picked, some).view(question.n, -1, columns)

    def _enough(self, question: Question) -> None:
        columns, samples = question.partition.count, self.neighbourhood.size()
        least = min(columns, self.keep or columns) + 2
        if samples < least and (self.ridge == 0 or self.keep is not None):
            raise InputError(
                f"Expected at least {least} samples for {least - 2} columns, got {samples}. "
                "Raise the samples, keep fewer columns, use coarser features, or set a ridge."
            )
