"""Multiplicative smoothing: the average of a classifier over keep masks, whose stability can be
proven.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from assay.answers.attribution import Attribution
from assay.certificates.certificate import Bound, Certificate
from assay.certificates.evidence import Evidence
from assay.certificates.noise import NoiseDesign, check_levels, kept_levels
from assay.certificates.selections import selected
from assay.certificates.smoothed_model import SmoothedModel
from assay.certificates.votes import FINE, ROWS, Ballots, cast_votes
from assay.errors import InputError, SettingError
from assay.question.question import Question


@final
@dataclass(frozen=True)
class MultiplicativeSmoothing:
    """The average of a base classifier's votes over keep masks, and the certificates that follow
    from it.

    f(x * a) = mean_j h(x * a * s_j), every feature kept in a share lambda = kept / levels of the
    draws s_j. Flipping one feature touches that share of the draws alone: |f(x * a) - f(x * a')| <=
    lambda |a - a'|_1 for every class, and the class stays while 2 lambda r is below the gap of the
    two largest (Xue, Alur and Wong 2023, "Stability guarantees for feature attributions with
    multiplicative smoothing"; Proposition 3.4 for the cyclic noise).

    `design`: "structured" (cyclic with random offsets, as published) or "stratified" (offsets
    spread evenly), exact in `levels` forward passes; "bernoulli": `draws` independent draws, larger
    radii that hold with probability `confidence`; or a `NoiseDesign`, such as
    `NoiseDesign.of(masks)`. `output`: "votes" of the base classifier, or "probabilities" in [0, 1].
    `bound`: "vote-aware" (never smaller) or "strict". Draws whose two largest outputs differ by
    less than `tolerance` of the largest count against the claim, so that rounding cannot break it.

    Cost: `levels` (or `draws`) rows per input for the whole and as many for each selection, forward
    only. Errors: InputError for a keep rate outside {1/levels, ..., 1}, for outputs outside [0, 1]
    and for empty selections; TargetError for a model with a single output.

    >>> import torch
    >>> question = Question(lambda x: torch.stack([1 + 0 * x[:, 0], 2 * x[:, 7]], dim=1), torch.ones(1, 8))
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
        for name, options in _OPTIONS.items():
            if not isinstance(value := getattr(self, name), NoiseDesign) and value not in options:
                raise SettingError(
                    expected=f"{name} to be one of {list(options)}",
                    got=repr(value),
                    advice="",
                )
        if not 0 < self.confidence < 1 or not 0 <= self.tolerance < 1:
            raise SettingError(
                expected="0 < confidence < 1 and 0 <= tolerance < 1",
                got=f"{self.confidence} and {self.tolerance}",
                advice="",
            )
        if isinstance(self.design, NoiseDesign) and (self.design.kept, self.design.levels) != (
            self.kept,
            self.levels,
        ):
            raise SettingError(
                expected=(
                    f"the design's own kept={self.design.kept} and levels={self.design.levels}"
                ),
                got=f"kept={self.kept} and levels={self.levels}",
                advice="Use MultiplicativeSmoothing.over(design).",
            )

    @classmethod
    def over(cls, design: NoiseDesign, **settings: Any) -> MultiplicativeSmoothing:
        """Smoothing over a fixed design: its largest keep rate is the Lipschitz constant."""
        return cls(design.kept, design.levels, design, **settings)

    @classmethod
    def at(cls, share: float, levels: int = 64, **settings: Any) -> MultiplicativeSmoothing:
        """Smoothing with lambda = share, which must be a multiple of 1 / levels: 0.29 of 100 levels
        is 29, never 28.
        """
        return cls(kept_levels(share, levels), levels, **settings)

    def noise(self, features: int) -> NoiseDesign:
        """The fixed noise of the smoothed classifier of so many features."""
        if isinstance(self.design, NoiseDesign):
            if self.design.features != features:
                raise InputError(
                    expected=f"noise over the question's {features} features",
                    got=f"a design over {self.design.features}",
                    advice="",
                )
            return self.design
        if self.design == "bernoulli":
            return NoiseDesign.bernoulli(features, self.kept, self.levels, self.draws, self.seed)
        make = NoiseDesign.structured if self.design == "structured" else NoiseDesign.stratified
        return make(features, self.kept, self.levels, self.seed)

    def smooth(self, question: Question) -> SmoothedModel:
        """The smoothed classifier: a callable on masks of the first input, and a `Model` that any
        question can hold.
        """
        return SmoothedModel(
            question, self.noise(question.partition.count), self._scale, self.tolerance
        )

    def certify(self, question: Question, selection: Any) -> tuple[Certificate, ...]:
        """One certificate per input, for masks (n, features) or (features,) such as
        `answer.top(0.25)`.
        """
        return self.certify_all(question, [selection])[0]

    def certify_all(
        self, question: Question, selections: Sequence[Any]
    ) -> tuple[tuple[Certificate, ...], ...]:
        """The certificates of several selections, one by one; the votes on the whole are cast once
        for all.
        """
        chosen = torch.stack([selected(each, question) for each in selections], dim=1)
        design = self.noise(question.partition.count)
        noise = torch.tensor(design.masks)
        question.part(
            0, 1
        ).fix_target()  # refuses a model whose rows influence each other before any vote
        made: list[tuple[Certificate, ...]] = []
        for start in range(
            0, question.n, step := max(1, ROWS // (len(noise) * (chosen.shape[1] + 1)))
        ):
            part, masks = question.part(start, start + step), chosen[start : start + step]
            under = (masks[:, :, None] & noise).flatten(1, 2)
            ballots = cast_votes(
                part,
                torch.cat([noise.expand(part.n, -1, -1), under], dim=1),
                self._scale,
                self.tolerance,
            )
            for row in range(part.n):
                made.append(self._issue(part.part(row, row + 1), design, masks[row], ballots, row))
        return tuple(zip(*made))

    def sparsest(
        self,
        question: Question,
        attribution: Attribution,
        *,
        radius: int = 1,
        sizes: Sequence[int] | None = None,
    ) -> tuple[int | None, ...]:
        """The smallest k whose top-k selection is consistent and stable to `radius` both ways, or
        None, per input.

        Every k is tried from the smallest on, since a larger selection can lose the property.
        Cost: twice `levels` rows for each input and k.
        """
        found: dict[int, int] = {}
        for size in sizes if sizes is not None else range(1, question.partition.count + 1):
            left = torch.tensor(
                [row for row in range(question.n) if row not in found], dtype=torch.int64
            )
            if len(left) == 0:
                break
            proofs = self.certify(
                question.take(left.to(question.x.device)), attribution.top(size).cpu()[left]
            )
            for row, proof in zip(left.tolist(), proofs):
                enough = min(radius, proof.room)
                if proof.consistent and proof.incremental >= enough and proof.decremental >= enough:
                    found[row] = size
        return tuple(found.get(row) for row in range(question.n))

    @property
    def _scale(self) -> int:
        return 1 if self.output == "votes" else FINE

    def _issue(
        self, question: Question, design: NoiseDesign, masks: Tensor, ballots: Ballots, row: int
    ) -> tuple[Certificate, ...]:
        q, probable = len(design.rows), design.kind == "bernoulli"
        bound: Bound = "bernoulli" if probable else self.bound
        whole, evidence = ballots.votes(row, 0, q), Evidence.of(question)
        return tuple(
            Certificate(
                features=design.features,
                selection=tuple(masks[which].nonzero().flatten().tolist()),
                classes=ballots.classes,
                bound=bound,
                at_selection=ballots.votes(row, (which + 1) * q, (which + 2) * q),
                at_whole=whole,
                design=design,
                scale=self._scale,
                tolerance=self.tolerance,
                confidence=self.confidence if probable else 1.0,
                settings=repr(self),
                model=question.model.name,
                key=int(question.keys[0]),
                evidence=evidence,
            )
            for which in range(len(masks))
        )


_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "design": ("structured", "stratified", "bernoulli"),
    "output": ("votes", "probabilities"),
    "bound": ("vote-aware", "strict"),
}
