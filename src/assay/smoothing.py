"""Multiplicative smoothing: the average of a classifier over keep masks, whose stability can be proven."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor

from assay import rng
from assay.attribution import Attribution
from assay.certificates import FINE, ROWS, Ballots, Bound, Certificate, Evidence, cast_votes
from assay.engine import Pace
from assay.errors import InputError, KindError, TargetError
from assay.layout import Rows
from assay.model import Ability, Model, digest, finite
from assay.question import Question
from assay.radii import Integers, Masks, NoiseDesign, check_levels, kept_levels, supersets

_TOGETHER = 64  # base rows of a chunk of the smoothed model: draws are added up one group after the other


@final
@dataclass(frozen=True)
class MultiplicativeSmoothing:
    """The average of a base classifier's votes over keep masks, and the certificates that follow from it.

    f(x * a) = mean_j h(x * a * s_j), every feature kept in a share lambda = kept / levels of the draws s_j. Flipping
    one feature touches that share of the draws alone: |f(x * a) - f(x * a')| <= lambda |a - a'|_1 for every class, and
    the class stays while 2 lambda r is below the gap of the two largest (Xue, Alur and Wong 2023, "Stability guarantees
    for feature attributions with multiplicative smoothing"; Proposition 3.4 for the cyclic noise).

    `design`: "structured" (cyclic with random offsets, as published) or "stratified" (offsets spread evenly), exact in
    `levels` forward passes; "bernoulli": `draws` independent draws, larger radii that hold with probability
    `confidence`; or a `NoiseDesign`, such as `NoiseDesign.of(masks)`. `output`: "votes" of the base classifier, or
    "probabilities" in [0, 1]. `bound`: "vote-aware" (never smaller) or "strict". Draws whose two largest outputs differ
    by less than `tolerance` of the largest count against the claim, so that rounding cannot break it.

    Cost: `levels` (or `draws`) rows per input for the whole and as many for each selection, forward only.
    Errors: InputError for a keep rate outside {1/levels, ..., 1}, for outputs outside [0, 1] and for empty selections;
    TargetError for a model with a single output.

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
                raise InputError(f"Expected {name} to be one of {list(options)}, got {value!r}.")
        if not 0 < self.confidence < 1 or not 0 <= self.tolerance < 1:
            raise InputError(
                f"Expected 0 < confidence < 1 and 0 <= tolerance < 1, got {self.confidence} and {self.tolerance}."
            )
        if isinstance(self.design, NoiseDesign) and (self.design.kept, self.design.levels) != (self.kept, self.levels):
            raise InputError(
                f"Expected the design's own kept={self.design.kept} and levels={self.design.levels}, got "
                f"kept={self.kept} and levels={self.levels}. Use MultiplicativeSmoothing.over(design)."
            )

    @classmethod
    def over(cls, design: NoiseDesign, **settings: Any) -> MultiplicativeSmoothing:
        """Smoothing over a fixed design: its largest keep rate is the Lipschitz constant."""
        return cls(design.kept, design.levels, design, **settings)

    @classmethod
    def at(cls, share: float, levels: int = 64, **settings: Any) -> MultiplicativeSmoothing:
        """Smoothing with lambda = share, which must be a multiple of 1 / levels: 0.29 of 100 levels is 29, never 28."""
        return cls(kept_levels(share, levels), levels, **settings)

    def noise(self, features: int) -> NoiseDesign:
        """The fixed noise of the smoothed classifier of so many features."""
        if isinstance(self.design, NoiseDesign):
            if self.design.features != features:
                raise InputError(
                    f"Expected noise over the question's {features} features, got a design over {self.design.features}."
                )
            return self.design
        if self.design == "bernoulli":
            return NoiseDesign.bernoulli(features, self.kept, self.levels, self.draws, self.seed)
        make = NoiseDesign.structured if self.design == "structured" else NoiseDesign.stratified
        return make(features, self.kept, self.levels, self.seed)

    def smooth(self, question: Question) -> SmoothedModel:
        """The smoothed classifier: a callable on masks of the first input, and a `Model` that any question can hold."""
        return SmoothedModel(question, self.noise(question.partition.count), self._scale, self.tolerance)

    def certify(self, question: Question, selection: Any) -> tuple[Certificate, ...]:
        """One certificate per input, for masks (n, features) or (features,) such as `answer.top(0.25)`."""
        return self.certify_all(question, [selection])[0]

    def certify_all(self, question: Question, selections: Sequence[Any]) -> tuple[tuple[Certificate, ...], ...]:
        """The certificates of several selections, one by one; the votes on the whole are cast once for all."""
        chosen = torch.stack([selected(each, question) for each in selections], dim=1)
        design = self.noise(question.partition.count)
        noise = torch.tensor(design.masks)
        question.part(0, 1).settle()  # refuses a model whose rows influence each other before any vote
        made: list[tuple[Certificate, ...]] = []
        for start in range(0, question.n, step := max(1, ROWS // (len(noise) * (chosen.shape[1] + 1)))):
            part, masks = question.part(start, start + step), chosen[start : start + step]
            under = (masks[:, :, None] & noise).flatten(1, 2)
            ballots = cast_votes(
                part, torch.cat([noise.expand(part.n, -1, -1), under], dim=1), self._scale, self.tolerance
            )
            for row in range(part.n):
                made.append(self._issue(part.part(row, row + 1), design, masks[row], ballots, row))
        return tuple(zip(*made))

    def sparsest(
        self, question: Question, attribution: Attribution, *, radius: int = 1, sizes: Sequence[int] | None = None
    ) -> tuple[int | None, ...]:
        """The smallest k whose top-k selection is consistent and stable to `radius` both ways, or None, per input.

        Every k is tried from the smallest on, since a larger selection can lose the property.
        Cost: twice `levels` rows for each input and k.
        """
        found: dict[int, int] = {}
        for size in sizes if sizes is not None else range(1, question.partition.count + 1):
            left = torch.tensor([row for row in range(question.n) if row not in found], dtype=torch.int64)
            if len(left) == 0:
                break
            proofs = self.certify(question.take(left.to(question.x.device)), attribution.top(size).cpu()[left])
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


def selected(selection: Any, question: Question) -> Tensor:
    """A selection as masks (n, features) of bools on the CPU, checked."""
    masks = torch.as_tensor(np.asarray(selection) if not isinstance(selection, Tensor) else selection).cpu()
    n, count = question.n, question.partition.count
    if masks.dtype != torch.bool:
        raise KindError(
            f"Expected a selection as masks of bools, got {masks.dtype}. Use answer.top(0.25), or scores > 0."
        )
    if tuple(masks.shape) not in ((count,), (n, count)):
        raise InputError(f"Expected a selection of shape ({n}, {count}) or ({count},), got {tuple(masks.shape)}.")
    masks = masks.expand(n, -1)
    if bool((~masks.any(1)).any()):
        row = int((~masks.any(1)).nonzero()[0])
        raise InputError(f"Expected at least one selected feature for every input, got none for input {row}.")
    return masks


@final
class SmoothedModel(Model):
    """A classifier averaged over the fixed noise of a design.

    Called with masks (m, features) it gives the smoothed class scores (m, classes) of the first input of its question,
    counted in whole numbers. As a `Model` it smooths any input of the same kind: every method can explain it and every
    metric can score it; probabilities can be differentiated, votes cannot. Cost: a base row per draw for each row.
    """

    def __init__(self, question: Question, design: NoiseDesign, scale: int, tolerance: float) -> None:
        self.base = question.model
        self.design = design
        self.scale = scale
        self._question = question
        self._tolerance = tolerance
        self._paces: dict[str, Pace] = {}
        self.device, self.dtype = self.base.device, self.base.dtype
        self.abilities = self.base.abilities & ({Ability.GRADIENT} if scale > 1 else set())

    @property
    def name(self) -> str:
        return f"smoothed {self.base.name}"

    def __call__(self, masks: Any) -> Tensor:
        """The smoothed class scores (m, classes) under masks (m, features), float64 in [0, 1]."""
        asked = torch.as_tensor(np.asarray(masks) if not isinstance(masks, Tensor) else masks).cpu()
        count, q = self.design.features, len(self.design.rows)
        if asked.dim() != 2 or asked.shape[1] != count or asked.dtype != torch.bool:
            raise InputError(f"Expected masks of bools of shape (m, {count}), got {asked.dtype} {tuple(asked.shape)}.")
        noise, first, sums = torch.tensor(self.design.masks), self._question.part(0, 1), []
        for chunk in torch.split(asked, max(1, ROWS // q)):
            ballots = cast_votes(first, (chunk[:, None] & noise).flatten(0, 1)[None], self.scale, self._tolerance)
            sums += [
                torch.from_numpy(ballots.votes(0, i * q, (i + 1) * q).table(ballots.classes).sum(axis=0))
                for i in range(len(chunk))
            ]
        return torch.stack(sums).to(torch.float64) / (q * self.scale)

    def call(self, rows: Rows, context: Mapping[str, Any], layout: int = 0) -> Tensor:
        present, fill = self._frozen()
        x = _flat(rows) if isinstance(rows[0], Tensor) else self._question.layout.flatten(rows[0])
        total, group = x.new_zeros(()), max(1, _TOGETHER // len(x))
        for masks in torch.split(present, group):
            made = fill(x.repeat(len(masks), 1), masks.repeat_interleave(len(x), dim=0))
            outputs = [self.base.call(self._question.layout.fold(one), context) for one in made]
            mean = finite(
                torch.stack([each.to(torch.float64) for each in outputs]).mean(0), self.base.name, "when masked"
            )
            total = total + self._scores(mean).view(len(masks), len(x), -1).sum(0)
        return total / (len(self.design.rows) * self.scale)

    def _scores(self, outputs: Tensor) -> Tensor:
        """Whole-number scores (r, classes); slopes pass through the rounding of probabilities."""
        if outputs.dim() != 2 or outputs.shape[1] < 2:
            raise TargetError(
                f"Expected scores (rows, classes >= 2) of {self.base.name} to smooth, got {tuple(outputs.shape)}."
            )
        if self.scale == 1:
            return torch.nn.functional.one_hot(outputs.argmax(1), outputs.shape[1]).to(torch.float64)
        if float(outputs.detach().min()) < -1e-6 or float(outputs.detach().max()) > 1 + 1e-6:
            raise InputError(
                f"Expected probabilities in [0, 1] of {self.base.name} to smooth. Let it end in a softmax."
            )
        scaled = outputs * self.scale
        return scaled + (scaled.round().clamp(0, self.scale) - scaled).detach()

    def _frozen(self) -> tuple[Tensor, Callable[[Tensor, Tensor], Iterator[Tensor]]]:
        """Element masks of the draws (q, elements), and what fills in rows: one batch for each draw of the removal."""
        bound = self._question.bound
        if len(bound.partition.labels) > 1 or not bound.absent.shared or bound.aligned:
            raise InputError(
                "Expected features and a removal that are the same for every input, since the smoothed model masks "
                f"inputs it has not seen, got {self._question.features!r} and {self._question.removal!r}. A "
                "segmentation or blur made anew on masked inputs certifies nothing: ask about one input, or masks."
            )
        zero = torch.zeros(1, dtype=torch.int64, device=bound.x.device)
        noise = torch.tensor(self.design.masks).to(bound.x.device)
        present = torch.cat([bound.partition.spread(row[None], zero) for row in noise])

        def fill(x: Tensor, masks: Tensor) -> Iterator[Tensor]:
            owners = zero.expand(len(x))
            for draw in range(bound.absent.draws):
                yield bound.absent.fill(x, masks, owners, torch.full_like(owners, draw))

        return present, fill

    @contextmanager
    def session(self, *, slopes: bool) -> Iterator[None]:
        with self.base.session(slopes=slopes):
            yield

    def pace(self, purpose: str) -> Pace:
        return self._paces.setdefault(purpose, Pace(limit=_TOGETHER * 4))

    def fingerprint(self) -> bytes:
        return digest(self.base.fingerprint(), repr((self.design, self.scale)).encode())


def _flat(rows: Rows) -> Tensor:
    flat = [row.reshape(len(row), -1) for row in rows]
    return flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)


@final
@dataclass(frozen=True)
class Steepness:
    """The largest ratio |f(a) - f(a')| / |a - a'|_1 found, the pair that has it, and the constant it should keep to."""

    largest: float
    constant: float
    pair: tuple[tuple[int, ...], tuple[int, ...]]
    pairs: int
    exhaustive: bool

    @property
    def holds(self) -> bool:
        """Whether no pair broke the constant (up to the rounding of sums of whole numbers)."""
        return self.largest <= self.constant + 1e-9


@final
@dataclass(frozen=True)
class LipschitzCheck:
    """The largest change per flipped feature found over mask pairs, against a constant such as lambda, for any model.

    Where all n 2^(n-1) pairs of neighbours fit in `pairs` they are all tried, which is exhaustive for a fixed
    function: the way between any two masks is made of such steps. Otherwise random neighbours. The two ends are asked
    in two calls, so that a classifier that draws new noise for every call is found out. Cost: two evaluations per
    pair.

    >>> question = Question(lambda x: torch.stack([x.sum(1) / 4, 1 - x.sum(1) / 4], dim=1), torch.ones(1, 4))
    >>> LipschitzCheck(constant=0.25).check(question).holds
    True
    """

    constant: float
    pairs: int = 2048

    def __post_init__(self) -> None:
        if self.constant < 0 or self.pairs < 1:
            raise InputError(
                f"Expected a constant from 0 on and pairs from 1 on, got {self.constant} and {self.pairs}."
            )

    def check(
        self, asked: Question | Callable[[Tensor], Tensor], *, features: int | None = None, seed: int = 0
    ) -> Steepness:
        """The check of a question's first input, or of a callable masks (m, features) -> (m, classes)."""
        score, count = _scorer(asked, features)
        exhaustive = count <= 30 and count * 2 ** (count - 1) <= self.pairs
        first, flip = _all_neighbours(count) if exhaustive else self._random(count, seed)
        second = first.copy()
        second[np.arange(len(first)), flip] ^= True
        step = [score(torch.from_numpy(masks)).to("cpu", torch.float64) for masks in (first, second)]
        change = (step[0] - step[1]).abs().amax(1)
        worst = int(change.argmax())
        pair = tuple(tuple(np.flatnonzero(masks[worst]).tolist()) for masks in (first, second))
        return Steepness(float(change[worst]), self.constant, (pair[0], pair[1]), len(first), exhaustive)

    def _random(self, count: int, seed: int) -> tuple[Masks, Integers]:
        draw = rng.shared(seed, "neighbouring masks")
        first = draw.random((self.pairs, count)) < draw.random((self.pairs, 1))
        return first, draw.integers(count, size=self.pairs)


def _scorer(
    asked: Question | Callable[[Tensor], Tensor], features: int | None
) -> tuple[Callable[[Tensor], Tensor], int]:
    if isinstance(asked, Question):
        one = asked.part(0, 1)
        return lambda masks: one.outputs(masks)[0], asked.partition.count
    count = asked.design.features if isinstance(asked, SmoothedModel) else features
    if count is None:
        raise InputError("Expected the number of features of a callable on masks: check(callable, features=n).")
    return asked, count


def _all_neighbours(count: int) -> tuple[Masks, Integers]:
    every = supersets(np.zeros(count, dtype=bool), 0, 2**count)
    row, flip = np.nonzero(~every)
    return every[row], flip
