"""A torch module as a `Model`: frozen and in evaluation mode while it works, and left exactly as it
was found.
"""

from __future__ import annotations

import difflib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn

from assay.engine import ChunkSearch
from assay.errors import AbilityError, InputError, KindError, ModelError
from assay.inputs.layout import Rows, arranged
from assay.models.base import Ability, Model, LocalChange, checked, digest
from assay.models.networks import graph
from assay.models.networks import layers as cut
from assay.models.networks.fused import fused
from assay.models.networks.incremental import IncrementalNetwork

_SMALL = 1 << 16  # elements of a buffer that is copied before the work

_TUNE_FROM = 256  # rows of work below which capturing the graph costs more than it saves

# What has been learnt about a network that is still alive: chunk sizes, and its tuned form with the weights it was made from.
_paces: WeakKeyDictionary[nn.Module, dict[str, ChunkSearch]] = WeakKeyDictionary()

_tuned: WeakKeyDictionary[
    nn.Module, tuple[Any, Callable[..., Any] | None, IncrementalNetwork | None]
] = WeakKeyDictionary()


def _acts_in_training(module: nn.Module) -> bool:
    """Whether a module behaves differently in train mode."""
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return isinstance(module, nn.modules.batchnorm._BatchNorm) or module.track_running_stats
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
        return float(module.dropout) > 0
    return isinstance(module, nn.RReLU)


@final
@dataclass(frozen=True, eq=False)
class _Kept:
    """A module's attributes as they were found, down to what its own lists and dicts hold and what
    its small buffers say.
    """

    part: nn.Module
    attributes: dict[str, Any]
    inside: dict[str, Any]
    buffers: list[tuple[Tensor, int, Tensor]]

    @classmethod
    def of(cls, part: nn.Module) -> _Kept:
        attributes = dict(vars(part))
        inside = {
            name: value.copy()
            for name, value in attributes.items()
            if type(value) in (dict, OrderedDict, list, set)
        }
        own = (
            b
            for b in part._buffers.values()
            if b is not None and b.numel() <= _SMALL and not b.is_inference()
        )
        return cls(part, attributes, inside, [(b, b._version, b.clone()) for b in own])

    def put_back(self) -> None:
        """Undoes what a forward has written."""
        now = vars(self.part)
        for name in [name for name in now if name not in self.attributes]:
            del now[name]
        for name, value in self.attributes.items():
            if now.get(name) is not value:
                now[name] = value
        for name, saved in self.inside.items():
            held = self.attributes[name]
            if not held and not saved:  # most of what a module holds is empty
                continue
            if len(held) != len(saved) or any(
                a is not b for a, b in zip(_held(held), _held(saved))
            ):
                held.clear()
                held.extend(saved) if isinstance(held, list) else held.update(saved)
        for buffer, version, values in self.buffers:
            if buffer._version != version:
                with torch.no_grad():
                    buffer.copy_(values)


def _held(container: Any) -> Any:
    return [*container, *container.values()] if isinstance(container, dict) else container


