"""A network cut at a layer: the part before it, run once, and the part behind it, asked again and
again.

Hooks read an activation and put another in its place, as Captum's layer methods do; where the
network can be captured as a graph (`graph.split`), the part behind it runs alone instead.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, nn

from assay.engine import Chunks, out_of_memory
from assay.errors import AbilityError, AssayError, InputError, KindError
from assay.inputs.layout import Rows, arranged
from assay.models.base import Ability, Model, checked, digest
from assay.models.networks import graph
from assay.models.networks.decisions import watched
from assay.models.networks.layered import Layered, described, in_format
from assay.models.networks.places import Place, name_of, uncalled_advice, with_rows

_LONGEST = 300  # letters of a foreign message that are repeated


_BY_ROWS = "Cut at a layer whose output counts inputs in its first dimension."


_CARRIED = "carried "  # before the number of a tensor that travels beside the activation


Sample: TypeAlias = tuple[Rows, Mapping[str, Any]]
"""Some inputs and their context, as a network takes them."""


Layers: TypeAlias = tuple[tuple[tuple[int, ...], torch.dtype, torch.device], ...]
"""What layers give for one input, each: shape, number type and device."""


class _Reached(Exception):
    """Stops a forward at the layer that was asked for."""


@contextmanager
def _hooked(
    network: nn.Module, places: Sequence[Place], hook: Callable[[int, Any], Any]
) -> Iterator[None]:
    """Hands what the layers give to `hook(place's number, output)`, which may give another."""

    def heard(number: int) -> Callable[..., Any]:
        return lambda module, inputs, output: hook(number, output)

    with ExitStack() as stack:
        for number, place in enumerate(places):
            handle = network.get_submodule(place.layer).register_forward_hook(heard(number))
            stack.callback(handle.remove)
        # Hooks inside of a compiled part are not heard. Nothing is compiled where torch's compiler
        # has not been loaded, which takes seconds.
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


class _Cut(Model):
    """What the two halves of a network share with it."""

    def __init__(self, network: Layered, places: tuple[Place, ...]) -> None:
        self.network = network
        self.places = places
        self.layer = name_of(places)
        # Half a network is not cut again.
        self.abilities = network.abilities - {Ability.LAYERS}
        self.device = network.device
        self.dtype = network.dtype
        self.memory_formats = network.memory_formats
        self.chunking = network.chunking
        self.one_by_one = network.one_by_one

    @property
    def minds_slopes(self) -> bool:
        return self.network.minds_slopes

    def session(self, *, slopes: bool) -> Any:
        return self.network.session(slopes=slopes)

    def heard_by(self, interception: Any) -> Any:
        return self.network.heard_by(interception)

    def first_call(self, rows: Rows, context: Mapping[str, Any]) -> Tensor:
        outputs, taken_out = watched(self.call, rows, context)
        if taken_out:
            self.network.ask_one_by_one()
            self.one_by_one = self.network.one_by_one
            self.chunking = self.network.chunking
        return outputs

    def pace(self, purpose: str) -> Chunks:
        # The network owns the searches, so that asking it again behind the layer starts warm.
        return self.network.pace(f"{self.name} {purpose}")

    @property
    def weights_version(self) -> Any:
        return self.network.weights_version

    def fingerprint(self) -> bytes:
        return digest(self.network.fingerprint(), self.name.encode())

    def cut_after(self, layer: Any, output: Any = None) -> Any:
        raise self._uncut(layer)

    def cut_upto(self, layer: Any, output: Any = None) -> Model:
        raise self._uncut(layer)

    def _not_once(self, place: Place, calls: int, many: str = "") -> AbilityError:
        advice = "Cut at a layer that is called once, or give every use its own module."
        if calls == 0:
            advice = uncalled_advice(self.network.plain, (place,))
        return AbilityError(
            expected=f"layer {place} to be called once in a forward of {self.network.name}",
            got=many or f"{calls} calls",
            advice=advice,
        )

    def _uncut(self, layer: Any) -> AbilityError:
        name = repr(layer) if isinstance(layer, str) else type(layer).__name__
        return AbilityError(
            expected=f"a whole network to cut at {name}",
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
            self._called_once = graph.calls(self.network.plain, self.places[0].layer) == 1
        self.network.start_afresh()
        (place,) = self.places
        reached: list[Tensor] = []

        # What lies behind the layer is not run: an exception leaves the forward. Where the graph
        # does not tell, the first forward runs on, up to a second call of the layer if there is one.
        def stop(number: int, output: Any) -> None:
            again = bool(reached)
            reached.append(output if again else place.pick(output, len(rows[0])).clone())
            if self._called_once or len(reached) > 1:
                raise _Reached

        # Hooks are heard by the plain module alone: a compiled one may have inlined the layer.
        with _hooked(self.network.plain, self.places, stop):
            try:
                if self.network.interception is not None:
                    rows = graph.copies(rows)
                with self.network.hearing(rows):
                    self.network.called(*rows, **context)
            except _Reached:
                pass
            except Exception:
                # What lies behind the layer is not asked about, and may not fit these inputs.
                if not reached:
                    raise
        if not reached:
            raise AbilityError(
                expected=f"the forward of {self.network.name} to pass layer {place}",
                got="one that never does",
                advice=uncalled_advice(self.network.plain, self.places),
            )
        if len(reached) > 1:
            raise self._not_once(place, 2, "2 calls or more")
        self._called_once = True
        return reached[0]

    def cut_upto(self, layer: Any, output: Any = None) -> Model:
        return self.network.cut_upto(layer, output)


@final
class After(_Cut):
    """The rest of the network behind a layer.

    Where the network can be captured as a graph, what skips past the layer is computed once and
    carried beside the activation; elsewhere the forward is run again from the start and the layer's
    output is exchanged.
    """

    split: graph.Split | None = None
    _common: tuple[bool, ...] = ()
    """Which layers give one activation for all inputs, such as embedded positions."""

    @property
    def name(self) -> str:
        return f"{self.network.name} after {self.layer}"

    @property
    def how(self) -> str:
        """In words, whether the part before the layer runs once."""
        if self.split is not None:
            return "the part before the layer ran once (captured as a graph)"
        recomputed = "the part before the layer was recomputed for every row"
        if self._captured_whole:
            return f"the network cannot be captured as a graph: {recomputed}"
        return f"several layers, or a part of an output, are exchanged on the way: {recomputed}"

    @property
    def _captured_whole(self) -> bool:
        """Whether the layer's output is one tensor, behind which a graph can be split."""
        return len(self.places) == 1 and not self.places[0].path

    def study(
        self,
        two: Sample,
        each: Sequence[Sample],
        *,
        captured: bool,
        met: tuple[Rows, Tensor] | None = None,
    ) -> Layers:
        """Learns from two inputs, and from each of them alone, what the layers give for an input:
        shape, number type and device of each; `captured` if the rest may be asked alone.

        The network remembers it for inputs of this kind, as long as it is what it was. A graph that
        is remembered answers like the network, or the network is captured anew: from the activations
        of some inputs to their outputs where these were `met`, else from the two inputs.
        """
        rows, context = two
        # Two rows that are alike show less.
        alike = all(torch.equal(row[:1], row[1:]) for row in rows)
        known = self._known(rows, captured, alike)
        if not context and known in self.network.learnt:
            self.split, self._common, layers = self.network.learnt.pop(known)
            if self.split is None or self._still_answers(rows, met):
                self.network.learnt[known] = (self.split, self._common, layers)
                return tuple(layers)
            self.split = None
        if captured:
            self.capture(*two)
        self.check_apart(*two)
        given = self.learn(two, each)
        layers = tuple((tuple(layer.shape[1:]), layer.dtype, layer.device) for layer in given)
        # What could not be captured may be, of other inputs.
        if not context and (self.split is not None or not captured):
            self.network.learnt[known] = (self.split, self._common, layers)
        return layers

    def _known(self, rows: Rows, captured: bool, alike: bool) -> tuple[Any, ...]:
        """Under which name the network remembers what was learnt of this layer, of such inputs."""
        return "at", self.places, captured, alike, *described(tuple(row[:1] for row in rows))

    def known_layers(self, rows: Rows, *, single: bool) -> Layers | None:
        """What the layers give for an input, where that was learnt of such inputs before, and of
        all that the network answers, that rows do not influence each other. Of a `single` input it
        may have been learnt of itself twice.
        """
        learnt = self.network.learnt
        if not self.network.known_apart(rows):
            return None
        found = learnt.get(self._known(rows, False, False))
        if found is None and single:
            found = learnt.get(self._known(rows, False, True))
        _, self._common, layers = found or (None, (), None)
        return None if layers is None else tuple(layers)

    def _still_answers(self, rows: Rows, met: tuple[Rows, Tensor] | None) -> bool:
        """Whether the graph answers like the network, which may read what no session sees."""
        try:
            if met is not None and self.carries_nothing:
                layers, outputs = met
                return graph.agree(self.call(layers, {}), outputs)
            layers, carried = self.before(rows, {})
            ours = self.call(layers, names_of(carried))
        except Exception as error:
            # A graph that has become another may raise anything.
            if out_of_memory(error):
                raise
            return False
        return graph.agree(ours, self.network.call(graph.copies(rows), {}))

    @property
    def carries_nothing(self) -> bool:
        """Whether the part behind the layer takes the activation alone."""
        return self.split is not None and self.split.carried == 0

    @property
    def is_common(self) -> bool:
        """Whether a layer gives one activation for all inputs."""
        return any(self._common)

    def capture(self, sample: Rows, context: Mapping[str, Any]) -> None:
        """Tries to capture the network as a graph, on a sample of rows."""
        if not context and self._captured_whole:
            self.split = graph.split(
                self.network.called, self.places[0].layer, sample, self.network.output
            )

    def learn(self, two: Sample, each: Sequence[Sample]) -> Rows:
        """Learns from two inputs, and from each of them alone, how activations count inputs.

        Gives the activations of the two. Refuses what only looks as if it had a row for each.
        """
        if self.split is None and len(two[0][0]) > 1:
            samples = (two, each[0])
            shapes = [[tensor.shape for tensor in self._given(*sample)] for sample in samples]
            self._common = tuple(of_two == of_one for of_two, of_one in zip(*shapes))
        layers, _ = self.before(*two)
        alone, _ = self.before(*each[0])
        for place, beside, single in zip(self.places, layers, alone):
            if beside.shape[1:] != single.shape[1:]:
                raise KindError(
                    expected=f"an activation with one row for each input out of layer {place}",
                    got=f"shape {tuple(beside.shape)} for two and {tuple(single.shape)} for one",
                    advice=_BY_ROWS,
                )
        if self.split is None:
            self._check_answers(two, each, layers)
        return layers

    def _check_answers(self, two: Sample, each: Sequence[Sample], layers: Rows) -> None:
        """Refuses an exchange after which the network answers otherwise."""
        rows, context = two
        whole = self.network.call(graph.copies(rows), context)
        ours = self._answers(layers, rows, context)
        same = graph.agree(ours, whole)
        if same and any(self._common):
            # With rows of their own, which they never had: each has to serve its own input.
            unlike = tuple(
                torch.cat([layer[:1], layer[1:] / 2]) if is_common else layer
                for layer, is_common in zip(layers, self._common)
            )
            ours = self._answers(unlike, rows, context)
            alone = [
                self._answers(tuple(layer[row : row + 1] for layer in unlike), *one)
                for row, one in enumerate(each)
            ]
            whole = torch.cat(alone)
            same = graph.agree(ours, whole)
        if not same and bool(torch.isfinite(whole).all()):
            raise AbilityError(
                expected=f"{self.name} to answer like the whole network",
                got="another answer to the same inputs",
                advice=_BY_ROWS,
            )

    def _answers(
        self, layers: Rows, inputs: Sequence[Tensor], context: Mapping[str, Any]
    ) -> Tensor:
        try:
            return self.call(layers, {**context, **names_of(inputs)})
        except AssayError:
            raise
        except Exception as error:
            if out_of_memory(error):
                raise
            # The whole network takes these inputs: it is the exchange that it does not take.
            raise AbilityError(
                expected=f"{self.name} to go on with an activation that has a row for each input",
                got=f"{type(error).__name__}: {error}"[:_LONGEST],
                advice=_BY_ROWS,
            ) from error

    def before(
        self, rows: Rows, context: Mapping[str, Any], memory_format: int = 0
    ) -> tuple[Rows, Sequence[Tensor]]:
        """The activations of a chunk, layer by layer, and what is carried beside them."""
        parts: tuple[Rows, Sequence[Tensor]] = in_format(
            self, memory_format, lambda tried: self._before(arranged(rows, tried), context)
        )
        return parts

    def _before(self, rows: Rows, context: Mapping[str, Any]) -> tuple[Rows, Sequence[Tensor]]:
        self.network.start_afresh()
        # Captured: what skips past the layer is worked out here, once.
        if self.split is not None:
            activation, *carried = self.split.before.forward(*graph.copies(rows))
            return (self.places[0].pick(activation, len(rows[0])),), carried
        # Not captured: hooks read the activations, and the inputs themselves are carried.
        layers = []
        for number, given in enumerate(self._given(rows, context)):
            is_common = number < len(self._common) and self._common[number]
            layers.append(with_rows(given, len(rows[0])) if is_common else given)
            self.places[number].check_rows(layers[-1], len(rows[0]))
        return tuple(layers), rows

    def _given(self, rows: Rows, context: Mapping[str, Any]) -> list[Tensor]:
        """What the layers give in one forward, as it is."""
        self.network.start_afresh()
        passed: list[list[Tensor]] = [[] for _ in self.places]

        # A copy at once: what follows may write on the layer's output (a sum, a rectifier in place).
        def read(number: int, output: Any) -> None:
            passed[number].append(self.places[number].find(output, len(rows[0])).clone())

        with _hooked(self.network.plain, self.places, read):
            self.network.called(*graph.copies(rows), **context)
        self._check_called(list(map(len, passed)))
        return [activation for (activation,) in passed]

    def passed(
        self, rows: Rows, context: Mapping[str, Any], memory_format: int, *, slopes: bool
    ) -> tuple[Rows, Tensor]:
        """One forward of inputs (of a session with slopes, where those are asked): the activations
        that it passes, as leaves that slopes are taken at, and the outputs.

        What skips past the layer, and what lies before it, is no part of the slopes.
        """
        parts: tuple[Rows, Tensor] = in_format(
            self.network,
            memory_format,
            lambda tried: self._passed(arranged(rows, tried), context, slopes),
        )
        return parts

    def _passed(self, rows: Rows, context: Mapping[str, Any], slopes: bool) -> tuple[Rows, Tensor]:
        self.network.start_afresh()
        n = len(rows[0])
        leaves: list[list[Tensor]] = [[] for _ in self.places]

        def exchange(number: int, output: Any) -> Any:
            place = self.places[number]
            given = place.check_rows(place.find(output, n), n)
            leaf = given.detach().clone().requires_grad_(slopes)
            leaves[number].append(leaf)
            # A copy goes on: what follows may write on it.
            return place.replaced(output, leaf.clone())

        with _hooked(self.network.plain, self.places, exchange):
            outputs = self.network.output(self.network.called(*graph.copies(rows), **context))
        self._check_called(list(map(len, leaves)))
        return tuple(leaf for (leaf,) in leaves), checked(outputs, n, self.network.name)

    def check_apart(self, sample: Rows, context: Mapping[str, Any]) -> None:
        """Refuses layers of which one lies behind another: exchanged, it would hide the first."""
        if len(self.places) == 1:
            return
        behind: list[Place] = []

        def watch(number: int, output: Any) -> Any:
            activation = self.places[number].find(output, len(sample[0]))
            if activation.requires_grad:
                behind.append(self.places[number])
            if not activation.is_floating_point():
                return None
            leaf = activation.detach().clone().requires_grad_()
            return self.places[number].replaced(output, leaf.clone())

        self.network.start_afresh()
        try:
            with torch.enable_grad(), _hooked(self.network.plain, self.places, watch):
                self.network.called(*graph.copies(sample), **context)
        except AssayError:
            raise
        except Exception:
            # A forward that takes no gradients is not one that fails: nothing hangs on a gradient.
            return
        if behind:
            raise InputError(
                expected="layers that lie side by side",
                got=f"{self.layer}, of which {behind[0]} lies behind another",
                advice="Ask behind one after the other: question.after(layer) for each.",
            )

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
        copies = graph.copies((*arranged(rows, memory_format), *carried))
        activations = copies[: len(self.places)]
        beside = copies[len(self.places) :]
        if self.split is not None:
            with self.network.hearing(activations):
                return self.network.output(self.split.behind.forward(*activations, *beside))
        # What is carried are then the inputs: the forward runs from the start, and hooks exchange
        # what the layers give for the activations that are asked about.
        original = {name: value for name, value in context.items() if name not in names}
        exchanged = [0] * len(self.places)

        def exchange(number: int, output: Any) -> Any:
            exchanged[number] += 1
            is_common = number < len(self._common) and self._common[number]
            return self.places[number].exchange(output, activations[number], is_common)

        with _hooked(self.network.plain, self.places, exchange), self.network.hearing(activations):
            outputs = self.network.output(self.network.called(*beside, **original))
        self._check_called(exchanged)
        return outputs

    def _check_called(self, calls: Sequence[int]) -> None:
        for place, count in zip(self.places, calls):
            if count != 1:
                raise self._not_once(place, count)


