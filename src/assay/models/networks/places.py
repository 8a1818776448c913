"""Places to cut a network at: layers, by their names or as modules, and parts of their outputs.

A layer may give several tensors: a recurrent network its outputs and its state, a block of a
transformer a mapping with attributes. One of them is then picked, and on the way back exchanged,
while the others stay as they are.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from assay.errors import AbilityError, InputError, KindError

_LISTED = 8  # names or parts that a refusal lists at most


@final
@dataclass(frozen=True)
class Place:
    """One tensor out of a layer.

    Settings:
        layer: the layer's name.
        path: the way to the tensor in what the layer gives, key by key; nothing where that is one
            tensor.
    """

    layer: str
    path: tuple[int | str, ...] = ()

    def pick(self, output: Any, rows: int) -> Tensor:
        """The tensor, which has a row for each input, or a refusal that names what there is."""
        return self.check_rows(self.find(output, rows), rows)

    def check_rows(self, value: Tensor, rows: int) -> Tensor:
        """The tensor, if it has a row for each input."""
        if value.dim() == 0 or len(value) != rows:
            raise KindError(
                expected=f"an activation with one row for each of {rows} inputs out of layer {self}",
                got=f"shape {tuple(value.shape)}",
                advice="Cut at a layer whose output counts inputs in its first dimension.",
            )
        return value

    def find(self, output: Any, rows: int) -> Tensor:
        """The tensor, whatever its shape."""
        value = output
        for key in self.path:
            try:
                value = _part(value, key)
            except (LookupError, AttributeError, TypeError) as error:
                raise KindError(
                    expected=f"a part {_spelt(self.path)} of the output of layer {self.layer!r}",
                    got=_described(output),
                    advice=_parts_advice(output, rows),
                ) from error
        if not isinstance(value, Tensor):
            raise KindError(
                expected=f"one tensor out of layer {self}",
                got=_described(value),
                advice=_parts_advice(output, rows),
            )
        return value

    def exchange(self, output: Any, activation: Tensor, common: bool = False) -> Any:
        """The layer's output with the tensor exchanged for another of the same shape.

        What is `common` to all inputs, such as embedded positions, is exchanged for a row each.
        """
        theirs = self.find(output, len(activation))
        if common:
            theirs = with_rows(theirs, len(activation))
        # Broadcasting would hide it, and explain another network.
        if theirs.shape != activation.shape:
            raise AbilityError(
                expected=f"layer {self} to give the same shape for every input",
                got=f"{tuple(theirs.shape)} after {tuple(activation.shape)}",
                advice="Cut at a layer whose activation does not depend on the inputs beside it.",
            )
        return self.replaced(output, activation)

    def replaced(self, output: Any, other: Tensor) -> Any:
        """The layer's output with another tensor in this place."""
        return _with_part(output, self.path, other)

    def __str__(self) -> str:
        return f"{self.layer!r}{_spelt(self.path)}"


def with_rows(common: Tensor, rows: int) -> Tensor:
    """What a layer gives for all inputs together, once for each: (r, ...)."""
    # A first dimension of one stands for the inputs, as in broadcasting; else there is none.
    one = common if common.dim() > 1 and len(common) == 1 else common.unsqueeze(0)
    return one.expand(rows, *one.shape[1:])


def name_of(places: tuple[Place, ...]) -> str:
    """What several places are called together."""
    return " and ".join(f"{place.layer}{_spelt(place.path)}" for place in places)


# --- which layers, and which parts of them


def places_of(network: nn.Module, who: str, layer: Any, output: Any = None) -> tuple[Place, ...]:
    """The places that layers and parts of their outputs stand for.

    Settings:
        network: the module without a compiler around it.
        who: what the network is called.
        layer: a name, a module, or a list of them.
        output: a part for all layers, or a list with one for each; None for a whole output.
    """
    layers = list(layer) if isinstance(layer, list | tuple) else [layer]
    outputs = list(output) if isinstance(output, list) else [output] * len(layers)
    # Several parts of one layer.
    if len(layers) == 1 and len(outputs) > 1:
        layers = layers * len(outputs)
    if not layers or len(layers) != len(outputs):
        raise InputError(
            expected="one layer or more, and as many parts of outputs",
            got=f"{len(layers)} layers and {len(outputs)} parts",
            advice="Name them: question.after(['first', 'second'], output=[0, None]).",
        )
    names = [layer_name(network, who, one) for one in layers]
    places = tuple(Place(name, _path(part)) for name, part in zip(names, outputs))
    _check_apart(places)
    return places


