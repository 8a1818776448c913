"""Lipschitz check: how steep a model is between masks that differ in one feature.

Multiplicative smoothing promises |f(a) - f(a')| <= lambda |a - a'|_1 for every class. A way between
any two masks is made of single flips, so that neighbours decide the constant. What breaks it is
noise drawn anew for every call, under which no certificate is true.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from assay.certificates.noise import Integers, Masks
from assay.certificates.smoothed_model import SmoothedModel
from assay.certificates.supersets import subsets
from assay.errors import InputError, KindError, SettingError
from assay.numerics import rng
from assay.question.question import Question
from assay.settings import Settings, argument, checked_seed, shown

ScoreMasks: TypeAlias = Callable[[Tensor], Tensor]
"""Masks (m, features) to class scores (m, classes)."""

_MOST_LISTED = 30  # features above which n 2^(n-1) pairs are not worth counting

_ROUNDING = 1e-9  # of averages of whole numbers in double precision, generously


@final
@dataclass(frozen=True)
class Steepness:
    """The largest ratio |f(a) - f(a')| / |a - a'|_1 found, and the pair of masks that has it.

    `constant` is what the ratio should keep to, `pairs` how many were tried.
    """

    largest: float
    constant: float
    pair: tuple[tuple[int, ...], tuple[int, ...]]  # the features of both masks
    pairs: int
    exhaustive: bool  # whether all neighbours there are were tried

    @property
    def holds(self) -> bool:
        """Whether no pair broke the constant (up to the rounding of sums of whole numbers)."""
        return self.largest <= self.constant + _ROUNDING


@final
@dataclass(frozen=True)
class LipschitzCheck(Settings):
    """The largest change per flipped feature over pairs of masks, against a constant.

    Where all n 2^(n-1) pairs of neighbours fit in `pairs` they are all tried, which is exhaustive
    for a fixed function: the way between any two masks is made of such steps. Otherwise random
    neighbours. The two ends are asked in two calls, so that a classifier that draws new noise for
    every call is found out.

    Settings:
        constant: the change per feature that is allowed, such as lambda.
        pairs: the most pairs of masks that are tried.

    Cost: two evaluations per pair.

    >>> question = Question(
    ...     lambda x: torch.stack([x.sum(1) / 4, 1 - x.sum(1) / 4], dim=1), torch.ones(1, 4)
    ... )
    >>> LipschitzCheck(constant=0.25).check(question).holds
    True
    """

    constant: float
    pairs: int = 2048

    def __post_init__(self) -> None:
        if self.constant < 0 or self.pairs < 1:
            raise SettingError(
                expected="a constant from 0 on and pairs from 1 on",
                got=f"constant={self.constant} and pairs={self.pairs}",
                advice="Such as LipschitzCheck(constant=kept / levels).",
            )

    def check(
        self,
        model: Question | SmoothedModel | ScoreMasks,
        *,
        features: int | None = None,
        seed: int = 0,
    ) -> Steepness:
        """The check of a question's first input, of a smoothed model, or of a callable.

        A callable takes masks (m, features) to (m, classes), and needs `features`.
        """
        seed = checked_seed(seed, "LipschitzCheck")
        score, count = _scores_of_masks(model, features)
        # n 2^(n-1) edges of the cube of masks.
        exhaustive = count <= _MOST_LISTED and count * 2 ** (count - 1) <= self.pairs
        masks, flips = _all_neighbours(count) if exhaustive else self._random(count, seed)
        neighbours = masks.copy()
        neighbours[np.arange(len(masks)), flips] ^= True
        # Two calls, one for each end: see above.
        scores = score(torch.from_numpy(masks)).to("cpu", torch.float64)
        flipped = score(torch.from_numpy(neighbours)).to("cpu", torch.float64)
        # The promise is for every class: the one that changes most decides.
        change = (scores - flipped).abs().amax(1)
        steepest = int(change.argmax())
        return Steepness(
            largest=float(change[steepest]),
            constant=self.constant,
            pair=(_members(masks[steepest]), _members(neighbours[steepest])),
            pairs=len(masks),
            exhaustive=exhaustive,
        )

    def _random(self, count: int, seed: int) -> tuple[Masks, Integers]:
        """Random masks of all sizes (pairs, count), and the feature flipped in each (pairs,)."""
        draw = rng.shared(seed, "neighbouring masks")
        # A keep rate of its own for each mask, so that small and large ones come.
        masks = draw.random((self.pairs, count)) < draw.random((self.pairs, 1))
        return masks, draw.integers(count, size=self.pairs)


def _scores_of_masks(
    model: Question | SmoothedModel | ScoreMasks, features: int | None
) -> tuple[ScoreMasks, int]:
    """What gives the scores of masks, and the number of features."""
    if isinstance(model, Question):
        single = model.part(0, 1)
        # Not rounded: changes are differences of outputs.
        return lambda masks: single.outputs(masks, rounded=False)[0], single.partition.count
    if isinstance(model, SmoothedModel):
        return model.scores, model.design.features
    if not callable(model):
        raise KindError(
            expected="a Question, a smoothed model or a function of masks",
            got=shown(model),
            advice="Such as check(question), or check(lambda masks: scores, features=4).",
        )
    if features is None:
        raise InputError(
            expected="the number of features of a callable on masks",
            got="none",
            advice="Write check(callable, features=n).",
        )
    count = argument("check", "features", features, int)
    if count < 1:
        raise InputError(
            expected="a function of masks over at least one feature",
            got=count,
            advice="Write check(callable, features=n).",
        )
    return _scored(model), count


def _scored(score: ScoreMasks) -> ScoreMasks:
    """The function, whose own failures and shapes are refused by name."""

    def scores(masks: Tensor) -> Tensor:
        try:
            found: Tensor = torch.as_tensor(score(masks))
        except (TypeError, ValueError, RuntimeError, LookupError, AttributeError) as error:
            raise InputError(
                expected=f"a function that scores masks of shape {tuple(masks.shape)}",
                got=f"{type(error).__name__}: {error}",
                advice="It takes masks (m, features) of bools, and gives scores (m, classes).",
            ) from error
        if found.dim() != 2 or len(found) != len(masks):
            raise InputError(
                expected=f"scores ({len(masks)}, classes) of a function of masks",
                got=tuple(found.shape),
                advice="It takes masks (m, features) of bools, and gives scores (m, classes).",
            )
        return found

    return scores


def _all_neighbours(count: int) -> tuple[Masks, Integers]:
    """Every mask once with each feature it lacks, and that feature."""
    masks = subsets(count)
    rows, flips = np.nonzero(~masks)
    return masks[rows], flips


def _members(mask: Masks) -> tuple[int, ...]:
    return tuple(np.flatnonzero(mask).tolist())
