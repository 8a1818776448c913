"""A network whose layers have names: its last map of places, and whoever hears its forwards."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from assay.engine import out_of_memory
from assay.errors import AbilityError
from assay.inputs.layout import Rows
from assay.models.base import Ability, Model
from assay.models.networks import graph
from assay.models.networks.operations.interception import Interception


def _has_places(output: Any, rows: int) -> bool:
    if not isinstance(output, Tensor) or output.dim() not in (4, 5) or len(output) != rows:
        return False
    return output.shape[2:].numel() > 1


class Layered(Model):
    """A network whose layers have names."""

    interception: Interception | None = None
    """Who hears its forwards, while somebody does."""
    plain: nn.Module
    called: nn.Module
    """The module without a compiler around it: hooks are heard by it alone."""
    output: Callable[[Any], Any]
    learnt: dict[Any, Any]
    """What was learnt of the module as it is now; a session that finds it changed forgets it."""

    @abstractmethod
    def start_afresh(self) -> None:
        """Takes back what the forward before has written on the module, within a session."""

    def last_layer_with_places(self, rows: Rows, context: Mapping[str, Any]) -> str:
        self.require(Ability.LAYERS, "layers with places")
        known = ("last layer with places", *described(rows))
        if not context and known in self.learnt:
            return str(self.learnt[known])
        name = self._last_layer_with_places(rows, context)
        if not context:
            self.learnt[known] = name
        return name

    def _last_layer_with_places(self, rows: Rows, context: Mapping[str, Any]) -> str:
        self.start_afresh()
        calls: list[str] = []
        times: Counter[str] = Counter()

        def heard(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                times[name] += 1
                if _has_places(output, len(rows[0])):
                    calls.append(name)

            return hook

        with ExitStack() as stack:
            for name, module in self.plain.named_modules():
                if name and not isinstance(module, torch.jit.ScriptModule):
                    handle = module.register_forward_hook(heard(name))
                    stack.callback(handle.remove)
            if "torch._dynamo" in sys.modules:
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            self.called(*graph.copies(rows), **context)
        # A layer that is called twice has two outputs, and a cut at it would not say which.
        once = [name for name in calls if times[name] == 1]
        if once:
            return once[-1]
        raise AbilityError(
            expected=f"a layer of {self.name} whose output has places, (channels, height, width)",
            got="none in a forward of the first input",
            advice=(
                "Layers of tokens are mapped with the grid that they lie on: "
                "GradCam(layer, grid=(14, 14))."
            ),
        )

    @contextmanager
    def heard_by(self, interception: Interception) -> Iterator[None]:
        self.require(Ability.OPERATIONS, "rules for its operations")
        interception.learn_names(self.plain)
        outer = self.interception
        self.interception = interception
        try:
            yield
        finally:
            self.interception = outer

    @contextmanager
    def hearing(self, tensors: Sequence[Any]) -> Iterator[None]:
        """A forward of these tensors is heard, if anybody hears this network's."""
        if self.interception is None:
            yield
            return
        with ExitStack() as stack:
            # What is compiled runs without torch's interface, and would not be heard.
            if "torch._dynamo" in sys.modules:
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(self.interception.over(tensors))
            yield

    def known_apart(self, rows: Rows) -> bool:
        return ("apart", *described(rows)) in self.learnt

    def learn_apart(self, rows: Rows) -> None:
        self.learnt["apart", *described(rows)] = True

    def witness(self, rows: Rows) -> Witness | None:
        """A row of this kind and what was said of it alone, where that is known."""
        found: Witness | None = self.learnt.get(("witness", *described(rows)))
        return found

    def keep_witness(self, rows: Rows, witness: Witness | None) -> None:
        """Remembers it for the next question about rows of this kind, or forgets the one there is."""
        self.learnt["witness", *described(rows)] = witness

    @abstractmethod
    def ask_one_by_one(self) -> None:
        """From now on every row is asked alone, see `decisions`."""


@final
@dataclass(frozen=True, eq=False)
class Witness:
    """A row (elements,) whose answer alone is known: beside others it tells whether they influence it.

    Settings:
        row: its numbers.
        outputs: what the network said of it (1, ...).
    """

    row: Tensor
    outputs: Tensor


def described(rows: Rows) -> tuple[Any, ...]:
    """What tells rows of one kind from those of another, whatever numbers are in them."""
    return tuple(
        (tuple(row.shape), row.dtype, row.device) if isinstance(row, Tensor) else type(row)
        for row in rows
    )


def in_format(model: Model, memory_format: int, forward: Callable[[int], Any]) -> Any:
    """What a forward gives for rows in a memory format, or in the plain one where the model takes
    no other: `x.view(n, -1)` refuses the strides of channels-last images.
    """
    # What has refused once is not tried again; searches that began before may still propose it.
    memory_format = min(memory_format, model.memory_formats - 1)
    if memory_format == 0:
        return forward(0)
    try:
        return forward(memory_format)
    except RuntimeError as error:
        # The engine answers this one with smaller chunks.
        if out_of_memory(error):
            raise
    # What the plain format refuses as well is the network's own error.
    outputs = forward(0)
    model.memory_formats = 1
    return outputs