def _check_apart(places: tuple[Place, ...]) -> None:
    """Refuses a place that is given twice, or inside of another."""
    for index, place in enumerate(places):
        for other in places[:index]:
            shorter = min(len(place.path), len(other.path))
            # A part inside of another would be exchanged twice, and its credit counted twice.
            if place.layer == other.layer and place.path[:shorter] == other.path[:shorter]:
                raise InputError(
                    expected="layers, or parts of one, that differ",
                    got=f"{other} and {place}",
                    advice="Name each once.",
                )


def _path(output: Any) -> tuple[int | str, ...]:
    """The way to a part: one key or several."""
    if output is None:
        return ()
    keys = output if isinstance(output, tuple) else (output,)
    for key in keys:
        if isinstance(key, bool) or not isinstance(key, int | str):
            raise KindError(
                expected="the number, the key or the attribute of a part of a layer's output",
                got=repr(output),
                advice="Use output=0 for the first part, a tuple such as (1, 0) for parts of parts.",
            )
    if not keys:
        raise KindError(
            expected="the number, the key or the attribute of a part of a layer's output",
            got="()",
            advice="Leave output out where a layer gives one tensor.",
        )
    return tuple(keys)


def layer_name(network: nn.Module, who: str, layer: Any) -> str:
    """The name of a layer, given by name or as the module, or a refusal that names others."""
    if isinstance(layer, nn.Module):
        return _name_of_module(network, who, layer)
    if not isinstance(layer, str):
        raise KindError(
            expected=f"the name of a layer of {who}, or the layer itself",
            got=type(layer).__name__,
            advice=f"Layers: {_listed(network, _names(network))}.",
        )
    found = _submodule(network, layer)
    if found is None or found is network:
        names = _names(network)
        near = difflib.get_close_matches(layer, names, n=5, cutoff=0.3) or names
        raise AbilityError(
            expected=f"the name of a layer of {who}",
            got=repr(layer),
            advice=f"Layers near it: {_listed(network, near)}.",
        )
    return _name_of_module(network, who, found)


def _submodule(network: nn.Module, name: str) -> nn.Module | None:
    """The module of that name, whatever other names it has, or None."""
    # Behind torch.compile modules are kept under this name.
    try:
        return network.get_submodule(name.removeprefix("_orig_mod."))
    except AttributeError:
        return None


def _name_of_module(network: nn.Module, who: str, layer: nn.Module) -> str:
    # A module that is registered twice goes by its first name.
    names: dict[int, str] = {id(part): name for name, part in network.named_modules()}
    name = names.get(id(layer))
    if name:
        _check_not_scripted(network, who, name)
        return name
    kind = type(layer).__name__
    alike = [
        other for other, part in network.named_modules() if other and type(part) is type(layer)
    ]
    raise InputError(
        expected=f"a layer inside of {who}",
        got=f"a {kind} that is {'the network itself' if name == '' else 'not in it'}",
        advice=(
            f"Hand over the network's own module, or its name; layers near it: "
            f"{_listed(network, alike or _names(network))}."
        ),
    )


def _check_not_scripted(network: nn.Module, who: str, name: str) -> None:
    keys = name.split(".")
    parents = [".".join(keys[: index + 1]) for index in range(len(keys))]
    for parent in parents:
        part = network.get_submodule(parent)
        # What is traced, as against scripted, is heard itself, but nothing inside of it.
        traced = type(part).__name__ == "TopLevelTracedModule"
        heard = parent == name and traced
        if isinstance(part, torch.jit.ScriptModule) and not heard:
            raise AbilityError(
                expected=f"a layer of {who} that is heard when it is called",
                got=f"{name!r} in {parent!r}, which is compiled by torch.jit",
                advice="Cut at a layer outside of it, or hand over the network before torch.jit.",
            )


def _names(network: nn.Module) -> list[str]:
    return [name for name, _ in network.named_modules() if name]


def _listed(network: nn.Module, names: list[str]) -> str:
    # Layers of a compiled part go by the names that they had before.
    plain = [name.replace("_orig_mod.", "") for name in names if not name.endswith("_orig_mod")]
    return ", ".join(dict.fromkeys(plain[:_LISTED])) or "none, it is one layer itself"


