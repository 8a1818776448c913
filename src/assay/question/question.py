"""The one noun that everyone touches: a model, inputs, a target, features and a removal.

A question is asked in six ways: under masks (`value`, `outputs`), at points (`score`), for slopes
(`slope`), along paths (`integrate`), and, for what none of these covers, with any rows at all
(`ask`). Every way first checks that rows do not influence each other and that the target fits, once
for a question. Everything inside works on flat rows; the inputs' shapes matter at the door and
nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError, ModelError, TargetError
from assay.features.elements import Elements
from assay.features.partition import Features, Partition, Pooling
from assay.inputs.layout import Context, Layout
from assay.inputs.tensors import TensorLayout
from assay.models.base import Model
from assay.models.black_box import Function
from assay.models.networks.layers import After, Through
from assay.models.networks.operations.interception import Interception
from assay.models.wrapping import wrap
from assay.numerics.precision import to_input_precision
from assay.question.arguments import mask_of, read_columns, read_masks, read_points, read_rows
from assay.question.evaluation import (
    NOTHING_ASKED,
    Evaluation,
    Make,
    Score,
    Use,
    check_ends,
    finite_scores,
)
from assay.question.layers import BehindLayer
from assay.question.masked_rows import MaskedRows
from assay.question.players import changeable_features, existing_features, on_players
from assay.question.validation import (
    admitting,
    arrays_of,
    by_argument,
    check_finite,
    check_masks,
    check_points,
    check_replacements,
    check_switched,
    check_truth,
    index_of,
    read_inputs,
    require_type,
    rows_of,
    split_context,
)
from assay.removals.base import FixedAbsent, Removal
from assay.removals.fixed import Background
from assay.removals.unstated import UnstatedAbsent
from assay.targets import (
    Label,
    LayerPart,
    Neuron,
    Output,
    Outputs,
    Part,
    Predicted,
    Target,
    as_target,
)

Way: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""A path: (input, step) indices (r,) to points (r, elements) and velocities there, None for 1."""

_TOGETHER = 8  # inputs of a block whose references are asked once
_SHARD = 1 << 20  # elements of a shard: what a method holds for one stays in tens of megabytes


