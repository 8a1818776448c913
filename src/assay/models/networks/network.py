"""A torch module as a `Model`: frozen and in evaluation mode while it works, and left exactly as it
was found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import Any, Literal, final

import torch
from torch import Tensor, fx, nn

from assay.engine import Chunking
from assay.errors import InputError, KindError, ModelError
from assay.inputs.layout import Rows, arranged
from assay.models.base import Ability, LocalChange, Model, checked, digest
from assay.models.identity import identity
from assay.models.networks import graph, layered
from assay.models.networks import layers as cut
from assay.models.networks.by_name import behind_names
from assay.models.networks.decisions import ONE_BY_ONE, watched
from assay.models.networks.fast_forms import (
    HEARD_FROM,
    PRECISIONS,
    WORTH_FROM,
    FastForms,
    HeardForm,
    Version,
    can_be_fast,
    of_full_precision,
    version_of,
)
from assay.models.networks.fingerprint import Fingerprint
from assay.models.networks.fused import folds
from assay.models.networks.guarantees.slope_bounds import SlopeBounds, slope_bounds
from assay.models.networks.locks import alone_in
from assay.models.networks.module_state import (
    ModuleState,
    in_training,
    parameters_of,
    parts_of,
)
from assay.models.networks.operations.grad_mode import code_minds, minds_slopes
from assay.models.networks.operations.interception import Interception
from assay.models.networks.places import embeddings_of, name_of, places_of


def _acts_in_training(module: nn.Module) -> bool:
    """Whether a module behaves differently in train mode."""
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return isinstance(module, nn.modules.batchnorm._BatchNorm) or module.track_running_stats
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
        return float(module.dropout) > 0
    return isinstance(module, nn.RReLU)


def _first_weights(module: nn.Module) -> Tensor | None:
    """The tensor that tells device and number type; a module without any takes what comes."""
    tensors = chain(module.parameters(), module.buffers())
    floating = (tensor for tensor in tensors if tensor.is_floating_point())
    first = next(floating, None)
    if first is None or first.element_size() > 1:
        return first
    # Eight bits are for storage: what is computed in tells, where there is such.
    return next((tensor for tensor in floating if tensor.element_size() > 1), first)


def _exported_rows(module: nn.Module) -> int | None:
    """The number of rows that an exported program has built in, if it has."""
    if not isinstance(module, fx.GraphModule):
        return None
    for node in module.graph.nodes:
        value = node.meta.get("val")
        # A free dimension is a symbol there.
        if node.op == "placeholder" and isinstance(value, Tensor) and value.dim():
            rows = value.shape[0]
            return rows if isinstance(rows, int) else None
    return None


def _check_weights(module: nn.Module, device: torch.device | None) -> None:
    """Refuses weights that do not exist yet, that hold no numbers, or that lie elsewhere."""
    if any(torch.nn.parameter.is_lazy(parameter) for parameter in module.parameters()):
        raise ModelError(
            expected="a model whose weights exist",
            got=f"{type(module).__name__} with lazy ones",
            advice="Call it once first.",
        )
    first = _first_weights(module)
    if first is not None and first.is_meta:
        raise ModelError(
            expected="a model whose weights hold numbers",
            got=f"{type(module).__name__} with weights on the meta device, which has shapes only",
            advice="Load them: module.to_empty(device='cpu'), then load_state_dict(...).",
        )
    if first is not None and device is not None and first.device.type != device.type:
        raise InputError(
            expected=f"the model on {device}",
            got=f"it on {first.device}",
            advice="Move it there first: model.to(...).",
        )


@final
class Network(layered.Layered):
    """A torch.nn.Module."""

    def __init__(
        self,
        module: nn.Module,
        output: Callable[[Any], Any],
        chunking: Chunking | None = None,
        device: torch.device | None = None,
        speedups: bool = True,
    ) -> None:
        _check_weights(module, device)
        self.module = module
        self.output = output
        self.chunking = chunking or Chunking()
        self._device = device
        # Behind torch.compile the original module is kept under this name.
        self.called = getattr(module, "_orig_mod", module)
        # Names of arguments belong to the call: parts have theirs in the module itself.
        self.plain = behind_names(self.called)
        # Hooks, and so layers, are not heard by scripted modules.
        scripted = isinstance(module, torch.jit.ScriptModule)
        self.abilities = frozenset({Ability.GRADIENT, Ability.LAYERS, Ability.OPERATIONS})
        if scripted:
            self.abilities = frozenset({Ability.GRADIENT})
        # Channels-last is an order of images: worth trying where they are convolved.
        convolutions = any(isinstance(part, nn.Conv2d) for part in module.modules())
        self.memory_formats = 1 + convolutions
        self._forms: FastForms | None = None
        if speedups and can_be_fast(module):
            self._forms = FastForms(module, output)
        self._exported_rows = _exported_rows(self.plain)
        self._fingerprint = Fingerprint(module, self.plain)
        self._heard_form: HeardForm | None = None
        if speedups and can_be_fast(module):
            self._heard_form = HeardForm(self.called, output, self._fingerprint.digest)
        # As the module was found by the innermost session that is open.
        self._state: ModuleState | None = None
        # As it was found by the last session, and put back.
        self._kept: ModuleState | None = None
        self.learnt = {}
        # Until a first forward has told whether it writes to large tensors.
        self._copies_large = True
        self._asked = False

    @property
    def name(self) -> str:
        return type(self.plain).__name__

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where the weights are now: `.to(...)` may move them after they were wrapped."""
        first = None if self._device is not None else _first_weights(self.module)
        return self._device or (first.device if first is not None else torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype | None:  # type: ignore[override]
        """The number type of the weights as it is now; `.double()` may change it."""
        first = _first_weights(self.module)
        return first.dtype if first is not None else None

    @property
    def incremental(self) -> bool:  # type: ignore[override]
        """Whether `call_changed` may cost less than `call`."""
        return self._forms is not None and self.dtype in PRECISIONS

    def call(self, rows: Rows, context: Mapping[str, Any], memory_format: int = 0) -> Tensor:
        foreign = next((row for row in rows if not isinstance(row, Tensor)), None)
        if foreign is not None:
            raise KindError(
                expected=f"tensors for the torch module {self.name}",
                got=type(foreign).__name__,
                advice=(
                    "Hand over numbers, such as torch.as_tensor(frame.to_numpy()) with "
                    "features=Columns(names=...), or encode texts and explain behind the "
                    "embedding."
                ),
            )
        if self._exported_rows not in (None, len(rows[0])):
            raise ModelError(
                expected=f"chunks of the {self._exported_rows} rows that {self.name} was exported for",
                got=f"one of {len(rows[0])}",
                advice=(
                    "Export it with a free first dimension: torch.export.export(module, args, "
                    "dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)); one of a single row takes "
                    "wrap(model, batch_size=1)."
                ),
            )
        outputs = layered.in_format(
            self, memory_format, lambda tried: self._forward(rows, context, tried)
        )
        return checked(outputs, len(rows[0]), self.name)

    def first_call(self, rows: Rows, context: Mapping[str, Any]) -> Tensor:
        # Whether numbers are taken out depends on no number: once for rows of a shape.
        known = ("watched", *layered.described(rows))
        if not context and known in self.learnt:
            return self.call(rows, context)
        outputs, taken_out = watched(self.call, rows, context)
        if taken_out:
            self.ask_one_by_one()
        elif not context and self._state is not None:
            self.learnt[known] = True
        return outputs

    def ask_one_by_one(self) -> None:
        self.one_by_one = ONE_BY_ONE
        self.chunking = replace(self.chunking, batch_size=1, plan=None)
        # Chunks that were searched before, and forms that pay for many rows, are done with.
        self.__dict__.pop("_searches", None)
        if self._forms is not None:
            self._forms.close()
            self._forms = None

    def _forward(self, rows: Rows, context: Mapping[str, Any], memory_format: int) -> Any:
        self.start_afresh()
        if self.interception is not None:
            # The module as it was written: copies, since it may write on them.
            rows = graph.copies(rows)
            heard = self._heard(self.interception, rows, context, memory_format)
            with self.hearing(rows):
                return self.output(heard(*arranged(rows, memory_format), **context))
        # The module itself, where no faster form is open.
        runner: Callable[..., Any] = self.module
        if self._forms is not None:
            runner = self._forms.runner(memory_format)
        return self.output(runner(*arranged(rows, memory_format), **context))

    def _heard(
        self,
        interception: Interception,
        rows: Rows,
        context: Mapping[str, Any],
        memory_format: int,
    ) -> Callable[..., Any]:
        """What rules hear: the module, or its form with batch norms folded where they may."""
        interception.folded = None
        # Whether it is depends on the order of memory, and so on the clock.
        repeated = self.chunking.reproducible or self.chunking.plan is not None
        if self._heard_form is None or context or not memory_format or repeated:
            return self.called
        # By the rows of the question alone, so that it is answered alike however often it is asked.
        worth = interception.may_hear_form and interception.rows >= HEARD_FROM
        if not worth or not of_full_precision(rows):
            return self.called
        form = self._heard_form.chosen(rows, self.learnt, compared=interception.is_compared)
        if form is None:
            return self.called
        interception.folded = folds(form)
        forward: Callable[..., Any] = form.forward
        return forward

    def start_afresh(self) -> None:
        # Before a forward and not behind it: slopes may still need what the one before has written.
        if self._state is not None:
            self._state.restore_parts()
            self._refuse_written(self._state)
            self._asked = True

    def call_changed(
        self, rows: Rows, change: LocalChange, context: Mapping[str, Any], memory_format: int = 0
    ) -> Tensor:
        outputs = None
        # Clean maps are gathered place by place, which is cheap in the channels-last order alone.
        if self._forms is not None and min(memory_format, self.memory_formats - 1):
            (images,) = arranged(rows, memory_format)
            outputs = self._forms.changed_outputs(images, change)
        if outputs is None:
            # Not local, or not faster: whole images.
            return self.call(rows, context, memory_format)
        return checked(outputs, len(rows[0]), self.name)

    @property
    def minds_slopes(self) -> bool:
        return minds_slopes((self.module,)) or code_minds(self.output)

    @contextmanager
    def session(self, *, slopes: bool) -> Iterator[None]:
        with alone_in(self.module), self._alone_session(slopes=slopes):
            yield

    @contextmanager
    def _alone_session(self, *, slopes: bool) -> Iterator[None]:
        self._check_evaluation_mode()
        if slopes and any(parameter.is_inference() for parameter in parameters_of(self.module)):
            raise ModelError(
                expected="weights that slopes can pass",
                got=f"{self.name} with weights made in inference mode",
                advice=(
                    "Make or load it outside of inference_mode, or use a method that only "
                    "asks for predictions."
                ),
            )
        # cuDNN's recurrent layers have no backward in evaluation mode.
        recurrent = self.device.type == "cuda" and any(
            isinstance(part, nn.RNNBase) for part in self.module.modules()
        )
        outer = self._state
        state = self._found(outer)
        # Kept again where the session ends as it should.
        self._kept = None
        try:
            state.freeze()
            self._state = state
            with super().session(slopes=slopes), torch.backends.cudnn.flags(enabled=not recurrent):
                yield
            self._refuse_written(state)
            # One forward has told that nothing large is written to: from now on that is watched.
            if self._asked:
                self._copies_large = state.large_written
        finally:
            if self._forms is not None:
                self._forms.close()
            if self._heard_form is not None:
                self._heard_form.close()
            self._state = outer
            state.restore()
        if outer is None and state.can_be_kept:
            self._kept = state

    def _found(self, outer: ModuleState | None) -> ModuleState:
        """The module as it is now. Where nothing has changed since the session before, that is what
        this one has found, and what was learnt of it still holds.
        """
        kept = self._kept
        if outer is None:
            if kept is not None and not self._copies_large and kept.unchanged:
                return kept
            self.learnt = {}
        return ModuleState.of(self.module, large=self._copies_large)

    def _refuse_written(self, state: ModuleState) -> None:
        """Refuses a network whose forward writes to what cannot be put back."""
        written = state.written()
        if written is not None:
            # The next session copies it, if it can be.
            self._copies_large = True
            raise ModelError(
                expected=f"a forward of {self.name} that leaves its weights and state as they are",
                got=f"one that has written to {written}",
                advice=(
                    "It is changed now, and answers would depend on their order. Work on a copy in "
                    "the forward: state = self.state.clone()."
                ),
            )

    def _check_evaluation_mode(self) -> None:
        training = (part for part in parts_of(self.module) if in_training(part))
        acting = next((part for part in training if _acts_in_training(part)), None)
        if acting is not None:
            raise ModelError(
                expected="a model in evaluation mode",
                got=(
                    f"{self.name} in train mode with {acting}: its rows influence each other "
                    "or change from call to call"
                ),
                advice="Call model.eval() first.",
            )

    @property
    def prepared_from(self) -> float:
        return math.inf if self._forms is None else WORTH_FROM

    def prepare(self, rows: int, sample: Rows, context: Mapping[str, Any]) -> None:
        if self._forms is None:
            return
        self._forms.close()
        # A captured graph would have the context of the sample built in.
        if not context:
            self._forms.open(rows, sample)

    @property
    def weights_version(self) -> tuple[Version, ...]:
        """The addresses and counters of the parameters; buffers are put back after every session,
        which counts as writing.
        """
        return version_of(parameters_of(self.module))

    def fingerprint(self) -> bytes:
        with alone_in(self.module):
            weights = self._fingerprint.digest()
        # What is picked of the outputs decides the answer, too.
        return digest(weights, identity(self.output))

    def slope_bounds(
        self, rows: Rows, radius: Tensor, ball: Literal["linf", "l2"], seed: Any
    ) -> SlopeBounds | None:
        if len(rows) != 1 or not isinstance(rows[0], Tensor):
            return None
        with alone_in(self.module):
            return slope_bounds(self.plain, rows[0], radius, ball, seed)

    def cut_after(self, layer: Any, output: Any = None) -> cut.After:
        self.require(Ability.LAYERS, "layers to cut at")
        return cut.After(self, places_of(self.plain, self.name, layer, output))

    def cut_upto(self, layer: Any, output: Any = None) -> Model:
        self.require(Ability.LAYERS, "layers to cut at")
        places = places_of(self.plain, self.name, layer, output)
        if len(places) > 1:
            raise InputError(
                expected="one layer to stop at, and one part of its output",
                got=name_of(places),
                advice="Ask for a unit of each by itself: question.upto(layer, unit).",
            )
        return cut.Upto(self, places)

    @property
    def embeddings(self) -> tuple[str, ...]:
        return embeddings_of(self.plain)
