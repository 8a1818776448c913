"""Multiplicative smoothing (MuS): a classifier averaged over keep masks, whose stability is proven.

Xue, Alur and Wong (2023), "Stability guarantees for feature attributions with multiplicative
smoothing". `noise.py` holds the masks, `votes.py` asks the base model under them, `radii.py` has
the inequalities, `claims.py` what follows for one selection; this file puts them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from assay.answers.attribution import Attribution
from assay.certificates.certificate import Certificate
from assay.certificates.claims import Inequality
from assay.certificates.noise import NoiseDesign, check_levels, kept_levels
from assay.certificates.saved.evidence import Evidence
from assay.certificates.selections import selected
from assay.certificates.smoothed_model import SmoothedModel
from assay.certificates.votes import (
    MOST_ROWS,
    PROBABILITY_UNITS,
    Ballots,
    cast_votes,
)
from assay.errors import InputError, KindError, SettingError
from assay.numerics.pieces import pieces
from assay.question.question import Question
from assay.settings import Settings, argument, has_length, shown

_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "design": ("structured", "stratified", "bernoulli"),
    "output": ("votes", "probabilities"),
    "bound": ("vote-aware", "strict"),
}


@final
@dataclass(frozen=True)
class MultiplicativeSmoothing(Settings):
    """The average of a base classifier's votes over keep masks, and certificates of it.

    f(x * a) = mean_j h(x * a * s_j), every feature kept in a share lambda = kept / levels of the
    draws s_j. Flipping one feature touches that share of the draws alone: |f(x * a) - f(x * a')| <=
    lambda |a - a'|_1 for every class, and the class stays while 2 lambda r is below the gap of the
    two largest (Xue, Alur and Wong 2023, "Stability guarantees for feature attributions with
    multiplicative smoothing"; Proposition 3.4 for the cyclic noise).

    Settings:
        kept: in how many of `levels` draws every feature is kept.
        levels: steps of the noise, and for cyclic noise the number of draws.
        design: "structured" (cyclic with random offsets, as published) or "stratified" (offsets
            spread evenly), exact in `levels` forward passes; "bernoulli": independent draws, larger
            radii that hold with a probability; or a `NoiseDesign`, such as `NoiseDesign.of(masks)`.
        seed: of the noise, which is fixed by it.
        output: "votes" of the base classifier, or its "probabilities" in [0, 1].
        bound: the inequality, "vote-aware" (never smaller) or "strict" (Lipschitz constants alone).
        draws: how many, for "bernoulli" alone.
        confidence: with which all claims of a certificate hold, for "bernoulli" alone.
        tolerance: draws whose two largest outputs differ by less than this share of the largest
            count against the claim; 1e-6 is the rounding of outputs in single precision, not of
            sums inside a network that cancel.

    Cost: `levels` (or `draws`) rows per input for the whole and as many for each selection, and one
    for the class of the model itself, forward only. Errors: SettingError for a keep rate outside
    {1/levels, ..., 1}; InputError for outputs outside [0, 1] and for empty selections; TargetError
    for a model with a single output; ModelError for a model whose rows influence each other.

    >>> import torch
    >>> question = Question(
    ...     lambda x: torch.stack([1 + 0 * x[:, 0], 2 * x[:, 7]], dim=1), torch.ones(1, 8)
    ... )
    >>> smoothing = MultiplicativeSmoothing(kept=1, levels=8)
    >>> (proof,) = smoothing.certify(question, torch.arange(8) == 0)
    >>> proof.consistent, proof.incremental, proof.decremental
    (True, 3, 2)
    """

    kept: int
    levels: int
    design: Literal["structured", "stratified", "bernoulli"] | NoiseDesign = "structured"
    seed: int = 0
    output: Literal["votes", "probabilities"] = "votes"
    bound: Literal["vote-aware", "strict"] = "vote-aware"
    draws: int = 1000
    confidence: float = 0.99
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        check_levels(self.kept, self.levels)
        # `design` may also be a NoiseDesign, which is checked below.
        for name, options in _OPTIONS.items():
            value = getattr(self, name)
            if not isinstance(value, NoiseDesign) and value not in options:
                raise SettingError(
                    expected=f"{name} to be one of {list(options)}",
                    got=repr(value),
                    advice=f"Write {name}={options[0]!r}, which is the default.",
                )
        if not 0 < self.confidence < 1 or not 0 <= self.tolerance < 1:
            raise SettingError(
                expected="0 < confidence < 1 and 0 <= tolerance < 1",
                got=f"confidence={self.confidence} and tolerance={self.tolerance}",
                advice="The defaults are confidence=0.99 and tolerance=1e-6.",
            )
        if isinstance(self.design, NoiseDesign):
            self._check_design(self.design)

    def _check_design(self, design: NoiseDesign) -> None:
        if (design.kept, design.levels) != (self.kept, self.levels):
            raise SettingError(
                expected=f"the design's own kept={design.kept} and levels={design.levels}",
                got=f"kept={self.kept} and levels={self.levels}",
                advice="Use MultiplicativeSmoothing.over(design).",
            )

    @classmethod
    def over(cls, design: NoiseDesign, **settings: Any) -> MultiplicativeSmoothing:
        """Smoothing over a fixed design: its largest keep rate is the Lipschitz constant."""
        design = argument("MultiplicativeSmoothing.over", "design", design, NoiseDesign)
        return cls(design.kept, design.levels, design, **settings)

    @classmethod
    def at(cls, share: float, levels: int = 64, **settings: Any) -> MultiplicativeSmoothing:
        """Smoothing with lambda = share, which must be a multiple of 1 / levels.

        0.29 of 100 levels is 29, never 28.
        """
        return cls(kept_levels(share, levels), levels, **settings)

    def noise(self, features: int) -> NoiseDesign:
        """The fixed noise of the smoothed classifier of so many features."""
        if isinstance(self.design, NoiseDesign):
            if self.design.features != features:
                raise InputError(
                    expected=f"noise over the question's {features} features",
                    got=f"a design over {self.design.features}",
                    advice="Build the design with one column for each feature of the question.",
                )
            return self.design
        if self.design == "bernoulli":
            return NoiseDesign.bernoulli(
                features,
                self.kept,
                self.levels,
                self.draws,
                self.seed,
            )
        if self.design == "stratified":
            return NoiseDesign.stratified(features, self.kept, self.levels, self.seed)
        return NoiseDesign.structured(features, self.kept, self.levels, self.seed)

    def smooth(self, question: Question) -> SmoothedModel:
        """The smoothed classifier as a `Model`, which any question can hold."""
        design = self.noise(question.partition.count)
        return SmoothedModel(question, design, self._scale, self.tolerance)

    def certify(self, question: Question, selection: Any) -> tuple[Certificate, ...]:
        """One certificate per input, for masks (n, features) or (features,).

        Such as `answer.top(0.25)`.
        """
        return self.certify_all(question, [selection])[0]

    def certify_all(
        self, question: Question, selections: Sequence[Any]
    ) -> tuple[tuple[Certificate, ...], ...]:
        """The certificates of several selections, one after the other.

        The votes on the whole are cast once for all.
        """
        if not has_length(selections) or len(selections) == 0:
            raise KindError(
                expected="a list of selections",
                got=shown(selections),
                advice="Write certify_all(question, [answer.top(1), answer.top(2)]).",
            )
        checked = [selected(selection, question) for selection in selections]
        masks = torch.stack(checked, dim=1)  # (n, selections, features)
        design = self.noise(question.partition.count)
        noise = torch.tensor(design.masks)
        by_input: list[tuple[Certificate, ...]] = []
        # Every input takes all draws for the whole and for each selection, and is asked without noise.
        rows_each = len(noise) * (masks.shape[1] + 1) + 1
        for piece in pieces(question.n, rows_each, MOST_ROWS):
            shard = question.part(piece.start, piece.stop)
            # Both (inputs, masks, features): what the noise leaves of the whole is the noise.
            noisy_whole = noise.expand(shard.n, -1, -1)
            noisy_selections = (masks[piece][:, :, None] & noise).flatten(1, 2)
            whole = torch.ones_like(noisy_whole[:, :1])
            # Last, so that it moves no draw from one chunk to another.
            asked = torch.cat([noisy_whole, noisy_selections, whole], dim=1)
            ballots = cast_votes(shard, asked, self._scale, self.tolerance)
            bare = ballots.largest[:, -1].tolist()
            for row, input_masks in enumerate(masks[piece]):
                single = shard.part(row, row + 1)
                by_input.append(
                    self._certificates(single, design, input_masks, ballots, row, bare[row])
                )
        # By input and selection, turned into by selection and input.
        return tuple(zip(*by_input))

    def sparsest(
        self,
        question: Question,
        attribution: Attribution,
        *,
        radius: int = 1,
        sizes: Sequence[int] | None = None,
    ) -> tuple[int | None, ...]:
        """The smallest k whose top-k selection is consistent and stable to `radius` both ways.

        One per input, None where there is no such k. Every k is tried from the smallest on, since a
        larger selection can lose the property. Cost: twice `levels` rows for each input and k.
        """
        radius = argument("sparsest", "radius", radius, int)
        sizes = argument("sparsest", "sizes", sizes, tuple[int, ...] | None)
        attribution = argument("sparsest", "attribution", attribution, Attribution)
        smallest: dict[int, int] = {}
        if sizes is None:
            sizes = range(1, question.partition.count + 1)
        for size in sizes:
            # Inputs that have their answer are asked no more.
            remaining = [row for row in range(question.n) if row not in smallest]
            if not remaining:
                break
            rows = torch.tensor(remaining, dtype=torch.int64)
            selection = attribution.top(size).cpu()[rows]
            part = question.take(rows.to(question.x.device))
            for row, proof in zip(remaining, self.certify(part, selection)):
                if _stable(proof, radius):
                    smallest[row] = size
        return tuple(smallest.get(row) for row in range(question.n))

    @property
    def _scale(self) -> int:
        """Units of a vote."""
        return 1 if self.output == "votes" else PROBABILITY_UNITS

    def _certificates(
        self,
        question: Question,
        design: NoiseDesign,
        masks: Tensor,
        ballots: Ballots,
        row: int,
        bare: int,
    ) -> tuple[Certificate, ...]:
        """The certificates of one input's selections, masks (selections, features)."""
        draws = len(design.rows)
        # Fixed noise is a finite sum, of which all is known; independent noise is sampled.
        bound: Inequality = self.bound
        confidence = 1.0
        if design.kind == "bernoulli":
            bound = "bernoulli"
            confidence = self.confidence
        evidence = Evidence.of(question)
        at_whole = ballots.votes(row, slice(0, draws))
        # The votes on the whole stand first, then selection after selection.
        parts = [slice(index * draws, (index + 1) * draws) for index in range(1, len(masks) + 1)]
        return tuple(
            Certificate(
                features=design.features,
                selection=tuple(mask.nonzero().flatten().tolist()),
                classes=ballots.classes,
                bound=bound,
                at_selection=ballots.votes(row, part),
                at_whole=at_whole,
                design=design,
                scale=self._scale,
                tolerance=self.tolerance,
                confidence=confidence,
                settings=repr(self),
                model=question.model.name,
                key=int(question.keys[0]),
                bare=bare,
                evidence=evidence,
            )
            for mask, part in zip(masks, parts)
        )


def _stable(proof: Certificate, radius: int) -> bool:
    """Whether a selection is consistent and stable both ways, as far as there are features."""
    least = min(radius, proof.room)
    smaller = min(proof.incremental, proof.decremental)
    return proof.consistent and smaller >= least
