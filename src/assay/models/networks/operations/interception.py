"""Hears every operation of a forward that carries signal, and hands each to a rule.

Signal is what hangs on the inputs: weights are frozen while a question is asked, so a tensor that
requires a slope carries signal, and no other does. Every tensor with signal must have come out of an
operation that was heard. One that has not came out of something that speaks no Python (a scripted
part, a function with its own backward), and is refused instead of being passed on as a plain
gradient.

In place means out of place, and written back: autograd keeps the versions apart.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from assay.errors import AbilityError, AssayError
from assay.models.networks.operations.decomposed import decomposed
from assay.models.networks.operations.kinds import QUOTIENTS, OperationKind, kind_of, spelled
from assay.models.networks.operations.opened import may_be_opened, opened
from assay.models.networks.operations.operation import Operation, caller, tensors_in

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

    def spread(self, answers: Tensor) -> Tensor:  # may be overridden
        """The answers for the reference rows, one for each row that is compared with them."""
        return answers

    def simplify(self) -> bool:  # may be overridden
        """Goes on without a short cut after a refusal; False where there is none."""
        return False

    @property
    def leaves(self) -> list[Tensor]:  # may be overridden
        """Tensors of the inputs' shapes whose slopes are asked beside those of the inputs."""
        return []

    def attributed(  # may be overridden
        self, rows: Tensor, slopes: Tensor, beside: Tensor | None
    ) -> Tensor:
        """What is made of the slopes (r, elements) at the rows, and of those of the leaves."""
        return slopes

    @contextmanager
    def recording(self) -> Iterator[None]:  # may be overridden
        """A forward of the reference rows is on its way."""
        yield

    # --- listening

    def learn_names(self, module: nn.Module) -> None:
        """Learns which weights belong to which layer."""
        for name, parameter in module.named_parameters():
            self._layers[id(parameter)] = name.rpartition(".")[0]

    @contextmanager
    def over(self, tensors: Iterable[Any]) -> Iterator[None]:
        """Listens to a forward of these tensors, which carry signal if slopes are asked of them."""
        self.forget()
        # Coverage is that of one forward, however many chunks there are.
        self.seen.clear()
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

    def forget(self) -> None:
        """Lets go of one forward."""
        self._heard.clear()
        self._weights.clear()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        try:
            return self._called(func, args, kwargs or {})
        except AssayError as refusal:
            self._refused = refusal
            raise

    def _called(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if not torch.is_grad_enabled():
            return func(*args, **kwargs)
        hanging = [
            tensor for tensor in tensors_in((*args, *kwargs.values())) if tensor.requires_grad
        ]
        heard = frozenset(id(tensor) for tensor in hanging if id(tensor) in self._heard)
        self._refuse_unheard(hanging)
        if not heard:
            return self._of_weights(func(*args, **kwargs))
        # x * x is a product of two: the second x goes under an alias.
        if len(heard) < sum(id(tensor) in heard for tensor in hanging):
            args, aliases = self._aliased(args, heard)
            heard = heard | aliases
        return self._heard_call(func, args, kwargs, heard)

    def _of_weights(self, given: Any) -> Any:
        """What is made of weights alone, whose slopes nobody asks for."""
        for tensor in tensors_in((given,)):
            if tensor.requires_grad:
                self._weights[id(tensor)] = tensor
        return given

    def _aliased(
        self, args: tuple[Any, ...], heard: frozenset[int]
    ) -> tuple[tuple[Any, ...], frozenset[int]]:
        met: set[int] = set()
        aliases: set[int] = set()

        def alias(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return type(value)(alias(part) for part in value)
            if id(value) in met:
                value = value.view_as(value)
                self.admit((value,))
                aliases.add(id(value))
            elif id(value) in heard:
                met.add(id(value))
            return value

        return tuple(alias(value) for value in args), frozenset(aliases)

    def _heard_call(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        heard: frozenset[int],
    ) -> Any:
        name, in_place = spelled(func)
        # Attributes: sizes and types, and views such as x.T.
        if name == "get":
            return self._admitted(func(*args, **kwargs))
        kind = kind_of(name, len(heard))
        # The reciprocal of a signal is not affine.
        if name in QUOTIENTS and len(args) > 1 and id(args[1]) in heard:
            kind = OperationKind.PRODUCT
        if kind is None and may_be_opened(func):
            with self:
                return opened(func)(*args, **kwargs)
        call, rest = out_of_place(func, name, in_place, kwargs)
        operation = Operation(name, kind, call, args, rest, self._layer_of(args, kwargs), heard)
        self.writes = in_place or bool(kwargs.get("inplace"))
        # Moving numbers in place is as linear as it is out of place.
        if kind is OperationKind.STRUCTURE and in_place:
            self.moved(operation)
            given = func(*args, **kwargs)
            self.admit(args[:1])
            return self._admitted(given)
        given = self._given(operation)
        if self.writes:
            target: Tensor = args[0] if args else kwargs["input"]
            given = target.copy_(given)
            self.overwritten(target)
        return self._admitted(given)

    def _admitted(self, given: Any) -> Any:
        self.admit((given,))
        return given

    def _given(self, operation: Operation) -> Any:
        """What the operation gives: plain where it gives no signal, else by `handle`."""
        kind = operation.kind
        if kind is not None and kind is not OperationKind.STOP:
            return self.handle(operation)
        given = operation()
        if not any(tensor.requires_grad for tensor in tensors_in((given,))):
            # Comparisons, sizes, positions: nothing hangs on them.
            return given
        if kind is OperationKind.STOP:
            self.seen[operation.name, kind.value] += 1
            return given
        return self.unknown(operation)

    def overwritten(self, target: Tensor) -> None:  # may be overridden
        """Hears that a tensor holds other numbers now."""

    def moved(self, operation: Operation) -> None:  # may be overridden
        """Hears of an operation that moves numbers in place, before it does."""
        self.seen[operation.name, OperationKind.STRUCTURE.value] += 1

    def unknown(self, operation: Operation) -> Any:  # may be overridden
        """What is done about an operation that carries signal and is none of the known ones."""
        raise self.refusal(operation)

    def again(self, operation: Operation) -> Any:
        """The operation said in plainer ones, which are heard in turn."""
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

    writes: bool = False
    """Whether the operation that is heard writes on its first operand."""
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


def out_of_place(
    func: Callable[..., Any], name: str, in_place: bool, kwargs: Mapping[str, Any]
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The same operation that leaves its operands as they are."""
    rest = dict(kwargs)
    if rest.get("inplace"):
        rest["inplace"] = False
    if not in_place:
        return func, rest
    for place in (torch, Tensor, torch.nn.functional):
        twin = getattr(place, name, None)
        if twin is not None:
            return twin, rest
    return _on_a_copy(func), rest


def _on_a_copy(func: Callable[..., Any]) -> Callable[..., Any]:
    return lambda first, *others, **named: func(first.clone(), *others, **named)
