"""Hears every operation of a forward that carries signal, and hands each to a rule.

Signal is what hangs on the inputs: weights are frozen while a question is asked, so a tensor that
requires a slope carries signal, and no other does. Every tensor with signal must have come out of an
operation that was heard. One that has not came out of something that speaks no Python (a scripted
part, a function with its own backward), and is refused instead of being passed on as a plain
gradient.

In place means out of place on a copy, and written back: autograd keeps the versions apart. Where a
forward writes over what a rule still needs, it is heard once more with copies of everything
(`copies`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from assay.errors import AbilityError, AssayError
from assay.models.networks.operations.decomposed import PLAINER, decomposed
from assay.models.networks.operations.kinds import (
    FRESH,
    QUOTIENTS,
    RESHAPES,
    OperationKind,
    kind_of,
    spelled,
)
from assay.models.networks.operations.opened import may_be_opened, opened
from assay.models.networks.operations.operation import Operation, caller, tensors_in
from assay.models.networks.operations.saved_tensors import held

_RESHAPED = frozenset(
    f"{name}Backward0"
    for name in ("ToCopy", "Unsqueeze", "Squeeze", "View", "UnsafeView", "ReshapeAlias", "Clone")
)
"""Nodes of the graph that may stand behind a forward's last operation."""

Seen = Counter[tuple[str, str]]
"""How often each operation was heard, with what was done about it."""


