"""Hears attention: every softmax whose weights are multiplied with values, whoever wrote it.

A map is found by what it does and not by who does it: weights that came out of a softmax and go,
at most moved, scaled by constants or dropped out, into a matrix product with a signal. Fused
attention is taken apart first, `nn.MultiheadAttention` is opened, and the fast path of a transformer
encoder is not taken while somebody listens. What each tensor hangs on is kept as a set of bits, one
for each input and one for each map, so that it is known whose tokens a map's queries and keys are.

Which axis of the weights counts inputs is known of torch's own functions. Where a forward has
written attention out itself, heads and inputs may lie in one axis in either order: `merged` and
`unsure` say so, and such networks are asked input by input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from assay.errors import AbilityError
from assay.models.networks.operations.interception import Interception
from assay.models.networks.operations.kinds import OperationKind
from assay.models.networks.operations.operation import Operation, tensors_in
from assay.models.networks.operations.pulled import pulled

MATRIX_PRODUCTS = ("matmul", "bmm", "einsum")
_ADDED = ("baddbmm", "addbmm", "addmm")
_MOVED = (OperationKind.STRUCTURE, OperationKind.AFFINE)
_BETWEEN = (*_MOVED, OperationKind.SUM, OperationKind.ACTIVATION, OperationKind.MAXIMUM)
_ROUNDING = 1e-2  # by which rows of weights may miss 1, in half precision too

Tag: TypeAlias = int
"""What a tensor hangs on: a bit for each input, and behind them one for each map."""


@final
@dataclass(frozen=True)
class Axes:
    """Which axes of weights count what.

    Settings:
        queries, keys: the axes of these.
        trusted: how many rows the first axis counts before the heads, where that is known.
    """

    queries: int
    keys: int
    trusted: int | None

    def arranged(self, weights: Tensor, rows: int) -> Tensor:
        """Weights, or what belongs to them, of so many inputs as (inputs, heads, queries, keys)."""
        rest = [axis for axis in range(weights.dim()) if axis not in (self.queries, self.keys)]
        moved = weights.permute(*rest, self.queries, self.keys)
        lead = list(moved.shape[:-2])
        if len(lead) > 2:
            # Axes of length 1 behind the first two are nobody's.
            lead = [*lead[:2], *(length for length in lead[2:] if length > 1)]
        if len(lead) < 2:
            first = lead[0] if lead else 1
            lead = [rows, first // rows] if first % rows == 0 else [first, 1]
        if len(lead) != 2 or lead[0] != rows:
            raise _not_read(tuple(weights.shape), rows)
        # Products of half-precision slopes underflow: at least single precision.
        moved = moved if moved.dtype == torch.float64 else moved.to(torch.float32)
        return moved.reshape(*lead, *moved.shape[-2:])


@final
@dataclass(frozen=True, eq=False)
class Map:
    """The attention weights of one product with values.

    Settings:
        weights: (inputs, heads, queries, keys).
        queries: what the queries hang on; 0 where they are constants of the network.
        keys: what the keys and values hang on.
        bit: the map's own.
        product: its number among the matrix products of signals of the forward.
        factor: which factor of the product it is, 0 or 1.
        axes: how the factor's axes are to be read.
        slope: the slope of the target at the weights, of their shape; None where none arrived.
    """

    weights: Tensor
    queries: Tag
    keys: Tag
    bit: Tag
    product: int
    factor: int
    axes: Axes
    slope: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(heads, queries, keys)."""
        return tuple(self.weights.shape[1:])


@final
@dataclass(frozen=True, eq=False)
class Forward:
    """What was heard of one chunk of inputs.

    Settings:
        maps: in the order of the forward.
        rows: how many inputs.
        inputs: how many tensors an input consists of: the lowest bits of a tag.
        grids: for each of them the places of the last convolution before any attention.
        owners: which inputs of the question they are.
        target: the number of the target whose slopes the maps hold.
    """

    maps: list[Map]
    rows: int
    inputs: int
    grids: dict[int, tuple[int, ...]]
    owners: Tensor
    target: int


Explain: TypeAlias = Callable[[Forward], None]
"""What becomes of what was heard."""


