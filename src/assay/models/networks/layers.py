"""A network cut at a layer: the part before it, run once, and the part behind it, asked again and
again.

Hooks read an activation and put another in its place, as Captum's layer methods do; where the
network can be captured as a graph (`graph.split`), the part behind it runs alone instead.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

from torch import Tensor, nn

from assay.engine import Chunks, out_of_memory
from assay.errors import AbilityError, KindError
from assay.inputs.layout import Rows, arranged
from assay.models.base import Ability, Model, checked, digest
from assay.models.networks import graph

_CARRIED = "carried "  # before the number of a tensor that travels beside the activation


class Layered(Model):
    """A network whose layers have names."""

    plain: nn.Module
    """The module without a compiler around it: hooks are heard by it alone."""
    output: Callable[[Any], Any]

    @abstractmethod
    def layer(self, name: str) -> nn.Module:
        """The layer of that name, or a refusal with the names that come near."""

    @abstractmethod
    def start_afresh(self) -> None:
        """Takes back what the forward before has written on the module, within a session."""


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


class _Reached(Exception):
    """Stops a forward at the layer that was asked for."""


def _activation(value: Any, layer: str, rows: int) -> Tensor:
    if isinstance(value, Tensor) and (value.dim() == 0 or len(value) != rows):
        raise KindError(
            expected=(
                f"an activation with one row for each of {rows} inputs out of layer {layer!r}"
            ),
            got=f"shape {tuple(value.shape)}",
            advice="Cut at a layer whose output counts inputs in its first dimension.",
        )
    if not isinstance(value, Tensor):
        raise KindError(
            expected=f"one tensor out of layer {layer!r}",
            got=type(value).__name__,
            advice="Cut at a layer that returns one tensor.",
        )
    return value


@contextmanager
def _hooked(layer: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


class _Cut(Model):
    """What the two halves of a network share with it."""

    def __init__(self, network: Layered, layer: str) -> None:
        self.network = network
        self.layer = layer
        # Half a network is not cut again.
        self.abilities = network.abilities - {Ability.LAYERS}
        self.device = network.device
        self.dtype = network.dtype
        self.memory_formats = network.memory_formats
        self.chunking = network.chunking

    def session(self, *, slopes: bool) -> Any:
        return self.network.session(slopes=slopes)

    def pace(self, purpose: str) -> Chunks:
        # The network owns the searches, so that asking it again behind the layer starts warm.
        return self.network.pace(f"{self.name} {purpose}")

    @property
    def weights_version(self) -> Any:
        return self.network.weights_version

    def fingerprint(self) -> bytes:
        return digest(self.network.fingerprint(), self.name.encode())

    def cut_after(self, layer: str) -> Any:
        raise self._uncut(layer)

    def cut_upto(self, layer: str) -> Model:
        raise self._uncut(layer)

    def _called_again(self, calls: str) -> AbilityError:
        return AbilityError(
            expected=f"layer {self.layer!r} to be called once in a forward of {self.network.name}",
            got=calls,
            advice="Cut at a layer that is called once, or give every use its own module.",
        )

    def _uncut(self, layer: str) -> AbilityError:
        return AbilityError(
            expected=f"a whole network to cut at {layer!r}",
            got=self.name,
            advice="Ask the question of the network.",
        )


@final
class Upto(_Cut):
    """The network that stops at a layer and answers with its activation.

    A layer that is called again has no one activation, and is refused. The graph tells; where the
    network cannot be captured, the first forward, which then runs to the end.
    """

    _called_once = False

    @property
    def name(self) -> str:
        return f"{self.network.name} up to {self.layer}"

    def call(self, rows: Rows, context: Mapping[str, Any], memory_format: int = 0) -> Tensor:
        activation: Tensor = in_format(
            self, memory_format, lambda tried: self._forward(arranged(rows, tried), context)
        )
        return activation

    def _forward(self, rows: Rows, context: Mapping[str, Any]) -> Tensor:
        if not self._called_once and not context:
            self._called_once = graph.calls(self.network.plain, self.layer) == 1
        self.network.start_afresh()
        reached: list[Any] = []

        # What lies behind the layer is not run: an exception leaves the forward. Where the graph
        # does not tell, the first forward runs on, up to a second call of the layer if there is one.
        def stop(module: nn.Module, inputs: Any, output: Any) -> None:
            reached.extend(graph.copies((output,)))
            if self._called_once or len(reached) > 1:
                raise _Reached

        # Hooks are heard by the plain module alone: a compiled one may have inlined the layer.
        with _hooked(self.network.layer(self.layer), stop):
            try:
                self.network.plain(*rows, **context)
            except _Reached:
                pass
            except Exception:
                # What lies behind the layer is not asked about, and may not fit these inputs.
                if not reached:
                    raise
        if not reached:
            raise AbilityError(
                expected=f"the forward of {self.network.name} to pass layer {self.layer!r}",
                got="one that never does",
                advice="Cut at a layer that every forward calls.",
            )
        if len(reached) > 1:
            raise self._called_again("2 calls or more")
        self._called_once = True
        return _activation(reached[0], self.layer, len(rows[0]))

    def cut_upto(self, layer: str) -> Model:
        return self.network.cut_upto(layer)


@final
class After(_Cut):
    """The rest of the network behind a layer.

    Where the network can be captured as a graph, what skips past the layer is computed once and
    carried beside the activation; elsewhere the forward is run again from the start and the layer's
    output is exchanged.
    """

    split: graph.Split | None = None

    @property
    def name(self) -> str:
        return f"{self.network.name} after {self.layer}"

    @property
    def how(self) -> str:
        """In words, whether the part before the layer runs once."""
        if self.split is not None:
            return "the part before the layer ran once (captured as a graph)"
        return (
            "the network cannot be captured as a graph: the part before the layer was recomputed "
            "for every row"
        )

    def capture(self, sample: Rows, context: Mapping[str, Any]) -> None:
        """Tries to capture the network as a graph, on a sample of rows."""
        if not context:
            self.split = graph.split(self.network.plain, self.layer, sample, self.network.output)

    def before(
        self, rows: Rows, context: Mapping[str, Any], memory_format: int = 0
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """The activation of a chunk, and what is carried beside it."""
        parts: tuple[Tensor, Sequence[Tensor]] = in_format(
            self, memory_format, lambda tried: self._before(arranged(rows, tried), context)
        )
        return parts

    def _before(self, rows: Rows, context: Mapping[str, Any]) -> tuple[Tensor, Sequence[Tensor]]:
        self.network.start_afresh()
        # Captured: what skips past the layer is worked out here, once.
        if self.split is not None:
            activation, *carried = self.split.before.forward(*graph.copies(rows))
            return _activation(activation, self.layer, len(rows[0])), carried
        # Not captured: a hook reads the activation, and the inputs themselves are carried.
        passed: list[Any] = []

        # A copy at once: what follows may write on the layer's output (a sum, a rectifier in place).
        def read(module: nn.Module, inputs: Any, output: Any) -> None:
            passed.extend(graph.copies((output,)))

        with _hooked(self.network.layer(self.layer), read):
            self.network.plain(*graph.copies(rows), **context)
        if len(passed) != 1:
            raise self._called_again(f"{len(passed)} calls")
        return _activation(passed[0], self.layer, len(rows[0])), rows

    def call(self, rows: Rows, context: Mapping[str, Any], memory_format: int = 0) -> Tensor:
        outputs = in_format(self, memory_format, lambda tried: self._forward(rows, context, tried))
        return checked(outputs, len(rows[0]), self.name)

    def _forward(self, rows: Rows, context: Mapping[str, Any], memory_format: int) -> Any:
        self.network.start_afresh()
        names = [name for name in context if name.startswith(_CARRIED)]
        carried = [context[f"{_CARRIED}{index}"] for index in range(len(names))]
        # The part before the layer may have answered in another order than this one takes.
        if memory_format == 0:
            carried = [tensor.contiguous() for tensor in carried]
        # Copies go on: the network may write on them, and they are asked about again.
        activation, *beside = graph.copies((*arranged(rows, memory_format), *carried))
        if self.split is not None:
            return self.network.output(self.split.behind.forward(activation, *beside))
        # What is carried are then the inputs: the forward runs from the start, and the hook
        # exchanges the layer's output for the activation that is asked about.
        original = {name: value for name, value in context.items() if name not in names}
        with _hooked(self.network.layer(self.layer), lambda module, inputs, output: activation):
            return self.network.output(self.network.plain(*beside, **original))


def names_of(carried: Sequence[Tensor]) -> dict[str, Tensor]:
    """Carried tensors under the names by which `After` finds them again."""
    return {f"{_CARRIED}{index}": tensor for index, tensor in enumerate(carried)}