@final
class Through(_Cut):
    """The network whose slopes pass through some units of a layer alone.

    It answers like the network. What the other units pass on, and what skips past the layer, is
    taken as constant by the backward pass.
    """

    def __init__(self, rest: After, units: Any, mask: Tensor) -> None:
        super().__init__(rest.network, rest.places)
        self.rest = rest
        self.units = units
        self._mask = mask

    @property
    def name(self) -> str:
        return f"{self.network.name} through {self.units!r} of {self.layer}"

    def call(self, rows: Rows, context: Mapping[str, Any], memory_format: int = 0) -> Tensor:
        layers, beside = self.rest.before(rows, context, memory_format)
        (activation,) = layers
        fixed = activation.detach()
        # The same numbers: a difference of equal ones is 0.
        open_part = (activation - fixed) * self._mask.to(activation.device, activation.dtype)
        carried = names_of([tensor.detach() for tensor in beside])
        return self.rest.call((fixed + open_part,), {**context, **carried}, memory_format)

    def cut_upto(self, layer: Any, output: Any = None) -> Model:
        return self.network.cut_upto(layer, output)


def names_of(carried: Sequence[Tensor]) -> dict[str, Tensor]:
    """Carried tensors under the names by which `After` finds them again."""
    return {f"{_CARRIED}{index}": tensor for index, tensor in enumerate(carried)}