@final
class Question:
    """What is asked of a model about some inputs.

    Settings:
        model: any predictor, or what `wrap` made of it.
        inputs: a tensor, an array, a DataFrame, texts, or several tensors that share dimension 0,
            as a tuple, or as a mapping from the names of the model's arguments.
        target: which number is explained: an output by its number, a class by its label, or any
            target. Where nothing is said, the second of two classes whose labels are known (the
            positive class of an estimator), else the predicted class of each input.
        features: who receives credit; every element where nothing is said.
        removal: what an absent feature is replaced by. Where nothing is said it is the model's
            background (`wrap(model, background=rows)`), else zeros; a table with categories or
            dates, in which 0 means nothing, asks for one.
        truth: what is known of the inputs, one entry each, for metrics that compare with it.
        context: what is not attributed (attention masks, lengths, constant matrices): a mapping
            from the model's argument names to `Aligned(tensor)`, one row per input, or
            `Shared(value)`.

    Inside, `x` is (n, elements).

    >>> import torch
    >>> question = Question(torch.nn.Linear(3, 2), torch.ones(4, 3), target=0)
    >>> question.value(torch.tensor([[True, True, False]])).shape
    torch.Size([4, 1])
    """

    index: tuple[Any, ...] | None

    @torch.inference_mode(False)
    def __init__(
        self,
        model: Any,
        inputs: Any,
        target: Any = None,
        features: Features | None = None,
        removal: Removal | None = None,
        truth: Any = None,
        *,
        context: Context | None = None,
    ) -> None:
        model = wrap(model)
        # Said once of the model: what absent means where a question does not say it.
        if removal is None and model.background is not None:
            removal = Background(model.background)
        context = {} if context is None else context
        raw = inputs
        model, inputs = by_argument(model, inputs, context)
        # A plain function is called with the kind of array that was handed in.
        if isinstance(model, Function):
            model = model.reading(inputs)
        target = _by_default(model) if target is None else as_target(target)
        # A neuron is an output of the network that stops at its layer.
        target, layer = target.at_layer()
        if layer is not None:
            model = _stopped(model, layer)
        known = Outputs(model.classes, model.probabilities, model.name)
        target = target.told(known)
        layout, self.features, self.removal = read_inputs(inputs, features, removal, model)
        x = check_finite(layout.flatten(inputs), model)
        aligned, shared = split_context(context, len(x), model.device)
        absent = self.removal.bind(layout, x, lambda: layout.identities(x))
        evaluation = Evaluation(
            model=model,
            layout=admitting(layout, absent, x),
            x=x,
            partition=self.features.bind(layout, x),
            absent=check_replacements(absent, model),
            aligned=aligned,
            shared=shared,
        )
        if isinstance(model, Function):
            model.asked_about(evaluation.sample, arrays_of(inputs, context))
        self._fill(evaluation, len(x), target.sized(len(x)), check_truth(truth, len(x)))
        self._known = known
        self.index = index_of(raw)

    def _fill(self, source: Evaluation | BehindLayer, n: int, target: Target, truth: Any) -> None:
        self._source = source
        self.n = n
        self.target = target
        self.truth = truth
        self.notes: tuple[str, ...] = ()
        self.column: int | None = None
        # What the caller counts the inputs by, where that is not 0, 1, 2, ...
        self.index = None
        self._known = Outputs()
        # Behind a layer the removal is one of the inputs before it, unless the layer has its own.
        self._removes_inputs = not isinstance(source, BehindLayer) or source.removal is not None
        # What has been asked of the model so far, each at most once.
        self._rows_checked = False
        self._alone = NOTHING_ASKED
        self._precision: torch.dtype | None = None
        self._weights_version: Any = None
        self._keys: Tensor | None = None
        self._digest: str | None = None
        self._fixed_target: Target | None = None
        self._prediction: Tensor | None = None
        self._base: Tensor | None = None

    def _derived(
        self, source: Evaluation | BehindLayer, n: int, target: Target, truth: Any
    ) -> Question:
        derived = object.__new__(Question)
        derived.features = self.features
        derived.removal = self.removal
        derived._fill(source, n, target, truth)
        derived.notes = self.notes
        derived.column = self.column
        derived.index = self.index if n == self.n else None
        derived._known = self._known
        derived._removes_inputs = derived._removes_inputs and self._removes_inputs
        # The same model asked about the same inputs need not be checked twice.
        derived._rows_checked = self._rows_checked
        derived._weights_version = self._weights_version
        derived._precision = self.precision if self._prediction is not None else self._precision
        return derived

    # --- what it holds

    @cached_property
    def _evaluation(self) -> Evaluation:
        """The inputs bound to the model; activations behind a layer are computed here, once."""
        return self._source.evaluation()

    @property
    def model(self) -> Model:
        """The model that is asked."""
        return self._source.model

    @property
    def layout(self) -> Layout:
        """How flat rows fold back into what the model takes."""
        return self._source.layout

    @property
    def partition(self) -> Partition:
        """Who receives credit."""
        return self._evaluation.partition

    @property
    def x(self) -> Tensor:
        """The inputs as flat rows (n, elements)."""
        return self._evaluation.x

    @property
    def keys(self) -> Tensor:
        """Each input's identity (n,), hashed from its bytes; behind a layer, that of its input."""
        if self._keys is None:
            self._keys = self._source.identities()
        return self._keys

    @property
    def digest(self) -> str:
        """A hash of the whole question: model, inputs, target, features, removal."""
        # Once: what is asked of a question later is asked of the model that was asked first.
        if self._digest is None:
            parts = (self.keys, self.target, self.features, self.removal)
            self._digest = self._source.digest(*parts)
        return self._digest

    @property
    def has_context(self) -> bool:
        """Whether the model takes anything beside the inputs."""
        return bool(self._evaluation.aligned or self._evaluation.shared)

    @property
    def has_aligned_context(self) -> bool:
        """Whether inputs carry something of their own beside them."""
        return bool(self._evaluation.aligned)

    # --- what absent means

    @property
    def replacements(self) -> int:
        """How many replacements the removal has for each input; values are averaged over them."""
        source = self._source
        # Behind a layer there are as many as before it, which is known without computing them.
        if isinstance(source, BehindLayer) and source.replacements is not None:
            return source.replacements
        return self._evaluation.absent.draws

    @property
    def fixed_replacements(self) -> Tensor | None:
        """The replacements (1 or n, draws, elements), or None where they depend on the mask."""
        absent = self._evaluation.absent
        if isinstance(absent, FixedAbsent):
            return absent.rows
        return None

    @property
    def is_behind_layer(self) -> bool:
        """Whether it is asked of the rest of a network, about activations."""
        return isinstance(self.model, After)

    def last_layer_with_places(self) -> str:
        """The last layer of the network whose output has places, (channels, height, width).

        Found in a forward of the first input.
        """
        self._check_rows_independent()
        model = self._evaluation.model
        with model.session(slopes=False):
            return model.last_layer_with_places(*self._evaluation.sample())

    @property
    def says_what_absent_means(self) -> bool:
        """Whether there is a removal: a table with categories has none by default."""
        source = self._source
        if isinstance(source, BehindLayer):
            return True
        return not isinstance(source.absent, UnstatedAbsent)

    def removed(self, rows: Tensor, draws: Tensor) -> Tensor:
        """The inputs `rows` (r,) with every feature removed, under replacements `draws` (r,)."""
        return self._evaluation.removed_rows(rows, draws)

    def masked(self, rows: Tensor, masks: Tensor, draws: Tensor) -> Tensor:
        """The inputs `rows` (r,), each under its mask (r, features) and replacement (r,)."""
        return self._evaluation.masked_rows(rows, masks, draws)

    @property
    def absent(self) -> Tensor:
        """The inputs with everything removed (n, elements), where there is one replacement each."""
        self.require_one_replacement()
        rows = torch.arange(self.n, device=self.x.device)
        return self.removed(rows, torch.zeros_like(rows))

    def require_one_replacement(self) -> None:
        """Refuses, before any work, a removal that has several replacements for each input."""
        if self.replacements > 1:
            raise InputError(
                expected="a removal with one replacement for each input",
                got=f"{self.removal!r} with {self.replacements}",
                advice=(
                    "Say Mean(rows) for one baseline, or use what averages over a background: "
                    "ExpectedGradients, the Shapley family, Infidelity with SubsetToBaseline()."
                ),
            )

    def require_removal(self) -> None:
        """Refuses, before any work, inputs that a removal leaves as they are."""
        unchanged = self._evaluation.unchanged_inputs
        if len(unchanged):
            raise InputError(
                expected="a removal that changes the inputs",
                got=(
                    f"{self.removal!r}, which leaves {len(unchanged)} of {self.n} as they are, "
                    f"first input {int(unchanged[0])}"
                ),
                advice="Use another removal, such as Background(rows), or leave them out.",
            )

    def existing_features(self) -> Tensor:
        """Which features own an element of each input: (n, features), bool."""
        evaluation = self._evaluation
        return existing_features(evaluation.x, evaluation.partition)

    def changeable_features(self) -> Tensor:
        """Which features some replacement changes in each input: (n, features), bool.

        Read off the data, without asking the model.
        """
        evaluation = self._evaluation
        return changeable_features(evaluation.x, evaluation.partition, evaluation.absent)

    # --- what the model says of the inputs themselves

    @property
    def prediction(self) -> Tensor:
        """The target on the clean inputs: (n,)."""
        return self.fix_target()[1]

    @property
    @torch.inference_mode(False)
    def base(self) -> Tensor:
        """The target with everything removed, averaged over the draws of the removal: (n,)."""
        self._check_weights()
        if self._base is None:
            self._base = self._evaluation.base(self.fixed_target, self._alone)
        return self._base

    @property
    def fixed_target(self) -> Target:
        """The target with everything chosen on the clean outputs: `Predicted()` is a class now."""
        self._check_weights()
        return self._fixed_target or self.fix_target()[0]

    @property
    def explained(self) -> tuple[str, ...]:
        """What is explained of each input, in words: its class by label where that is known."""
        # The first asks how many outputs there are.
        target = self.fixed_target
        return tuple(target.described(self._known, self.n))

    @torch.inference_mode(False)
    def fix_target(self) -> tuple[Target, Tensor]:
        """Asks about the clean inputs, once: what is to be chosen is chosen there, for good.

        Returns the target that is fixed now, and its values (n,).
        """
        self._check_weights()
        if self._fixed_target is not None and self._prediction is not None:
            return self._fixed_target, self._prediction
        fixed: list[Target] = []
        values: list[Tensor] = []

        def use(numbers: Tensor, owners: Tensor, outputs: Tensor) -> None:
            target = self.target.take(owners).choose(outputs)
            self._known = replace(self._known, count=math.prod(outputs.shape[1:]))
            rows = torch.arange(len(numbers), device=outputs.device)
            fixed.append(target)
            values.append(target.score(outputs, rows).detach().clone())

        self._ask_clean(use)
        # Chunks choose for their own inputs: together they are one target for all.
        self._fixed_target = fixed[0].joined(fixed[1:])
        scores = finite_scores(torch.cat(values), self.target, "on the clean inputs")
        self._prediction = self._evaluation.to_result_precision(scores, scores.dtype)
        return self._fixed_target, self._prediction

    @property
    def precision(self) -> torch.dtype:
        """The number type of answers: double where inputs are, or where the model's own numbers
        are.
        """
        if self._prediction is not None:
            return self._prediction.dtype
        if self._precision is not None:
            return self._precision
        return to_input_precision(torch.zeros(0), self.x).dtype

    def _ask_clean(self, use: Use) -> None:
        self._check_rows_independent()
        self._evaluation.clean(use, self._alone)

    def _check_weights(self) -> None:
        """Remembers the weights that are asked first, and refuses to ask others later."""
        version = self.model.weights_version
        if self._weights_version is None:
            self._weights_version = version
        elif version != self._weights_version:
            raise ModelError(
                expected=f"the weights of {self.model.name} that this question was first asked of",
                got="others: they were written to or moved since",
                advice=(
                    "What was asked before would not fit what is asked now. Make the question "
                    "anew: Question(model, inputs)."
                ),
            )

    def _check_rows_independent(self) -> None:
        self._check_weights()
        if not self._rows_checked:
            self._alone = self._evaluation.check_rows_independent(self.target)
            self._rows_checked = True

    # --- what it is asked

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
    ) -> list[Tensor]:
        """The line integral of each of several targets, as `integrate`.

        Cost: len(weights) forward passes per input, and as many backward passes for each target.
        """
        self._refuse_slopes()
        steps = len(weights)
        weights = weights.to(self.x.device, torch.float64)
        shape = (self.n, self.x.shape[1])
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

        scores = [target.score for target in targets]
        self._evaluation.slopes(self.n * steps, make, scores, use, rules)
        return totals

    def _compared_score(self) -> Score:
        """The target's score, which refuses a forward under rules that answers otherwise."""
        target, prediction = self.fix_target()

        def score(outputs: Tensor, owners: Tensor) -> Tensor:
            scores = target.score(outputs, owners)
            self._evaluation.check_same(scores.detach(), prediction[owners])
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
    def ask(self, total: int, make: Make, use: Use, where: str = "") -> None:
        """Asks any rows, forward only: what the other verbs do not cover.

        `make(numbers)` gives the rows (r, elements) that the work numbers stand for and the inputs
        they belong to (r,); `use(numbers, owners, outputs)` takes what the model says of them;
        `where` is what refusals say of the rows. Cost: `total` rows.
        """
        self._check_rows_independent()
        self._evaluation.outputs(total, make, use, where)

    def pool(self, elements: Tensor, *, pooling: Pooling | None = None) -> Tensor:
        """Credit of elements (n, elements) to credit of features (n, features)."""
        return self.partition.pool(elements, pooling=pooling)

    # --- questions made from it

    def take(self, rows: Tensor) -> Question:
        """The same question about some of its inputs: their numbers, or a mask over all of them."""
        rows = read_rows(rows, self.n, self.model.device)
        # Where activations have been computed, they are taken along; else they are computed later.
        computed = "_evaluation" in self.__dict__
        target = self.target.take(rows)
        source = self._source.take(rows)
        taken = self._derived(source, len(rows), target, rows_of(self.truth, rows))
        if computed and isinstance(source, BehindLayer):
            taken.__dict__["_evaluation"] = self._evaluation.take(rows)
        taken._keys = _rows(self._keys, rows)
        taken.index = _labels_of(self.index, rows)
        taken._prediction = _rows(self._prediction, rows)
        taken._base = _rows(self._base, rows)
        if self._fixed_target is not None:
            taken._fixed_target = self._fixed_target.take(rows)
        return taken

    def part(self, a: int, b: int) -> Question:
        """The same question about inputs a to b - 1."""
        return self.take(torch.arange(self.n, device=self.model.device)[a:b])

    def shards(self) -> Iterator[Question]:
        """The question in parts whose size bounds what a method has to hold at once."""
        size = max(32, _SHARD // max(1, self.layout.elements))
        if self.n <= size:
            yield self
            return
        for start in range(0, self.n, size):
            yield self.part(start, min(start + size, self.n))

    def of(self, target: Any) -> Question:
        """The same question of another target."""
        told = as_target(target).told(self._known).sized(self.n)
        derived = self._derived(self._source, self.n, told, self.truth)
        # Activations that have been computed serve every target.
        if "_evaluation" in self.__dict__:
            derived.__dict__["_evaluation"] = self._evaluation
        derived._keys = self._keys
        return derived

    @torch.inference_mode(False)
    def for_outputs(self, columns: Sequence[int] | None = None) -> tuple[Question, ...]:
        """The same question of several outputs of the model, all of them by default.

        `columns` count outputs of several dimensions in row-major order. What the outputs are on
        the clean inputs, and with everything removed, is asked once for all of them.
        """
        clean: list[Tensor] = []
        shapes: list[tuple[int, ...]] = []

        def use(numbers: Tensor, owners: Tensor, outputs: Tensor) -> None:
            shapes.append(tuple(outputs.shape[1:]))
            clean.append(outputs.reshape(len(outputs), -1).detach().clone())

        def read(outputs: Tensor, owners: Tensor) -> Tensor:
            return outputs.reshape(len(outputs), -1)

        self._ask_clean(use)
        outputs = torch.cat(clean)
        convert = self._evaluation.to_result_precision
        predictions = convert(outputs, outputs.dtype)
        bases = convert(self._evaluation.removed_average(read, self._alone), outputs.dtype)
        count = math.prod(shapes[0])
        chosen = range(count) if columns is None else read_columns(columns)
        wrong = [column for column in chosen if not 0 <= column < count]
        if wrong:
            raise TargetError(
                expected=f"outputs from 0 to {count - 1}",
                got=wrong,
                advice="Outputs of several dimensions are counted row by row.",
            )
        return tuple(
            self._for_output(column, shapes[0], predictions[:, column], bases[:, column])
            for column in chosen
        )

    def _for_output(
        self, column: int, shape: tuple[int, ...], prediction: Tensor, base: Tensor
    ) -> Question:
        target = Output(column)
        if len(shape) > 1:
            target = Output(tuple(int(i) for i in np.unravel_index(column, shape)))
        derived = self._derived(self._source, self.n, target, self.truth)
        # Activations that have been computed serve all outputs.
        if "_evaluation" in self.__dict__:
            derived.__dict__["_evaluation"] = self._evaluation
        derived.column = column
        derived._keys = self._keys
        derived._fixed_target = derived.target
        derived._known = replace(self._known, count=math.prod(shape))
        derived._prediction = prediction.clone()
        derived._base = base.clone()
        return derived

    def each_its_own(self, asked: Sequence[Question], chosen: Tensor) -> Question:
        """The same question with an output of its own for each input: that of the question in
        `asked` (those of `for_outputs`) with its number in `chosen` (n,).
        """
        numbers = chosen.tolist()
        indices = [getattr(asked[number].target, "index", 0) for number in numbers]
        # One for all of them is asked as such.
        target = Output(indices[0] if len(set(indices)) == 1 else indices).sized(self.n)
        index = target.index if isinstance(target, Output) else 0
        if isinstance(index, Tensor):
            target = Output(index.to(self.x.device))
        derived = self.of(target)
        derived._fixed_target = derived.target
        derived._known = asked[0]._known
        inputs = torch.arange(self.n, device=chosen.device)
        # Asked by `for_outputs` already.
        derived._prediction = torch.stack([one.prediction for one in asked])[chosen, inputs]
        derived._base = torch.stack([one.base for one in asked])[chosen, inputs]
        return derived

    def at(self, points: Tensor, rows: Tensor | None = None) -> Question:
        """The same question about other inputs (r, elements) in the place of inputs `rows` (r,).

        Nothing is chosen again: the target stays what it was on the clean inputs.
        """
        if rows is None:
            rows = torch.arange(self.n, device=self.x.device)
        return self._moved(self._evaluation.with_inputs(points, rows), points, rows)

    def _moved(self, evaluation: Evaluation, points: Tensor, rows: Tensor) -> Question:
        """The same question about what an evaluation holds, in the place of inputs `rows` (r,)."""
        evaluation = replace(evaluation, layout=evaluation.layout.admitting(points))
        # A removal that is made from the input itself is made anew; one before a layer stays.
        if self.removal.follows and self._removes_inputs:
            layout = evaluation.layout
            absent = self.removal.bind(layout, points, lambda: layout.identities(points))
            evaluation = replace(evaluation, absent=absent)
        moved = self._derived(evaluation, len(points), self.fixed_target.take(rows), None)
        moved._rows_checked = True
        moved.index = _labels_of(self.index, rows)
        moved._fixed_target = moved.target
        return moved

    @property
    def before(self) -> Question:
        """The question before the layer that this one is asked behind; itself where there is none."""
        source = self._source
        if isinstance(source, BehindLayer) and isinstance(source.before, Question):
            return source.before
        return self

    @torch.inference_mode(False)
    def image(self, points: Tensor, way: Tensor, rows: Tensor) -> tuple[Question, Tensor]:
        """The same question where other inputs (r, elements) in the place of inputs `rows` (r,)
        lead behind the layer, and the velocity (r, units) there when they move along `way`
        (r, elements).

        What skips past the layer is that of these inputs, too. Without a layer it is `at(points)`.
        Cost: one row forward to the layer for each point, with its derivative along the way.
        """
        source = self._source
        if not isinstance(source, BehindLayer):
            self._refuse_moved()
            return self.at(points, rows), way
        self._check_rows_independent()
        image = source.image(points, way, rows)
        return self._carrying(image.activations, image.carried, rows), image.velocities

    @torch.inference_mode(False)
    def image_at(self, points: Tensor, rows: Tensor) -> Question:
        """The same question where other inputs (r, elements) in the place of inputs `rows` (r,)
        lead behind the layer, as `image` without a way.

        Cost: one row forward to the layer for each point.
        """
        source = self._source
        if not isinstance(source, BehindLayer):
            self._refuse_moved()
            return self.at(points, rows)
        self._check_rows_independent()
        return self._carrying(*source.reached(points, rows), rows)

    def _carrying(self, activations: Tensor, carried: dict[str, Tensor], rows: Tensor) -> Question:
        """The same question about other activations, with what is carried beside them."""
        evaluation = self._evaluation.with_inputs(activations, rows)
        evaluation = replace(evaluation, aligned={**evaluation.aligned, **carried})
        return self._moved(evaluation, activations, rows)

    def _refuse_moved(self) -> None:
        """Refuses activations that no input leads to: other ones than were found behind the layer."""
        if isinstance(self.model, After):
            raise InputError(
                expected="activations that inputs lead to, behind a layer",
                got="others in their place",
                advice="Ask question.after(layer) itself, without noise or other points around it.",
            )

    def by_elements(self) -> Question:
        """The same question with every element as a feature of its own."""
        partition = Elements().bind(self.layout, self.x)
        evaluation = replace(self._evaluation, partition=partition)
        derived = self._derived(evaluation, self.n, self.target, self.truth)
        derived._keys = self.keys
        derived._fixed_target = self._fixed_target
        derived._prediction = self._prediction
        return derived

    def among(self, rows: Tensor, players: Tensor) -> Question:
        """The same question about some inputs with their players (r, features) as features.

        Each of them has as many; what is no player stays as it is.
        """
        evaluation = self._evaluation.take(rows)
        partition = on_players(evaluation.partition, players)
        evaluation = replace(evaluation, partition=partition)
        truth = rows_of(self.truth, rows)
        derived = self._derived(evaluation, len(rows), self.target.take(rows), truth)
        derived._keys = self.keys[rows]
        derived.index = _labels_of(self.index, rows)
        derived._fixed_target = self.fixed_target.take(rows)
        derived._prediction = self.prediction[rows]
        derived._base = _rows(self._base, rows)
        return derived

    def upto(self, layer: Any, unit: Any, output: Part | None = None) -> Question:
        """The same question asked of one unit of a layer; the forward stops there.

        `layer`, `unit` and `output` are those of `Neuron`.
        """
        target, place = Neuron(layer, unit, output).at_layer()
        evaluation = replace(self._evaluation, model=_stopped(self.model, place))
        upto = self._derived(evaluation, self.n, target.sized(self.n), self.truth)
        upto._known = Outputs(model=evaluation.model.name)
        return upto

    @torch.inference_mode(False)
    def after(
        self,
        layer: Any,
        features: Features | None = None,
        *,
        output: Part | list[Part | None] | None = None,
        removal: Removal | None = None,
    ) -> Question:
        """The same question asked of the rest of the model behind a layer.

        The layer's activations become the inputs. Activations are computed when they are first
        needed.

        Settings:
            layer: its name, as in `named_modules()`, or the module itself; a list of layers lies
                side by side, as several inputs do, and `attribution.parts` cuts them apart again.
            features: who receives credit; every unit where nothing is said.
            output: which part, where the layer gives several tensors: its number, its key or its
                attribute's name; a list has one for each layer, or several of one layer.
            removal: what an absent activation is replaced by, such as Baseline(0.0) or Mean(rows)
                of activations; the activation of the absent input where nothing is said.

        >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> from assay.removals.fixed import Baseline
        >>> behind = Question(net, torch.ones(2, 3), target=0).after(net[1], removal=Baseline(0.0))
        >>> bool(torch.allclose(behind.base, net[2].bias[0]))
        True
        """
        self._check_rows_independent()
        rest = self._evaluation.model.cut_after(layer, output)
        layout = self._layout_behind(rest)
        features = require_type(Elements() if features is None else features, Features)
        source = BehindLayer(self, rest, layout, features)
        if removal is not None:
            source = replace(source, removal=require_type(removal, Removal))
        behind = self._derived(source, self.n, self.target, None)
        behind._removes_inputs = removal is not None
        behind.features = features
        behind.removal = self.removal if removal is None else removal
        behind.notes = (*self.notes, rest.how)
        behind._rows_checked = True
        return behind

    @torch.inference_mode(False)
    def through(self, layer: Any, unit: Any, output: Part | None = None) -> Question:
        """The same question, whose slopes pass through one unit of a layer alone.

        What the inputs do to the target by that unit: integrated gradients of it are the unit's
        conductance, input by input (Dhamdhere et al. 2018, equation 2). The target is what it was,
        so that a gap is what does not pass through the unit.

        Settings:
            layer: its name, as in `named_modules()`, or the module itself.
            unit: an int, or a tuple that points into an activation of several dimensions; with
                slices it means all units inside.
            output: which part, where the layer gives several tensors.

        >>> net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
        >>> question = Question(net, torch.ones(1, 3), target=0)
        >>> parts = [question.through(net[1], unit).slope() for unit in (0, 1)]
        >>> bool(torch.allclose(sum(parts), question.slope()))
        True
        """
        self._check_rows_independent()
        rest = self._evaluation.model.cut_after(layer, output)
        shapes = self._layout_behind(rest).shapes
        if len(shapes) != 1:
            raise InputError(
                expected="one layer whose unit slopes pass through",
                got=f"{len(shapes)} of them",
                advice="Ask for a unit of each by itself: question.through(layer, unit).",
            )
        mask = mask_of(unit, shapes[0])
        evaluation = replace(self._evaluation, model=Through(rest, unit, mask))
        through = self._derived(evaluation, self.n, self.target, self.truth)
        through.notes = (*self.notes, rest.how)
        return through

    def _layout_behind(self, rest: After) -> TensorLayout:
        """How activations behind a layer lie in a row, learnt from two inputs."""
        source = self._evaluation
        rows = torch.arange(min(self.n, 2), device=self.x.device)
        # One input serves as two, so that what only looks as if it had rows is found out.
        if len(rows) == 1 and source.most_rows != 1:
            rows = rows.repeat(2)
        rows = rows[: source.most_rows or 2]
        with source.model.session(slopes=False):
            two, *each = (
                (source.layout.fold(source.x[some]), source.context(some))
                for some in (rows, *rows.split(1))
            )
            # Two rows also tell whether the network can be captured as a graph.
            rest.capture(*two)
            rest.check_apart(*two)
            layers = rest.learn(two, each)
        shapes = tuple(tuple(activation.shape[1:]) for activation in layers)
        dtypes = tuple(activation.dtype for activation in layers)
        return TensorLayout(shapes, dtypes, layers[0].device)

    def __repr__(self) -> str:
        inputs = f"{self.n} inputs of shape {self.layout.describe()}"
        settings = f"{self.target!r}, {self.features!r}, {self.removal!r}"
        return f"Question({self.model.name}, {inputs}, {settings})"


def _by_default(model: Model) -> Target:
    """What is explained where nothing is said.

    The predicted class where nobody knows better. Rows of a table are compared with each other, and
    of two classes each is the other with its sign turned: all rows are then asked about the second,
    the positive one of scikit-learn.
    """
    if model.classes is not None and len(model.classes) == 2:
        return Label(model.classes[1])
    return Predicted()


def _labels_of(index: tuple[Any, ...] | None, rows: Tensor) -> tuple[Any, ...] | None:
    """The caller's labels of some rows."""
    if index is None:
        return None
    return tuple(index[row] for row in rows.tolist())


def _stopped(model: Model, layer: Any) -> Model:
    """The model that stops at a layer, or at a part of its output."""
    if isinstance(layer, LayerPart):
        return model.cut_upto(layer.layer, layer.output)
    return model.cut_upto(layer)


def _rows(values: Tensor | None, rows: Tensor) -> Tensor | None:
    """Some rows of what has been asked, if it has been."""
    return None if values is None else values[rows]