@final
class Capture(Interception):
    """A forward with the slopes of its own, whose attention maps are kept with theirs."""

    def __init__(self, who: str, elements: int, explain: Explain) -> None:
        super().__init__()
        self.who = who
        self.elements = elements
        self.explain = explain
        self.merged = False
        self.unsure = False
        self.shapes: list[tuple[int, ...]] = []
        self._owners = torch.zeros(0, dtype=torch.int64)
        self._target = 0
        self._trusted: int | None = None
        self._start([])

    def _start(self, signals: list[Tensor]) -> None:
        self._rows = len(signals[0]) if signals else 0
        self._inputs = len(signals)
        self._maps: list[Map] = []
        self._slopes: dict[int, Tensor] = {}
        self._grids: dict[int, tuple[int, ...]] = {}
        self._products = 0
        self._tags: dict[int, Tag] = {id(signal): 1 << i for i, signal in enumerate(signals)}
        # What scores were made of, (queries, keys), and the softmax that weights came out of.
        self._pairs: dict[int, tuple[Tag, Tag]] = {}
        self._softmaxes: dict[int, int] = {}
        # For each softmax the shape of weights that nobody has multiplied with values yet.
        self._unread: dict[int, tuple[int, ...] | None] = {}

    # --- a forward

    def reference_rows(self, owners: Tensor, *, alike: bool) -> Tensor | None:
        self._owners = owners
        return None

    def begin(self, signals: list[Tensor]) -> None:
        self._start(signals)

    def answering(self, which: int) -> None:
        self._target = which
        # Maps stay: targets share one forward, and each has a way back of its own.
        self._slopes.clear()

    def attributed(self, rows: Tensor, slopes: Tensor, beside: Tensor | None) -> Tensor:
        self._refuse_unread()
        self.shapes = [each.shape for each in self._maps]
        maps = [replace(each, slope=self._slopes.get(each.bit)) for each in self._maps]
        forward = Forward(maps, self._rows, self._inputs, self._grids, self._owners, self._target)
        self.explain(forward)
        # Credit is kept by whoever explains: in half precision it would be rounded here.
        return rows.new_zeros(1, 1).expand(self._rows, self.elements)

    def forget(self) -> None:
        super().forget()
        self._start([])

    # --- operations

    def handle(self, operation: Operation) -> Any:
        kind = operation.kind
        if kind is OperationKind.ATTENTION:
            with self._trusting(len(operation.argument(0, "query"))):
                return self.again(operation)
        if kind is OperationKind.PRODUCT and operation.name in _ADDED:
            return self.again(operation)
        if kind is OperationKind.PRODUCT and operation.name in MATRIX_PRODUCTS:
            return self._product(operation)
        return self._followed(operation)

    def unknown(self, operation: Operation) -> Any:
        # A slope is a slope: only attention is looked at.
        return self._followed(operation)

    @contextmanager
    def opening(
        self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Iterator[None]:
        if func is not torch.nn.functional.multi_head_attention_forward:
            yield
            return
        query = args[0] if args else kwargs["query"]
        with self._trusting(query.shape[1] if query.dim() == 3 else 1):
            yield

    @contextmanager
    def _trusting(self, rows: int) -> Iterator[None]:
        """Inside, weights count so many rows in their first axis, before the heads."""
        outer = self._trusted
        # Of functions within functions the outer one knows.
        self._trusted = rows if outer is None else outer
        try:
            yield
        finally:
            self._trusted = outer

    def stands_for(self, copy: Tensor, original: Tensor) -> None:
        for table in self._known:
            if id(original) in table:
                table[id(copy)] = table[id(original)]

    def overwritten(self, target: Tensor) -> None:
        for table in self._known:
            table.pop(id(target), None)

    @property
    def _known(self) -> tuple[dict[int, Any], ...]:
        """All that is known of tensors, by their `id`."""
        return (self._tags, self._pairs, self._softmaxes)

    # --- what hangs on what

    def _tag(self, tensor: Tensor) -> Tag:
        return self._tags.get(id(tensor), 0)

    def _followed(self, operation: Operation) -> Any:
        """The operation plainly; what its results hang on is kept, and whether they are scores or
        weights of attention.
        """
        given = self.plainly(operation)
        signals = operation.signals
        tag = 0
        for signal in signals:
            tag |= self._tag(signal)
        for tensor in tensors_in((given,)):
            self._tags[id(tensor)] = tag
            self._follow_scores(operation, signals, tensor)
        if operation.kind is OperationKind.CONVOLUTION and not self._maps:
            self._keep_grid(tag, given)
        return given

    def _follow_scores(self, operation: Operation, signals: list[Tensor], given: Tensor) -> None:
        kind = operation.kind
        pair = next((self._pairs[id(s)] for s in signals if id(s) in self._pairs), None)
        if kind is OperationKind.SOFTMAX and operation.name == "softmax":
            number = len(self._unread)
            self._softmaxes[id(given)] = number
            self._unread[number] = None
            if pair is not None:
                self._pairs[id(given)] = pair
                # Weights of tokens for tokens, which somebody will read.
                if given.dim() > 2 and 0 not in pair:
                    self._unread[number] = tuple(given.shape)
        elif kind in _MOVED and len(signals) == 1 and id(signals[0]) in self._softmaxes:
            self._softmaxes[id(given)] = self._softmaxes[id(signals[0])]
        if kind in _BETWEEN and pair is not None:
            self._pairs[id(given)] = pair
        if operation.name in MATRIX_PRODUCTS:
            operands = factors_of(operation)
            if len(operands) == 2:
                # Any product may be one of scores: whether it was shows when a softmax follows.
                self._pairs[id(given)] = (self._tag(operands[0]), self._tag(operands[1]))

    def _keep_grid(self, tag: Tag, given: Any) -> None:
        if isinstance(given, Tensor) and given.dim() == 4 and tag.bit_count() == 1:
            self._grids[tag.bit_length() - 1] = tuple(given.shape[2:])

    # --- maps

    def _product(self, operation: Operation) -> Tensor:
        # Counted whatever it turns out to be, so that another forward finds it by its number.
        number = self._products
        self._products += 1
        factors = factors_of(operation)
        places = [i for i, factor in enumerate(factors) if id(factor) in self._softmaxes]
        if len(factors) != 2 or len(places) != 1:
            plain: Tensor = self._followed(operation)
            return plain
        (place,) = places
        weights, values = factors[place], factors[1 - place]
        axes = Axes(*_axes(operation, place, weights.dim()), self._trusted)
        arranged = axes.arranged(weights.detach(), self._rows)
        check_weights(arranged)
        self._doubt(weights, arranged.shape[1])
        # Read: from here on no map is missing of this softmax.
        self._unread[self._softmaxes[id(weights)]] = None
        pair = self._pairs.get(id(weights))
        keys = self._tag(values)
        bit = 1 << (self._inputs + len(self._maps))
        self._maps.append(Map(arranged, _queries(pair, keys), keys, bit, number, place, axes))
        rows = self._rows

        def pull(cotangent: Tensor) -> Tensor:
            self._slopes[bit] = axes.arranged(cotangent.detach(), rows)
            return cotangent

        # Marked for this product alone: the same weights may go on to others.
        marked = pulled(weights, weights, pull)
        given: Tensor = operation.on({id(weights): marked})()
        self.seen[operation.name, "attention"] += 1
        self._tags[id(given)] = self._tag(weights) | keys | bit
        return given

    def _doubt(self, weights: Tensor, heads: int) -> None:
        """Whether it is known that the first axis counts inputs."""
        rows = self._rows
        if rows < 2 or self._trusted == rows:
            return
        if weights.dim() == 3 and heads > 1:
            # Inputs and heads lie in one axis, and nobody says in which order.
            self.merged = True
        elif weights.dim() == 3 or heads == rows:
            self.unsure = True

    def _refuse_unread(self) -> None:
        """Refuses a layer whose attention was heard and could not be read as a map."""
        unread = next((shape for shape in self._unread.values() if shape is not None), None)
        if unread is not None:
            raise AbilityError(
                expected=f"attention weights that are multiplied with values as they are, for {self.who}",
                got=f"weights of shape {unread} that something else is made of",
                advice=(
                    "A map without this layer would say less than it seems to: use "
                    "LRP(AttentionAware()) or a method that needs slopes alone."
                ),
            )


def _not_read(shape: tuple[int, ...], rows: int) -> AbilityError:
    return AbilityError(
        expected=f"attention weights (inputs, heads, queries, keys) of {rows} inputs",
        got=f"weights of shape {shape}",
        advice=(
            "Attention inside windows or along single axes, where tokens are cut into groups, has no "
            "map over all tokens: use LRP(AttentionAware()), GradCam(layer) or a method that needs "
            "slopes alone."
        ),
    )


def check_weights(weights: Tensor) -> None:
    """Refuses weights that are no attention: rows over keys are shares of 1, or of less."""
    rows = weights.sum(-1)
    # A row that is masked out adds up to less than 1, and is attention all the same.
    low, high = rows.aminmax()
    if not -_ROUNDING <= float(low) <= float(high) <= 1 + _ROUNDING:
        raise AbilityError(
            expected="attention weights whose rows add up to 1 over the keys",
            got=f"rows from {float(low):.3g} to {float(high):.3g}",
            advice=(
                "They were normalised along another axis, or scaled: use LRP(AttentionAware()), or "
                "a method that needs slopes alone."
            ),
        )


def _queries(pair: tuple[Tag, Tag] | None, keys: Tag) -> Tag:
    """What the queries hang on, of the two factors of the scores and what the values hang on."""
    if pair is None:
        # Scores that are no product of queries and keys ask with the network's own constants.
        return 0
    first, second = pair
    return second if first == keys and second != keys else first


def factors_of(operation: Operation) -> list[Tensor]:
    """The factors of a matrix product."""
    return [
        operand
        for operand in tensors_in((*operation.args, *operation.kwargs.values()))
        if operand.dim()
    ]


def _axes(operation: Operation, place: int, dims: int) -> tuple[int, int]:
    """The axes of queries and of keys of the factor with this place."""
    if operation.name != "einsum":
        # The axis that the product sums over counts keys: the last of a left factor, the last but
        # one of a right factor.
        return (dims - 2, dims - 1) if place == 0 else (dims - 1, dims - 2)
    equation = operation.args[0].replace(" ", "")
    inputs, arrow, output = equation.partition("->")
    names = inputs.split(",")
    mine, others = names[place], names[1 - place]
    plain = arrow and "." not in equation and len(mine) == dims
    keys = [axis for axis, name in enumerate(mine) if name in others and name not in output]
    queries = [axis for axis, name in enumerate(mine) if name in output and name not in others]
    if not plain or len(keys) != 1 or len(queries) != 1:
        raise AbilityError(
            expected="a product of attention weights and values along one axis",
            got=f"einsum {equation!r}",
            advice='Write it out with letters, "bhqk,bhkd->bhqd", or as a matrix product.',
        )
    return queries[0], keys[0]