@final
class Network(cut.Layered):
    """A torch.nn.Module."""

    def __init__(
        self,
        module: nn.Module,
        output: Callable[[Any], Any],
        batch_size: int | None,
        device: torch.device | None,
    ) -> None:
        if any(torch.nn.parameter.is_lazy(p) for p in module.parameters()):
            raise ModelError(
                expected="a model whose weights exist",
                got=f"{type(module).__name__} with lazy ones",
                advice="Call it once first.",
            )
        first = next(
            (p for p in (*module.parameters(), *module.buffers()) if p.is_floating_point()), None
        )
        self.module = module
        self.output = output
        self.device = device or (first.device if first is not None else torch.device("cpu"))
        if first is not None and device is not None and first.device.type != device.type:
            raise InputError(
                expected=f"the model on {device}",
                got=f"it on {first.device}",
                advice="Move it there first: model.to(...).",
            )
        self.dtype = first.dtype if first is not None else None
        self._batch_size = batch_size
        self._form: Callable[..., Any] | None = (
            None  # the tuned form, while a session that has checked it is open
        )
        self._local: IncrementalNetwork | None = None  # the same, asked about patches
        self.plain = getattr(module, "_orig_mod", module)
        scripted = isinstance(module, torch.jit.ScriptModule)
        self.abilities = frozenset(
            {Ability.GRADIENT} if scripted else {Ability.GRADIENT, Ability.LAYERS}
        )
        self.incremental = any(isinstance(part, nn.Conv2d) for part in module.modules())
        self.layouts = 2 if self.incremental else 1

    @property
    def name(self) -> str:
        return type(self.plain).__name__

    def call(self, rows: Rows, context: Mapping[str, Any], layout: int = 0) -> Tensor:
        strange = next((row for row in rows if not isinstance(row, Tensor)), None)
        if strange is not None:
            raise KindError(
                expected=f"tensors for the torch module {self.name}",
                got=type(strange).__name__,
                advice=(
                    "Hand over numbers, such as torch.as_tensor(frame.to_numpy()) with "
                    "features=Columns(names=...), or encode texts and explain behind the "
                    "embedding."
                ),
            )
        runner: Callable[..., Any] = (
            self._form if self._form is not None and layout else self.module
        )
        return checked(
            self.output(runner(*arranged(rows, layout), **context)), len(rows[0]), self.name
        )

    def call_changed(
        self, rows: Rows, change: LocalChange, context: Mapping[str, Any], layout: int = 0
    ) -> Tensor:
        if self._local is None or not layout:
            return self.call(rows, context, layout)
        (images,) = arranged(rows, layout)
        outputs = (
            self.output(self._local.ask(images, change))
            if self._local.fits(images, change, self.output)
            else None
        )
        if outputs is None:
            self._local = None
            return self.call(rows, context, layout)
        return checked(outputs, len(images), self.name)

    def pace(self, purpose: str) -> ChunkSearch:
        if self._batch_size is not None:
            return ChunkSearch(layouts=self.layouts, fixed=self._batch_size)
        return _paces.setdefault(self.module, {}).setdefault(
            purpose, ChunkSearch(layouts=self.layouts)
        )

    @contextmanager
    def session(self, *, slopes: bool) -> Iterator[None]:
        training = [part for part in self.module.modules() if part.training]
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
        kept = [
            _Kept.of(part)
            for part in self.module.modules()
            if not isinstance(part, torch.jit.ScriptModule)
        ]
        if slopes and any(p.is_inference() for p in self.module.parameters()):
            raise ModelError(
                expected="weights that slopes can pass",
                got=f"{self.name} with weights made in inference mode",
                advice=(
                    "Make or load it outside of inference_mode, or use a method that only "
                    "asks for predictions."
                ),
            )
        learning = [
            p
            for p in self.module.parameters()
            if p.requires_grad and p.is_leaf and not p.is_inference()
        ]
        recurrent = self.device.type == "cuda" and any(
            isinstance(part, nn.RNNBase) for part in self.module.modules()
        )
        try:
            for part in training:
                part.training = False
            for parameter in learning:
                parameter.requires_grad_(False)
            with super().session(slopes=slopes), torch.backends.cudnn.flags(enabled=not recurrent):
                yield
        finally:
            if self._local is not None:
                self._local.forget()
            self._form = self._local = None
            for each in kept:
                each.put_back()
            for part in training:
                part.training = True
            for parameter in learning:
                parameter.requires_grad_(True)

    def prepare(self, rows: int, sample: Rows, context: Mapping[str, Any]) -> None:
        self._form = self._local = None
        if (
            rows < _TUNE_FROM
            or context
            or self.dtype not in (torch.float32, torch.float64)
            or graph.listened(self.module)
        ):
            return
        version = self._version()
        made, form, change = _tuned.get(self.module, (None, None, None))
        # What is written through .data, or read from an attribute by the forward, leaves no trace in the version.
        stale = form is not None and not graph.agree(
            self.output(form(*sample)), self.output(self.module(*sample))
        )
        if made != version or stale:
            form = fused(self.module, sample, self.output)
            change = IncrementalNetwork(form) if isinstance(form, fx.GraphModule) else None
            _tuned[self.module] = (version, form, change)
        self._form, self._local = form, change

    def _version(self) -> tuple[tuple[int, int], ...]:
        held = (*self.module.parameters(), *self.module.buffers())
        return tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in held)

    def fingerprint(self) -> bytes:
        state = [
            (name, tensor.detach().cpu().contiguous())
            for name, tensor in self.module.state_dict().items()
        ]
        parts = [
            name.encode() + t.reshape(-1).view(torch.uint8).numpy().tobytes()
            for name, t in state
            if t.numel()
        ]
        return digest(str(self.plain).encode(), *parts)

    def layer(self, name: str) -> nn.Module:
        """The layer of that name, or a refusal with the names that come near."""
        self.require(Ability.LAYERS, f"layer {name!r}")
        known = {key: part for key, part in self.plain.named_modules() if key}
        if name not in known:
            close = difflib.get_close_matches(name, known, n=5, cutoff=0.3) or list(known)[:8]
            raise AbilityError(
                expected=f"the name of a layer of {self.name}",
                got=repr(name),
                advice=f"Layers near it: {', '.join(close)}.",
            )
        layer: nn.Module = known[name]
        return layer

    def cut_after(self, layer: str) -> cut.After:
        self.layer(layer)
        return cut.After(self, layer)

    def cut_upto(self, layer: str) -> Model:
        self.layer(layer)
        return cut.Upto(self, layer)
