"""A torch module as a `Model`: frozen and in evaluation mode while it works, and left exactly as it was found."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from assay import cut, graph
from assay.engine import Pace
from assay.errors import AbilityError, InputError, ModelError
from assay.layout import Rows, arranged
from assay.model import Ability, Model, checked, digest

_FOLD_FROM = 256  # rows of work below which capturing the graph costs more than it saves

# What has been learnt about a network that is still alive: chunk sizes, and its folded form with the weights it was made from.
_paces: WeakKeyDictionary[nn.Module, dict[str, Pace]] = WeakKeyDictionary()
_folded: WeakKeyDictionary[nn.Module, tuple[Any, Callable[..., Any] | None]] = WeakKeyDictionary()


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
class Network(cut.Layered):
    """A torch.nn.Module."""

    def __init__(
        self, module: nn.Module, output: Callable[[Any], Any], batch_size: int | None, device: torch.device | None
    ) -> None:
        first = next((p for p in (*module.parameters(), *module.buffers()) if p.is_floating_point()), None)
        self.module = module
        self.output = output
        self.device = device or (first.device if first is not None else torch.device("cpu"))
        if first is not None and device is not None and first.device.type != device.type:
            raise InputError(f"Expected the model on {device}, got it on {first.device}. Move it there first: model.to(...).")
        self.dtype = first.dtype if first is not None else None
        self._batch_size = batch_size
        self.plain = getattr(module, "_orig_mod", module)
        scripted = isinstance(module, torch.jit.ScriptModule)
        self.abilities = frozenset({Ability.GRADIENT} if scripted else {Ability.GRADIENT, Ability.LAYERS})
        self.layouts = 2 if any(isinstance(part, nn.Conv2d) for part in module.modules()) else 1

    @property
    def name(self) -> str:
        return type(self.plain).__name__

    def call(self, rows: Rows, context: Mapping[str, Any], layout: int = 0) -> Tensor:
        runner: Callable[..., Any] = self._current() or self.module
        return checked(self.output(runner(*arranged(rows, layout), **context)), len(rows[0]), self.name)

    def pace(self, purpose: str) -> Pace:
        if self._batch_size is not None:
            return Pace(fixed=self._batch_size)
        return _paces.setdefault(self.module, {}).setdefault(purpose, Pace(layouts=self.layouts))

    @contextmanager
    def session(self, *, slopes: bool) -> Iterator[None]:
        training = [part for part in self.module.modules() if part.training]
        acting = next((part for part in training if _acts_in_training(part)), None)
        if acting is not None:
            raise ModelError(
                f"Expected a model in evaluation mode, got {self.name} in train mode with {acting}: its rows influence each "
                "other or change from call to call. Call model.eval() first."
            )
        learning = [p for p in self.module.parameters() if p.requires_grad and p.is_leaf]
        recurrent = self.device.type == "cuda" and any(isinstance(part, nn.RNNBase) for part in self.module.modules())
        try:
            for part in training:
                part.training = False
            for parameter in learning:
                parameter.requires_grad_(False)
            with super().session(slopes=slopes), torch.backends.cudnn.flags(enabled=not recurrent):
                yield
        finally:
            for part in training:
                part.training = True
            for parameter in learning:
                parameter.requires_grad_(True)

    def prepare(self, rows: int, sample: Rows, context: Mapping[str, Any]) -> None:
        if rows < _FOLD_FROM or context or self.dtype not in (torch.float32, torch.float64):
            return
        version = self._version()
        if self.module in _folded and _folded[self.module][0] == version:
            return
        _folded[self.module] = (version, graph.folded(self.module, sample, self.output))

    def _current(self) -> Callable[..., Any] | None:
        """The folded form, while the weights are those it was made from and nothing listens to the modules."""
        version, form = _folded.get(self.module, (None, None))
        if form is None or version != self._version() or graph._listened(self.module):
            return None
        return form

    def _version(self) -> tuple[tuple[int, int], ...]:
        return tuple((t.data_ptr(), t._version) for t in (*self.module.parameters(), *self.module.buffers()))

    def fingerprint(self) -> bytes:
        state = [(name, tensor.detach().cpu().contiguous()) for name, tensor in self.module.state_dict().items()]
        parts = [name.encode() + t.reshape(-1).view(torch.uint8).numpy().tobytes() for name, t in state if t.numel()]
        return digest(str(self.plain).encode(), *parts)

    def layer(self, name: str) -> nn.Module:
        """The layer of that name, or a refusal with the names that come near."""
        self.require(Ability.LAYERS, f"layer {name!r}")
        known = {key: part for key, part in self.plain.named_modules() if key}
        if name not in known:
            near = difflib.get_close_matches(name, known, n=5, cutoff=0.3) or list(known)[:8]
            raise AbilityError(f"Expected the name of a layer of {self.name}, got {name!r}. Layers near it: {', '.join(near)}.")
        return known[name]

    def cut_after(self, layer: str) -> cut.After:
        self.layer(layer)
        return cut.After(self, layer)

    def cut_upto(self, layer: str) -> Model:
        self.layer(layer)
        return cut.Upto(self, layer)

