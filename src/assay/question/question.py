"""The one noun that everyone touches: a model, inputs, a target, features and a removal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from assay.errors import InputError
from assay.features.elements import Elements
from assay.features.partition import Features, Partition, Pooling
from assay.inputs.layout import Context, Layout
from assay.inputs.tensors import TensorLayout
from assay.models.base import Model, digest
from assay.models.black_box import Function
from assay.models.networks import layers as cut
from assay.models.wrapping import wrap
from assay.numerics.precision import plain
from assay.question.evaluation import Bound
from assay.question.layers import activations
from assay.question.masked_rows import Masked
from assay.question.validation import (
    declared,
    door,
    of_kind,
    rows_of,
    sound,
    sound_masks,
    sound_points,
)
from assay.removals.base import FixedAbsent, Removal
from assay.targets import Neuron, Output, Predicted, Target, as_target

Way: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""A way through the inputs: (input, step) indices (r,) to points (r, elements) and velocities (r,
elements) or None for 1.
"""

_SHARD = (
    1 << 20
)  # elements of a shard of inputs: what a method holds for one stays in tens of megabytes


@final
class Question:
    """What is asked of a model about some inputs: `Question(model, inputs, target, features,
    removal)`.

    Inputs are a tensor, an array, a DataFrame, or several tensors that share dimension 0.
    Everything inside works on flat rows: `x` is (n, elements). What is not attributed (attention
    masks, lengths, constant matrices) is `context`: a mapping from the model's argument names to
    `Aligned(tensor)`, one row per input, or `Shared(value)`.

    >>> import torch
    >>> question = Question(torch.nn.Linear(3, 2), torch.ones(4, 3), target=0)
    >>> question.value(torch.tensor([[True, True, False]])).shape
    torch.Size([4, 1])
    """

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
        model = model.reading(inputs) if isinstance(model, Function) else model
        target = Predicted() if target is None else as_target(target)
        if isinstance(target, Neuron):
            model, target = model.cut_upto(target.layer), Output(target.unit)
        layout, features, removal = door(inputs, features, removal, model)
        x = sound(layout.flatten(inputs), model)
        self.features, self.removal = features, removal
        aligned, shared = declared(context or {}, len(x), model.device)
        partition = self.features.bind(layout, x)
        absent = self.removal.bind(layout, x, lambda: layout.identities(x))
        bound = Bound(model, layout, x, partition, absent, aligned, shared)
        self._fill(bound, len(x), target.sized(len(x)), truth)

    def _fill(self, bound: Bound | Callable[[], Bound], n: int, target: Target, truth: Any) -> None:
        self._source = bound
        self.n = n
        self.target = target
        self.truth = truth
        self.notes: tuple[str, ...] = ()
        self._origin: tuple[Question, cut.After, Layout, Features] | None = None
        self._keys: Tensor | None = None
        self._settled: tuple[Target, Tensor] | None = None
        self._chosen: Target | None = None
        self._probed = False

    def _derived(
        self, bound: Bound | Callable[[], Bound], n: int, target: Target, truth: Any
    ) -> Question:
        made = object.__new__(Question)
        made.features, made.removal = self.features, self.removal
        made._fill(bound, n, target, truth)
        made.notes, made._probed = self.notes, self._probed
        return made

    # --- what it holds

    @cached_property
    def bound(self) -> Bound:
        """The inputs bound to the model; activations of a layer are computed here, when they are
        first needed.
        """
        return self._source() if callable(self._source) else self._source

    @property
    def model(self) -> Model:
        """The model that is asked."""
        return self._origin[1] if self._origin is not None else self.bound.model

    @property
    def layout(self) -> Layout:
        """How flat rows fold back into what the model takes."""
        return self._origin[2] if self._origin is not None else self.bound.layout

    @property
    def partition(self) -> Partition:
        """Who receives credit."""
        return self.bound.partition

    @property
    def x(self) -> Tensor:
        """The inputs as flat rows (n, elements)."""
        return self.bound.x

    @property
    def keys(self) -> Tensor:
        """Each input's identity (n,), hashed from its bytes; an activation keeps the identity of
        the input it came from.
        """
        if self._keys is None:
            origin = self._origin
            self._keys = origin[0].keys if origin else self.layout.identities(self.x)
        return self._keys

    @property
    def absent(self) -> Tensor:
        """The inputs with everything removed (n, elements), where the removal has one replacement
        for each.
        """
        self.require_one_replacement()
        rows = torch.arange(self.n, device=self.x.device)
        return self.bound.nothing(rows, torch.zeros_like(rows))

    def require_one_replacement(self) -> None:
        """Refuses, before any work, a removal that has several replacements for each input."""
        draws = (self._origin[0] if self._origin else self).bound.absent.draws
        if draws > 1:
            raise InputError(
                expected="a removal with one replacement for each input",
                got=f"{self.removal!r} with {draws}",
                advice=(
                    "Use ExpectedGradients, which averages over a background, or "
                    "Mean(rows) for one baseline."
                ),
            )

    def require_removal(self) -> None:
        """Refuses, before any work, inputs that a removal leaves as they are: nothing can be learnt
        of them by removing.
        """
        same = self.bound.unmoved
        if len(same):
            raise InputError(
                expected="a removal that changes the inputs",
                got=(
                    f"{self.removal!r}, which leaves {len(same)} of {self.n} as they are, "
                    f"first input {int(same[0])}"
                ),
                advice="Use another removal, such as Background(rows), or leave them out.",
            )

    @property
    def prediction(self) -> Tensor:
        """The target on the clean inputs: (n,)."""
        return self.settle()[1]

    @cached_property
    @torch.inference_mode(False)
    def base(self) -> Tensor:
        """The target with everything removed, averaged over the draws of the removal: (n,)."""
        return self.bound.base(self.n, self.chosen)

    @property
    def digest(self) -> str:
        """A hash of the whole question: model, inputs, target, features, removal."""
        if self._origin is not None:
            before, after, layout, features = self._origin
            behind = f"{after.name} {self.target!r} {features!r} {layout.describe()}"
            return digest(before.digest.encode(), behind.encode()).hex()
        said = f"{self.target!r} {self.features!r} {self.removal!r} {self.layout.describe()} {self.model.name}"
        labels = self.partition.labels.cpu().numpy().tobytes()
        fixed = (
            self.bound.absent.rows.cpu()
            if isinstance(self.bound.absent, FixedAbsent)
            else torch.zeros(0)
        )
        removed = fixed.contiguous().view(torch.uint8).numpy().tobytes()
        keys = self.keys.cpu().numpy().tobytes()
        return digest(self.model.fingerprint(), keys, said.encode(), labels, removed).hex()

    @property
    def chosen(self) -> Target:
        """The target with everything chosen on the clean outputs; a question about moved inputs has
        it without asking.
        """
        return self._chosen or self.settle()[0]

    # --- what it is asked

    @torch.inference_mode(False)
    def settle(self) -> tuple[Target, Tensor]:
        """The target with everything chosen on the clean outputs, and its value there; cheap
        refusals happen here.
        """
        if self._settled is None:
            self._probe()
            bound = self.bound
            chosen: list[Target] = []
            values: list[Tensor] = []

            def use(flat: Tensor, owners: Tensor, outputs: Tensor) -> None:
                target = self.target.take(owners).choose(outputs)
                chosen.append(target)
                values.append(
                    target.score(outputs, torch.arange(len(flat), device=outputs.device))
                    .detach()
                    .clone()
                )

            bound.outputs(self.n, lambda flat: (bound.x[flat], flat), use, "on the clean inputs")
            self._settled = (chosen[0].joined(chosen[1:]), plain(torch.cat(values), self.x))
        return self._settled

    def _probe(self) -> None:
        if not self._probed:
            self.bound.probe(self.n, self.target)
            self._probed = True

    @torch.inference_mode(False)
    def outputs(self, masks: Tensor) -> Tensor:
        """Every output under masks (m, features) or (n, m, features), averaged over the removal's
        draws: (n, m, k).
        """
        table: list[Tensor] = []

        def read(outputs: Tensor, owners: Tensor) -> Tensor:
            flat = outputs.reshape(len(outputs), -1)
            if not table:
                table.append(
                    flat.new_zeros(self.n * masks.shape[-2], flat.shape[1], dtype=torch.float64)
                )
            return flat

        self._masked(masks).average(read, lambda: table[0])
        return plain(table[0], self.x).view(self.n, masks.shape[-2], -1)

    @torch.inference_mode(False)
    def value(self, masks: Tensor) -> Tensor:
        """The target under masks (m, features) or (n, m, features), averaged over the removal's
        draws: (n, m).

        Bool masks say what is present; float masks in [0, 1] blend the input with its replacement.
        Cost: n * m * draws rows, forward only, never all of them in memory.
        """
        target = self.chosen
        table = torch.zeros(self.n * masks.shape[-2], 1, dtype=torch.float64, device=self.x.device)
        read = self._masked(masks)
        read.average(
            lambda outputs, owners: target.score(outputs, owners).unsqueeze(1), lambda: table
        )
        return plain(table, self.x).view(self.n, masks.shape[-2])

    def _masked(self, masks: Tensor) -> Masked:
        masks = sound_masks(masks, self.n, self.partition.count, self.x).to(self.x.device)
        self.require_removal()
        return Masked(self.bound, masks, self.n)

    @torch.inference_mode(False)
    def score(self, at: Tensor) -> Tensor:
        """The target at any points: (n, elements) -> (n,), or (n, k, elements) -> (n, k). Forward
        only.
        """
        points, steps = sound_points(at, self.n, self.x.shape[1])
        target, out = self.chosen, plain(torch.zeros(len(points), device=at.device), self.x)

        def use(flat: Tensor, owners: Tensor, outputs: Tensor) -> None:
            out[flat] = target.score(outputs, owners).to(out.dtype)

        self.bound.outputs(
            len(points), lambda flat: (points[flat], flat // steps), use, "at a perturbed input"
        )
        return out.view(at.shape[:-1])

    @torch.inference_mode(False)
    def slope(self, at: Tensor | None = None) -> Tensor:
        """The gradient of the target at any points, the inputs by default: (n, elements) or (n, k,
        elements), like `at`.
        """
        at = self.x if at is None else at
        points, steps = sound_points(at, self.n, self.x.shape[1])
        out = torch.zeros_like(points)

        def use(flat: Tensor, owners: Tensor, slopes: Tensor) -> None:
            out[flat] = slopes

        self.bound.slopes(
            len(points), lambda flat: (points[flat], flat // steps), self.chosen.score, use
        )
        return plain(out, self.x).view(at.shape)

    @torch.inference_mode(False)
    def integrate(self, way: Way, weights: Tensor, *, squares: Tensor | None = None) -> Tensor:
        """The line integral sum_k w_k grad f(point_k) * velocity_k: (n, elements), float64,
        accumulated chunk by chunk.

        `squares` (n, elements), where given, receives sum_k w_k (grad f(point_k) * velocity_k)^2
        beside it, for standard errors. Cost: len(weights) forward and backward passes per input.
        """
        steps = len(weights)
        weights = weights.to(self.x.device, torch.float64)
        total = torch.zeros(self.n, self.x.shape[1], dtype=torch.float64, device=self.x.device)
        velocities: list[Tensor | None] = [None]

        def make(flat: Tensor) -> tuple[Tensor, Tensor]:
            points, velocities[0] = way(flat // steps, flat % steps)
            return points, flat // steps

        def use(flat: Tensor, owners: Tensor, slopes: Tensor) -> None:
            moved = (slopes if velocities[0] is None else slopes * velocities[0]).to(torch.float64)
            # A chunk holds neighbours: adding them up is one product with a short, wide matrix of weights.
            first, last = int(flat[0]) // steps, int(flat[-1]) // steps + 1
            shares = torch.zeros(last - first, len(flat), dtype=torch.float64, device=flat.device)
            shares[owners - first, torch.arange(len(flat), device=flat.device)] = weights[
                flat % steps
            ]
            total[first:last] += shares @ moved
            if squares is not None:
                squares[first:last] += shares @ moved**2

        self.bound.slopes(self.n * steps, make, self.chosen.score, use)
        return total

    def pool(self, elements: Tensor, *, pooling: Pooling | None = None) -> Tensor:
        """Credit of elements (n, elements) to credit of features (n, features)."""
        return self.partition.pool(elements, pooling=pooling)

    # --- questions made from it

    def take(self, rows: Tensor) -> Question:
        """The same question about some of its inputs."""
        target, settled = self.target.take(rows), self._settled
        truth = rows_of(self.truth, rows)
        if self._origin is not None and "bound" not in self.__dict__:
            before, after, _, features = self._origin
            return before.take(rows)._behind(after, self._origin[2], features, self)
        made = self._derived(self.bound.take(rows), len(rows), target, truth)
        made._keys = None if self._keys is None else self._keys[rows]
        made._chosen = None if self._chosen is None else target
        if self._origin is not None:
            made._origin = (self._origin[0].take(rows), *self._origin[1:])
        if settled is not None:
            made._settled = (settled[0].take(rows), settled[1][rows])
        return made

    def part(self, a: int, b: int) -> Question:
        """The same question about inputs a to b - 1."""
        device = self._origin[0].x.device if self._origin else self.x.device
        return self.take(torch.arange(self.n, device=device)[a:b])

    def shards(self) -> Iterator[Question]:
        """The question in parts whose size bounds what a method has to hold at once."""
        size = max(32, _SHARD // max(1, self.layout.elements))
        if self.n <= size:
            yield self
            return
        for start in range(0, self.n, size):
            yield self.part(start, min(start + size, self.n))

    def at(self, points: Tensor, rows: Tensor | None = None) -> Question:
        """The same question about other inputs (r, elements) in the place of inputs `rows` (r,);
        nothing is chosen again.
        """
        rows = torch.arange(self.n, device=self.x.device) if rows is None else rows
        bound = self.bound.about(points, rows)
        if self.removal.follows and self._origin is None:
            absent = self.removal.bind(
                bound.layout, points, lambda: bound.layout.identities(points)
            )
            bound = Bound(
                bound.model,
                bound.layout,
                points,
                bound.partition,
                absent,
                bound.aligned,
                bound.shared,
            )
        made = self._derived(bound, len(points), self.chosen.take(rows), None)
        made._probed, made._chosen = True, made.target
        return made

    def by_elements(self) -> Question:
        """The same question with every element as a feature of its own."""
        bound = self.bound
        partition = Elements().bind(bound.layout, bound.x)
        parts = (bound.x, partition, bound.absent, bound.aligned, bound.shared)
        made = self._derived(
            Bound(bound.model, bound.layout, *parts), self.n, self.target, self.truth
        )
        made._settled, made._chosen, made._keys = self._settled, self._chosen, self.keys
        return made

    def upto(self, layer: str, unit: int | tuple[int, ...]) -> Question:
        """The same question asked of one unit of a layer; the forward stops there."""
        bound = self.bound
        model = bound.model.cut_upto(layer)
        parts = (bound.layout, bound.x, bound.partition, bound.absent, bound.aligned, bound.shared)
        return self._derived(Bound(model, *parts), self.n, Output(unit), self.truth)

    @torch.inference_mode(False)
    def after(self, layer: str, features: Features | None = None) -> Question:
        """The same question asked of the rest of the model behind a layer: the layer's activations
        become the inputs.

        What is absent becomes the activation of the absent input. Activations are computed when
        they are first needed.
        """
        self._probe()
        bound, rows = self.bound, torch.arange(min(self.n, 2), device=self.x.device)
        after: cut.After = bound.model.cut_after(layer)
        with bound.model.session(slopes=False):
            sample, context = bound.layout.fold(bound.x[rows]), bound.context(rows)
            after.capture(sample, context)
            activation, _ = after.before(sample, context)
        layout = TensorLayout(
            (tuple(activation.shape[1:]),), (activation.dtype,), activation.device
        )
        return self._behind(
            after, layout, of_kind(Elements() if features is None else features, Features), None
        )

    def _behind(
        self, after: cut.After, layout: Layout, features: Features, like: Question | None
    ) -> Question:
        made = self._derived(
            lambda: activations(self.bound, self.n, after, layout, features),
            self.n,
            self.target,
            None,
        )
        made.features, made._origin, made._probed = features, (self, after, layout, features), True
        made.notes = (*self.notes, after.how)
        return made

    def __repr__(self) -> str:
        asked = f"{self.n} inputs of shape {self.layout.describe()}, {self.target!r}, {self.features!r}, {self.removal!r}"
        return f"Question({self.model.name}, {asked})"