class Interception(TorchFunctionMode, ABC):
    """Listens to a forward. A subclass writes `handle`."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Seen = Counter()
        # Tensors with signal that came out of what was heard; they are kept, so that no other
        # tensor takes their `id`.
        self._heard: dict[int, Tensor] = {}
        self._weights: dict[int, Tensor] = {}
        self._refused: AssayError | None = None
        self._layers: dict[int, str] = {}
        # Whether the forward writes in place, and whether rules therefore work on copies.
        self.wrote = False
        self.copies = False
        # Whether numbers may have been written that other tensors see: a rule may have given these
        # a place of their own.
        self.wrote_shared = False
        # Whether something else than torch's own answer to an operation was handed on: plainer
        # operations in its place, or what a rule of somebody else gave.
        self.retold = False
        # How many batch norms the form of the network lacks that is heard in its place; None where
        # it is the network itself.
        self.folded: int | None = None
        # How many rows will be heard in all.
        self.rows = 0
        # Whether somebody compares the answers of every chunk with those of the network itself.
        self.is_compared = False
        # Tensors that came out of what gives them a place of their own, and those that others may see.
        self._own_places: set[int] = set()
        self._seen_by_others: set[int] = set()

    @abstractmethod
    def handle(self, operation: Operation) -> Any:
        """What an operation gives, with the slope that a rule gives it.

        It runs unheard; `self.plainly` and `self.again` say more.
        """

    def reference_rows(self, owners: Tensor, *, alike: bool) -> Tensor | None:  # may be overridden
        """Rows that are asked first, beside which differences are taken; None for none.

        They may be fewer than the rows where the model asks `alike` of all of them, without a
        context of their own: `spread` then makes as many of what the model answers.
        """
        return None

    def input_rows(self, rows: Tensor) -> Tensor:  # may be overridden
        """The rows that go forward, of those whose slopes are asked: fewer where some are alike."""
        return rows

    def spread(self, answers: Tensor) -> Tensor:  # may be overridden
        """The answers for the rows that went forward, one for each row whose slopes are asked."""
        return answers

    def slopes(  # may be overridden
        self, scores: Tensor, leaves: list[Tensor], *, keep: bool
    ) -> list[Tensor]:
        """The slope of each row's score by each of the leaves; `keep` leaves the graph for another."""
        # Rows do not influence each other, so the slope of the sum is the slope of each row.
        return list(
            torch.autograd.grad(
                scores.sum(), leaves, allow_unused=True, materialize_grads=True, retain_graph=keep
            )
        )

    def simplify(self) -> bool:  # may be overridden
        """Makes ready for another try after a refusal; False where nothing is left to be tried."""
        # The forward wrote over what a rule still needed: once more, with copies of everything.
        if self.copies or not self.wrote:
            return False
        self.copies = True
        return True

    may_hear_form: bool = False  # may be overridden
    """Whether rules say the same of a convolution and its batch norm as of the one convolution that
    both are.
    """

    def let_go_of_form(self) -> bool:
        """Hears the network itself from now on; whether that is something new."""
        had_form = self.folded is not None
        self.may_hear_form = False
        self.folded = None
        return had_form

    @property
    def leaves(self) -> list[Tensor]:  # may be overridden
        """Tensors of the inputs' shapes whose slopes are asked beside those of the inputs."""
        return []

    def attributed(  # may be overridden
        self, rows: Tensor, slopes: Tensor, beside: Tensor | None
    ) -> Tensor:
        """What is made of the slopes (r, elements) at the rows, and of those of the leaves."""
        return slopes

    def answering(self, which: int) -> None:  # may be overridden
        """The slopes that are worked out next are those of the target of this number."""

    @contextmanager
    def recording(self) -> Iterator[None]:  # may be overridden
        """A forward of the reference rows is on its way."""
        yield

    @contextmanager
    def counting(self) -> Iterator[None]:  # may be overridden
        """Counts of a forward and a backward, which are taken back where these fail."""
        seen = Counter(self.seen)
        try:
            yield
        except BaseException:
            self.seen = seen
            raise

    @contextmanager
    def opening(  # may be overridden
        self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Iterator[None]:
        """A Python function of torch is opened, and what it is made of is heard inside the block."""
        yield

    # --- listening

    def learn_names(self, module: nn.Module) -> None:
        """Learns which weights belong to which layer."""
        parallel = isinstance(module, nn.DataParallel)
        for name, parameter in module.named_parameters():
            layer = name.rpartition(".")[0].replace("_orig_mod.", "")
            # Layers of a wrapped network go by the names that they had before.
            self._layers[id(parameter)] = layer.removeprefix("module.") if parallel else layer

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers with weights, each once."""
        return tuple(dict.fromkeys(self._layers.values()))

    @contextmanager
    def over(self, tensors: Iterable[Any]) -> Iterator[None]:
        """Listens to a forward of these tensors, which carry signal if slopes are asked of them."""
        self.forget()
        # Coverage is that of one forward, however many chunks there are.
        self.seen.clear()
        if self.folded:
            self.seen["batch_norm", "merged"] = self.folded
        tensors = list(tensors)
        self.admit(tensors)
        self.begin([tensor for tensor in tensors if id(tensor) in self._heard])
        with self.listening():
            yield

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listens to what is called inside the block."""
        self._refused = None
        try:
            with self:
                yield
        except Exception:
            # Operators in Python take a refusal for a kind of operand that they do not know.
            if self._refused is not None:
                raise self._refused from None
            raise

    def begin(self, signals: list[Tensor]) -> None:  # may be overridden
        """A forward begins with these tensors."""

    def admit(self, tensors: Iterable[Any]) -> None:
        """Takes tensors that hang on the inputs for heard."""
        for tensor in tensors_in(tuple(tensors)):
            if tensor.requires_grad:
                self._heard[id(tensor)] = tensor

    def admit_outputs(self, outputs: Tensor) -> None:
        """Takes the outputs of a forward for heard, if they came out of what was."""
        heard = [tensor.grad_fn for tensor in self._heard.values()]
        node = outputs.grad_fn
        # Behind the forward they may have been given another shape or type.
        while node is not None and node not in heard and node.name() in _RESHAPED:
            node = node.next_functions[0][0]
        if node is not None and node not in heard:
            self._refuse_unheard([outputs])
        self.admit((outputs,))

    def forget(self) -> None:
        """Lets go of one forward."""
        self._heard.clear()
        self._weights.clear()
        self._own_places.clear()
        self._seen_by_others.clear()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        try:
            with held():
                return self._called(func, args, kwargs or {})
        except AssayError as refusal:
            self._refused = refusal
            raise

    def _called(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if not torch.is_grad_enabled():
            # Who writes where no slope is asked for is not followed.
            operands = tensors_in((*args, *kwargs.values()))
            self.wrote_shared |= any(id(tensor) in self._heard for tensor in operands)
            return func(*args, **kwargs)
        hanging = [
            tensor for tensor in tensors_in((*args, *kwargs.values())) if tensor.requires_grad
        ]
        heard = frozenset(id(tensor) for tensor in hanging if id(tensor) in self._heard)
        self._refuse_unheard(hanging)
        if not heard:
            return self._of_weights(func(*args, **kwargs))
        values = [*args, *kwargs.values()]
        # x * x is a product of two: the second x goes under an alias.
        if len(heard) < sum(id(tensor) in heard for tensor in hanging):
            values, aliases = self._aliased(values, heard)
            heard = heard | aliases
        args, named = tuple(values[: len(args)]), dict(zip(kwargs, values[len(args) :]))
        return self._heard_call(func, args, named, heard)

    def _of_weights(self, given: Any) -> Any:
        """What is made of weights alone, whose slopes nobody asks for."""
        for tensor in tensors_in((given,)):
            if tensor.requires_grad:
                self._weights[id(tensor)] = tensor
        return given

    def _aliased(
        self, operands: list[Any], heard: frozenset[int]
    ) -> tuple[list[Any], frozenset[int]]:
        met: set[int] = set()
        aliases: set[int] = set()

        def alias(value: Any) -> Any:
            if type(value) in (list, tuple):
                return type(value)(alias(part) for part in value)
            if id(value) in met:
                # A copy, since the other may be written to.
                value = self._copy(value)
                aliases.add(id(value))
            elif id(value) in heard:
                met.add(id(value))
            return value

        return [alias(value) for value in operands], frozenset(aliases)

    def _copy(self, tensor: Tensor) -> Tensor:
        """The same numbers and what is known of them, in another place."""
        copy = tensor.clone()
        self.admit((copy,))
        self.stands_for(copy, tensor)
        return copy

    def stands_for(self, copy: Tensor, original: Tensor) -> None:  # may be overridden
        """Hears that what is known of a tensor holds for another with the same numbers."""

    def _heard_call(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        heard: frozenset[int],
    ) -> Any:
        name, is_spelled_in_place = spelled(func)
        # Attributes: sizes and types, and views such as x.T.
        if name == "get":
            return self._attribute(func, args, heard)
        args, kwargs, is_asked_in_place = without_in_place(func, args, kwargs)
        name = _of_two(name, args, kwargs)
        kind = _kind(name, args, heard)
        if kind is None and may_be_opened(func):
            with self, self.opening(func, args, kwargs):
                return opened(func)(*args, **kwargs)
        call = out_of_place(func, name) if is_spelled_in_place else func
        layer = self._layer_of(args, kwargs)
        operation = Operation(name, kind, call, args, kwargs, layer, heard)
        if is_spelled_in_place or is_asked_in_place:
            return self._in_place(operation, func)
        given = self._admitted(self._given(self._on_copies(operation)))
        self._note_place(operation, given)
        return given

    def _in_place(self, operation: Operation, func: Any) -> Any:
        """What an operation writes on its first operand, which stays the tensor that it was."""
        self.wrote = True
        name, args, kwargs = operation.name, operation.args, operation.kwargs
        target: Tensor = args[0] if args else kwargs["input"]
        self._note_write(name, target)
        # Only the shape changes, which can be told to nobody else than the tensor itself.
        if name in RESHAPES:
            self.moved(operation)
            return self._admitted(func(*args, **kwargs))
        copy = self._copy(target)
        given = self._given(self._on_copies(operation.on({id(target): copy})))
        target.copy_(given)
        self.overwritten(target)
        self.stands_for(target, given)
        return self._admitted(target)

    def _attribute(self, func: Any, args: tuple[Any, ...], heard: frozenset[int]) -> Any:
        given = func(*args)
        if isinstance(given, Tensor):
            self._seen_by_others |= heard
        if not isinstance(given, Tensor) or not given.requires_grad:
            # What is written on the same numbers without a signal is not heard.
            self.wrote_shared |= isinstance(given, Tensor)
            return given
        name = getattr(func.__self__, "__name__", "get")
        operation = Operation(name, OperationKind.STRUCTURE, func, args, {}, None, heard)
        return self._admitted(self.handle(operation))

    # --- who sees what is written

    def _note_place(self, operation: Operation, given: Any) -> None:
        """Notes whether what an operation gives has a place of its own, or shares that of a signal."""
        tensors = list(tensors_in((given,)))
        if operation.name in FRESH:
            self._own_places.update(map(id, tensors))
        elif tensors:
            self._seen_by_others |= operation.heard
            # What is written on the same numbers without a signal is not heard.
            self.wrote_shared |= operation.kind is OperationKind.STOP

    def _note_write(self, name: str, target: Tensor) -> None:
        """Notes whether what is written in place may be seen by another tensor."""
        is_own = id(target) in self._own_places and id(target) not in self._seen_by_others
        self.wrote_shared |= name not in FRESH or not is_own

    def _on_copies(self, operation: Operation) -> Operation:
        """The operation on copies of its signals, where what it works on is written over later."""
        if not self.copies or operation.kind is OperationKind.STRUCTURE:
            return operation
        return operation.on({id(signal): self._copy(signal) for signal in operation.signals})

    def _admitted(self, given: Any) -> Any:
        self.admit((given,))
        return given

    def _given(self, operation: Operation) -> Any:
        """What the operation gives, in a place of its own where it is written over later."""
        given = self._handled(operation)
        is_moved = operation.kind is OperationKind.STRUCTURE
        if not self.copies or is_moved or not isinstance(given, Tensor):
            return given
        return self._copy(given)

    def _handled(self, operation: Operation) -> Any:
        """What the operation gives: plain where it gives no signal, else by `handle`."""
        kind = operation.kind
        if kind is not None and kind is not OperationKind.STOP:
            return self.handle(operation)
        given = operation()
        if not any(tensor.requires_grad for tensor in tensors_in((given,))):
            # Comparisons, sizes, positions: nothing hangs on them.
            return given
        if kind is OperationKind.STOP:
            # A factor that has no slope is a constant.
            self.seen[operation.name, kind.value] += 1
            return detached(given)
        return self.unknown(operation)

    def overwritten(self, target: Tensor) -> None:  # may be overridden
        """Hears that a tensor holds other numbers now."""

    def moved(self, operation: Operation) -> None:  # may be overridden
        """Hears of an operation that gives a tensor another shape in place, before it does."""
        self.seen[operation.name, OperationKind.STRUCTURE.value] += 1

    def unknown(self, operation: Operation) -> Any:  # may be overridden
        """What is done about an operation that carries signal and is none of the known ones."""
        if operation.name in PLAINER:
            return self.again(operation)
        raise self.refusal(operation)

    def again(self, operation: Operation) -> Any:
        """The operation said in plainer ones, which are heard in turn."""
        self.retold = True
        try:
            with self:
                return decomposed(operation)
        except KeyError:
            raise self.refusal(operation) from None

    def plainly(self, operation: Operation, what: str = "") -> Any:
        """The operation with its own slope."""
        kind = operation.kind.value if operation.kind else "unknown"
        self.seen[operation.name, what or kind] += 1
        return operation()

    def coverage(self) -> dict[str, dict[str, int]]:
        """How often each operation was heard, by what was done about it."""
        table: dict[str, dict[str, int]] = {}
        for (name, rule), count in sorted(self.seen.items()):
            table.setdefault(rule, {})[name] = count
        return table

    # --- refusals

    def refusal(self, operation: Operation, because: str = "") -> AbilityError:
        """That an operation has no rule, and where it was called."""
        line = caller()
        return AbilityError(
            expected=f"operations that {self.who} has a rule for",
            got=f"{operation.name!r}{because}" + (f" ({line})" if line else ""),
            advice=self.advice,
        )

    who: str = "this method"
    advice: str = "Use a method that needs slopes alone, such as IntegratedGradients()."

    def _refuse_unheard(self, hanging: Iterable[Tensor]) -> None:
        """Refuses tensors that hang on something, but on nothing that was heard."""
        for tensor in hanging:
            is_known = id(tensor) in self._heard or id(tensor) in self._weights
            if tensor.grad_fn is None or is_known:
                continue
            line = caller()
            raise AbilityError(
                expected=f"a forward in which {self.who} hears every operation",
                got=f"a signal out of one that is not heard: {tensor.grad_fn.name()}"
                + (f" ({line})" if line else ""),
                advice=(
                    "Scripted parts and functions with a backward of their own are not heard: write "
                    "that part in plain torch, or use a method that needs slopes alone, such as "
                    "IntegratedGradients()."
                ),
            )

    def _layer_of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        names = (self._layers.get(id(tensor)) for tensor in tensors_in((*args, *kwargs.values())))
        return next((name for name in names if name is not None), None)


def detached(given: Any) -> Any:
    """The same numbers without a slope."""
    if isinstance(given, Tensor):
        return given.detach()
    if isinstance(given, list | tuple):
        return type(given)(detached(part) for part in given)
    return given


def without_in_place(
    func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], bool]:
    """The operands without the wish to write in place, and whether there was one."""
    rest = dict(kwargs)
    wish = bool(rest.pop("inplace", False))
    place = _in_place_at(func)
    if place is not None and len(args) > place:
        return (*args[:place], False, *args[place + 1 :]), rest, bool(args[place])
    return args, rest, wish


@lru_cache(maxsize=512)
def _in_place_at(func: Any) -> int | None:
    """The place of the argument `inplace` of a Python function."""
    if not may_be_opened(func):
        return None
    names = func.__code__.co_varnames[: func.__code__.co_argcount]
    return names.index("inplace") if "inplace" in names else None


def out_of_place(func: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The same operation that leaves its operands as they are."""
    for place in (torch, Tensor, torch.nn.functional):
        twin: Callable[..., Any] | None = getattr(place, name, None)
        if twin is not None:
            return twin
    return _on_a_copy(func)


def _on_a_copy(func: Callable[..., Any]) -> Callable[..., Any]:
    def write(copy: Tensor, others: tuple[Any, ...], named: Mapping[str, Any]) -> Tensor:
        # What is set gives nothing back.
        func(copy, *others, **named)
        return copy

    return lambda first, *others, **named: write(first.clone(), others, named)


def _of_two(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """The name of an operation, where one name is two: the larger of two numbers, and the largest
    along a dimension.
    """
    other = args[1] if len(args) > 1 else kwargs.get("other")
    is_of_two = name in ("max", "min") and isinstance(other, Tensor)
    return f"{name}imum" if is_of_two else name


def _kind(name: str, args: tuple[Any, ...], heard: frozenset[int]) -> OperationKind | None:
    """The kind of an operation on these operands."""
    # The reciprocal of a signal is not affine.
    if name in QUOTIENTS and len(args) > 1 and id(args[1]) in heard:
        return OperationKind.PRODUCT
    return kind_of(name, len(heard))