def uncalled_advice(network: nn.Module, places: tuple[Place, ...]) -> str:
    """What to do about layers that no forward has called."""
    for place in places:
        layer = network.get_submodule(place.layer)
        # Containers are never called, their parts are.
        if isinstance(layer, nn.ModuleList | nn.ModuleDict):
            parts = [f"{place.layer}.{key}" for key, _ in layer.named_children()]
            return f"It only holds layers: question.after({parts[:_LISTED]})."
        # By identity: weights that are tied are one tensor, under several layers.
        weights = {id(weight) for weight in layer.parameters()}
        tied = [
            name
            for name, part in network.named_modules()
            if name
            and part is not layer
            and weights & {id(weight) for weight in part.parameters(recurse=False)}
        ]
        if tied and not any(name.startswith(f"{place.layer}.") for name in tied):
            return f"Its weights are used by {_listed(network, tied)}: cut there."
    return "Cut at a layer that every forward calls."


def embeddings_of(network: nn.Module) -> tuple[str, ...]:
    """The layers that embed numbers of words, without those that only hold another's weights."""
    found = {
        name: layer
        for name, layer in network.named_modules()
        if name and isinstance(layer, nn.Embedding | nn.EmbeddingBag)
    }
    # Weights that encoder and decoder share are held further up, by a layer that nobody calls.
    depths: dict[int, int] = {}
    for name, layer in found.items():
        weight = id(layer.weight)
        depths[weight] = max(depths.get(weight, 0), name.count("."))
    return tuple(
        name.replace("_orig_mod.", "")
        for name, layer in found.items()
        if name.count(".") == depths[id(layer.weight)]
    )


# --- parts of outputs


def _part(value: Any, key: int | str) -> Any:
    """A part by its number, its key or its attribute's name."""
    if isinstance(value, PackedSequence):
        raise TypeError("rows of a packed sequence are no inputs")
    if isinstance(value, Tensor):
        raise TypeError("a tensor has no parts")
    # Outputs of the transformers library are mappings that count their parts as well.
    if isinstance(key, int) and hasattr(value, "to_tuple"):
        return value.to_tuple()[key]
    if isinstance(key, int) or isinstance(value, Mapping):
        return value[key]
    return getattr(value, key)


def _with_part(output: Any, path: tuple[int | str, ...], part: Tensor) -> Any:
    """A copy of an output whose part is another."""
    if not path:
        return part
    key, *rest = path
    before = _part(output, key)
    after = _with_part(before, tuple(rest), part)
    if isinstance(output, tuple):
        position = key if isinstance(key, int) else _position(output, before)
        parts = list(output)
        parts[position] = after
        # Named tuples take their parts one by one.
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    if isinstance(output, Mapping | list):
        changed: Any = copy.copy(output)
        changed[_key_of(output, key, before)] = after
        return changed
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return dataclasses.replace(output, **{str(key): after})
    changed = copy.copy(output)
    setattr(changed, str(key), after)
    return changed


def _position(parts: tuple[Any, ...], part: Any) -> int:
    return next(index for index, other in enumerate(parts) if other is part)


def _key_of(output: Any, key: int | str, part: Any) -> Any:
    """The key in a mapping of a part that was counted."""
    if isinstance(output, Mapping) and key not in output:
        return next(name for name, other in output.items() if other is part)
    return key


def _described(value: Any) -> str:
    """What kind of output, and of what shape if it is a tensor."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return type(value).__name__


def _parts_advice(output: Any, rows: int) -> str:
    if isinstance(output, Tensor):
        return "The layer gives one tensor: leave output out."
    if isinstance(output, PackedSequence):
        return "Cut before the sequences are packed, or behind the layer that pads them again."
    tensors = [(path, part) for path, part in _tensors(output, ()) if len(path) <= 2]
    # Those with a row for each input come first.
    tensors.sort(key=lambda pair: pair[1].dim() == 0 or len(pair[1]) != rows)
    if not tensors:
        return "Cut at a layer that returns one tensor."
    parts = [f"output={_argument(path)} {tuple(part.shape)}" for path, part in tensors[:_LISTED]]
    return f"Say which part is meant, with its shape: {', '.join(parts)}."


def _tensors(
    output: Any, path: tuple[int | str, ...]
) -> list[tuple[tuple[int | str, ...], Tensor]]:
    """The tensors in an output, each with the way to it."""
    if isinstance(output, Tensor):
        return [(path, output)]
    inner: list[tuple[Any, Any]] = []
    if isinstance(output, Mapping):
        inner = list(output.items())
    elif isinstance(output, tuple | list) and not isinstance(output, PackedSequence):
        inner = list(enumerate(output))
    elif dataclasses.is_dataclass(output):
        inner = list(vars(output).items())
    return [found for key, part in inner for found in _tensors(part, (*path, key))]


def _argument(path: tuple[int | str, ...]) -> str:
    return repr(path[0]) if len(path) == 1 else repr(path)


def _spelt(path: tuple[int | str, ...]) -> str:
    return "".join(f"[{key!r}]" for key in path)
