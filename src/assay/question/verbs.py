"""How a question is asked: under masks, at points, for slopes, along paths, and with any rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Self, TypeAlias, final

import torch
from torch import Tensor

from assay.errors import AssayError, InputError
from assay.features.partition import Pooling
from assay.models.base import ABSENT
from assay.models.networks.layers import Through
from assay.models.networks.operations.interception import Interception
from assay.numerics.precision import to_input_precision
from assay.question.arguments import read_masks, read_points
from assay.question.clean_answers import Chosen, CleanAnswers
from assay.question.consistency import (
    alone_as_learnt,
    check_alone,
    check_ends,
    check_same,
    check_target,
    learn_apart,
)
from assay.question.evaluation import Make, Score, Use, finite_scores
from assay.question.generators import Generators
from assay.question.masked_rows import MaskedRows
from assay.question.validation import check_masks, check_points, check_switched
from assay.targets import Target

Way: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""A path: (input, step) indices (r,) to points (r, elements) and velocities there, None for 1."""

_TOGETHER = 8  # inputs of a block whose references are asked once


@final
class _Beside:
    """The target on what the inputs x are compared with, chunk by chunk, summed for each input."""

    def __init__(self, x: Tensor) -> None:
        self.totals = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        self._met: tuple[Tensor, Tensor] | None = None
        self._firsts: list[tuple[Tensor, Tensor, Tensor]] = []

    def see(self, owners: Tensor, scores: Sequence[Tensor]) -> None:
        """Takes the scores of a chunk, which counts once it is kept."""
        self._met = owners, scores[0].detach().clone()

    def keep(self, steps: Tensor) -> None:
        """Adds the last chunk, whose rows are of these steps (r,)."""
        if self._met is None:
            return
        owners, values = self._met
        self.totals.index_add_(0, owners, values.to(torch.float64))
        self._firsts.append((owners[:1], steps[:1], values[:1]))

    def firsts(self) -> tuple[Tensor, Tensor, Tensor]:
        """The input, step and score of the first row of each chunk."""
        owners, steps, values = zip(*self._firsts)
        return torch.cat(owners), torch.cat(steps), torch.cat(values)


class Verbs(CleanAnswers):
    """What is asked of the model, in chunks that the engine cuts."""

    @torch.inference_mode(False)
    def value(self, masks: Tensor) -> Tensor:
        """The target under masks (m, features) or (n, m, features): (n, m).

        Bool masks say what is present; float masks in [0, 1] blend the input with its replacement.
        Averaged over the removal's draws. Cost: n * m * draws rows, forward only, never all of them
        in memory.
        """
        target = self.fixed_target
        masked = self._masked_rows(masks)
        m = masked.masks_per_input
        table = torch.zeros(self.n * m, 1, dtype=torch.float64, device=self.x.device)

        def read(outputs: Tensor, owners: Tensor) -> Tensor:
            return target.score(outputs, owners).unsqueeze(1)

        masked.average(read, lambda: table)
        table = table.view(self.n, m)
        check_ends(table, masked.masks, self._prediction, self._base, self)
        return table.to(self.precision)

    @torch.inference_mode(False)
    def outputs(self, masks: Tensor, *, rounded: bool = True) -> Tensor:
        """Every output of the model under masks (m, features) or (n, m, features): (n, m, k).

        Averaged over the removal's draws, as `value`, and at the same cost. `rounded=False` leaves
        the averages in double precision, for whoever compares them.
        """
        self._check_rows_independent()
        masked = self._masked_rows(masks)
        m = masked.masks_per_input
        table: list[Tensor] = []
        types: list[torch.dtype] = []

        def read(outputs: Tensor, owners: Tensor) -> Tensor:
            types.append(outputs.dtype)
            flat = outputs.reshape(len(outputs), -1)
            # The number of outputs is known once the first of them are there.
            if not table:
                table.append(flat.new_zeros(self.n * m, flat.shape[1], dtype=torch.float64))
            return flat

        masked.average(read, lambda: table[0])
        if rounded:
            table[0] = self._evaluation.to_result_precision(table[0], types[0])
        return table[0].view(self.n, m, -1)

    def _masked_rows(self, masks: Tensor) -> MaskedRows:
        if isinstance(self.model, Through):
            raise InputError(
                expected="a method of slopes for a question through a unit",
                got="one that hides features, which sees the whole model",
                advice="Ask for the unit itself, question.upto(layer, unit), or use slopes.",
            )
        masks = read_masks(masks, self.x.device)
        masks = check_masks(masks, self.n, self.partition.count, self.x)
        check_switched(masks, self.partition, self.layout)
        self.require_removal()
        return MaskedRows(self._evaluation, masks, self.n)

    @torch.inference_mode(False)
    def score(self, at: Tensor) -> Tensor:
        """The target at any points: (n, elements) -> (n,), or (n, k, elements) -> (n, k).

        Cost: one row for each point, forward only.
        """
        at = read_points(at, self.x)
        points, steps = check_points(at, self.n, self.x.shape[1])
        target = self.fixed_target
        # Filled by number: chunks that run out of memory come again, in smaller ones.
        scores = torch.zeros(len(points), dtype=self.precision, device=at.device)

        def use(numbers: Tensor, owners: Tensor, outputs: Tensor) -> None:
            scores[numbers] = target.score(outputs, owners).to(scores.dtype)

        def make(numbers: Tensor) -> tuple[Tensor, Tensor]:
            return points[numbers], numbers // steps

        self.ask(len(points), make, use, "at a perturbed input")
        return scores.view(at.shape[:-1])

    def slope(self, at: Tensor | None = None, *, rules: Interception | None = None) -> Tensor:
        """The gradient of the target at any points, the inputs by default: the shape of `at`.

        Points are (n, elements) or (n, k, elements). With `rules` the slope of every operation of
        the forward is the one that they say. Cost: a forward and backward pass for each.
        """
        (slope,) = self.slopes((self.fixed_target,), at, rules=rules)
        return slope

    @torch.inference_mode(False)
    def slopes(
        self,
        targets: Sequence[Target],
        at: Tensor | None = None,
        *,
        rules: Interception | None = None,
    ) -> list[Tensor]:
        """The gradient of each of several targets, as `slope`.

        Targets are those of questions that differ in nothing else (`asked.fixed_target`). Cost: one
        forward pass for each point, and one backward pass for each point and target.
        """
        self._refuse_slopes()
        at = self.x if at is None else read_points(at, self.x)
        points, steps = check_points(at, self.n, self.x.shape[1])
        slopes = [torch.zeros_like(points) for _ in targets]

        def use(which: int, numbers: Tensor, owners: Tensor, chunk: Tensor) -> None:
            slopes[which][numbers] = chunk

        def make(numbers: Tensor) -> tuple[Tensor, Tensor]:
            return points[numbers], numbers // steps

        scores: list[Score] = [target.score for target in targets]
        # A forward that is heard must answer as the network does by itself.
        if rules is not None and at is self.x and targets[0] is self.fixed_target:
            scores[0] = self._compared_score()
        self._evaluation.slopes(len(points), make, scores, use, rules)
        return [to_input_precision(slope, self.x).view(at.shape) for slope in slopes]

    @torch.inference_mode(False)
    def slopes_at_inputs(
        self, asked: Sequence[Self], *, rules: Interception | None = None
    ) -> list[Tensor]:
        """The gradient of the target of each question at the inputs: (n, elements).

        The questions differ from this one in the target alone. Of a single one that was asked
        nothing yet the same forward says what is chosen on the clean inputs, and the prediction.
        Cost: a forward and backward pass for each input; with `rules` also a plain forward pass of
        a row of every chunk, and of every row where the forward may write on what others see, or
        rules hand on something else than torch's own answers.
        """
        (first, *others) = asked
        if not others and first._is_told_by_slopes(rules):
            try:
                # What a refusal leaves behind would be counted twice.
                with nullcontext() if rules is None else rules.counting():
                    return [first._choosing_slopes(rules)]
            except AssayError:
                # Asked as ever, pass by pass: answered or refused as it is then.
                if rules is not None:
                    rules.let_go_of_form()
        return self.slopes([one.fixed_target for one in asked], rules=rules)

    def _is_told_by_slopes(self, rules: Interception | None) -> bool:
        """Whether a forward of the clean inputs is left to be asked for, and slopes can ask it."""
        # Without rules a target that was chosen before needs no forward of its own.
        is_open = self._prediction is None and (self._fixed_target is None or rules is not None)
        return is_open and not self.model.minds_slopes

    def _choosing_slopes(self, rules: Interception | None, way: Way | None = None) -> Tensor:
        """The gradient at the inputs of what is chosen by the same forward: (n, elements); times the
        velocity of a `way` of one step that stays there.
        """
        learnt = None if self._rows_checked else alone_as_learnt(self._evaluation)
        if learnt is None:
            self._check_rows_independent()
        else:
            self._check_weights()
        alone = learnt or self._alone
        self._refuse_slopes()
        chosen = Chosen(self.target)
        slopes = torch.zeros_like(self.x)
        # Inputs by number whose answers are compared with plain ones, in chunks of which none was.
        left: dict[int, bool] = {}

        def look(owners: Tensor, outputs: Tensor) -> None:
            met = check_alone(self._evaluation, owners, outputs, alone)
            if learnt is not None:
                check_target(self._evaluation, self.target, owners, outputs)
            left[int(owners[0])] = not met
            chosen.look(owners, outputs)

        velocities: list[Tensor | None] = [None]

        def make(numbers: Tensor) -> tuple[Tensor, Tensor]:
            if way is None:
                return self._clean_rows(numbers)
            points, velocities[0] = way(numbers, torch.zeros_like(numbers))
            return points, numbers

        def use(which: int, numbers: Tensor, owners: Tensor, chunk: Tensor) -> None:
            chosen.keep(owners)
            velocity = velocities[0]
            slopes[numbers] = chunk if velocity is None else chunk * velocity

        generators = Generators()
        if rules is not None:
            rules.is_compared = True
        self._evaluation.slopes(self.n, make, [chosen.score], use, rules, look)
        if rules is not None and (rules.wrote_shared or rules.retold or generators.moved):
            compared = list(range(self.n))
        else:
            # Without rules the first chunk tells whether slopes change the forward.
            starts = chosen.starts if rules is not None else chosen.starts[:1]
            compared = [start for start in starts if left[start]]
        self._compare_plainly(chosen, compared)
        self._alone, self._rows_checked = alone, True
        learn_apart(self._evaluation)
        self._keep(chosen)
        return to_input_precision(slopes, self.x)

    def _compare_plainly(self, chosen: Chosen, inputs: list[int]) -> None:
        """Refuses answers of a forward for slopes that are not those of the network by itself."""
        target, values = chosen.target, chosen.values
        owners = torch.tensor(inputs, dtype=torch.int64, device=self.x.device)

        def make(numbers: Tensor) -> tuple[Tensor, Tensor]:
            return self._clean_rows(owners[numbers])

        def use(numbers: Tensor, owners: Tensor, outputs: Tensor) -> None:
            check_same(self._evaluation, target.score(outputs, owners), values[owners])

        self._evaluation.outputs(len(inputs), make, use, "on the clean inputs")

    @torch.inference_mode(False)
    def integrals_at_inputs(
        self,
        asked: Sequence[Self],
        way: Way,
        weights: Tensor,
        *,
        rules: Interception,
        squares: Sequence[Tensor] | None = None,
    ) -> list[Tensor]:
        """The line integral of the target of each question, as `integrals`, along ways that stay at
        the inputs: on each of its equally weighted steps the rules compare these with their
        replacement of that number.

        Of a single question that was asked nothing yet the same forward says the prediction where
        there is one step, and where there are several that of the replacements says the base; both
        are compared with a plain forward of a row of every chunk.
        """
        (first, *others) = asked
        if not others and len(weights) == 1 and first._is_told_by_slopes(rules):
            try:
                # What a refusal leaves behind would be counted twice.
                with rules.counting():
                    return [first._choosing_slopes(rules, way).to(torch.float64)]
            except AssayError:
                # Asked as ever, pass by pass: answered or refused as it is then.
                rules.let_go_of_form()
        targets = [one.fixed_target for one in asked]
        if others or len(weights) == 1 or first._base is not None:
            return self.integrals(targets, way, weights, squares=squares, rules=rules)
        beside = _Beside(first.x)
        generators = Generators()
        totals = first.integrals(targets, way, weights, squares=squares, rules=rules, beside=beside)
        # Where it may differ from row to row, some rows of a chunk tell nothing of the others.
        if not (rules.wrote_shared or rules.retold or generators.moved):
            first._take_base(beside, len(weights))
        return totals

    def _take_base(self, beside: _Beside, draws: int) -> None:
        """Takes the base from scores of the replacements, if some are those of plain forwards."""
        target = self.fixed_target
        owners, steps, values = beside.firsts()

        def make(numbers: Tensor) -> tuple[Tensor, Tensor]:
            rows = self._evaluation.removed_rows(owners[numbers], steps[numbers])
            return rows, owners[numbers]

        def use(numbers: Tensor, of: Tensor, outputs: Tensor) -> None:
            check_same(self._evaluation, target.score(outputs, of), values[numbers])

        self._evaluation.outputs(len(owners), make, use, ABSENT)
        base = finite_scores(beside.totals / draws, target, ABSENT)
        self._base = self._evaluation.to_result_precision(base, values.dtype)

    def _clean_rows(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        return self.x[numbers], numbers

    def integrate(
        self,
        way: Way,
        weights: Tensor,
        *,
        squares: Tensor | None = None,
        rules: Interception | None = None,
    ) -> Tensor:
        """The line integral sum_k w_k grad f(point_k) * velocity_k: (n, elements), float64.

        `squares` (n, features), where given, receives sum_k w_k p_k^2 beside it, p_k the products
        of step k pooled over what a feature owns, for standard errors. With `rules` the slopes are
        those that they say. Accumulated chunk by chunk.
        Cost: len(weights) forward and backward passes per input.
        """
        each = None if squares is None else (squares,)
        (total,) = self.integrals((self.fixed_target,), way, weights, squares=each, rules=rules)
        return total

    @torch.inference_mode(False)
    def integrals(
        self,
        targets: Sequence[Target],
        way: Way,
        weights: Tensor,
        *,
        squares: Sequence[Tensor] | None = None,
        rules: Interception | None = None,
        beside: _Beside | None = None,
    ) -> list[Tensor]:
        """The line integral of each of several targets, as `integrate`.

        Cost: len(weights) forward passes per input, and as many backward passes for each target.
        """
        self._refuse_slopes()
        steps = len(weights)
        weights = weights.to(self.x.device, torch.float64)
        shape = (self.n, self.x.shape[1])
        # In double, since hundreds of steps are added and may cancel.
        totals = [torch.zeros(shape, dtype=torch.float64, device=self.x.device) for _ in targets]
        velocities: list[Tensor | None] = [None]

        # Under rules a chunk holds few inputs at few steps each: what they share is asked once.
        block = 1 if rules is None else min(self.n, _TOGETHER)

        def place(numbers: Tensor) -> tuple[Tensor, Tensor]:
            """Inputs and steps of work numbers: step by step within a block of inputs."""
            blocks, within = numbers // (block * steps), numbers % (block * steps)
            inputs = (self.n - block * blocks).clamp_max(block)
            return block * blocks + within % inputs, within // inputs

        def make(numbers: Tensor) -> tuple[Tensor, Tensor]:
            owners, step = place(numbers)
            points, velocities[0] = way(owners, step)
            return points, owners

        def use(which: int, numbers: Tensor, owners: Tensor, slopes: Tensor) -> None:
            velocity = velocities[0]
            products = slopes.to(torch.float64)
            if velocity is not None:
                products = (slopes * velocity).to(torch.float64)
            # A chunk holds neighbours: adding them up is one product with a short, wide matrix.
            first, last = int(owners.min()), int(owners.max()) + 1
            shares = torch.zeros(
                last - first, len(numbers), dtype=torch.float64, device=owners.device
            )
            position = torch.arange(len(numbers), device=owners.device)
            shares[owners - first, position] = weights[place(numbers)[1]]
            totals[which][first:last] += shares @ products
            if squares is not None:
                pooled = self.partition.take(owners).pool(products)
                squares[which][first:last] += shares @ pooled**2
            if beside is not None:
                beside.keep(place(numbers)[1])

        scores = [target.score for target in targets]
        see = None if beside is None else beside.see
        self._evaluation.slopes(self.n * steps, make, scores, use, rules, beside=see)
        return totals

    def _compared_score(self) -> Score:
        """The target's score, which refuses a forward under rules that answers otherwise."""
        target, prediction = self.fix_target()

        def score(outputs: Tensor, owners: Tensor) -> Tensor:
            scores = target.score(outputs, owners)
            check_same(self._evaluation, scores.detach(), prediction[owners])
            return scores

        return score

    def _refuse_slopes(self) -> None:
        if bool(self.layout.categorical.any()):
            raise InputError(
                expected="inputs of numbers for slopes",
                got="categories, between which nothing lies",
                advice=(
                    "Ask behind what embeds them, question.after(embedding), or use a method that "
                    "switches features: KernelShap, PermutationShapley, Occlusion."
                ),
            )

    @torch.inference_mode(False)
    def ask(self, total: int, make: Make, use: Use, where: str = "", *, share: float = 1.0) -> None:
        """Asks any rows, forward only: what the other verbs do not cover.

        `make(numbers)` gives the rows (r, elements) that the work numbers stand for and the inputs
        they belong to (r,); `use(numbers, owners, outputs)` takes what the model says of them;
        `where` is what refusals say of the rows; `share` is the work and memory of a row, relative
        to one of a whole network with as many elements: chunks are larger where it is small. Cost:
        `total` rows.
        """
        self._check_rows_independent()
        self._evaluation.outputs(total, make, use, where, share=share)

    def pool(self, elements: Tensor, *, pooling: Pooling | None = None) -> Tensor:
        """Credit of elements (n, elements) to credit of features (n, features)."""
        return self.partition.pool(elements, pooling=pooling)
