"""A predictor, wrapped once at the door: what it can do, how it is called, and that it is left as
it was found.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any, final

import torch
from torch import Tensor

from assay.engine import ChunkSearch
from assay.errors import AbilityError, KindError, ModelError
from assay.inputs.layout import Rows
from assay.numerics.rectangles import Rectangles


class Ability(Enum):
    """What a model can do beyond answering; methods ask for abilities by name."""

    GRADIENT = "gradient"
    LAYERS = "layers"
    TREES = "trees"
    TEXT = "text"


class Model(ABC):
    """Any predictor. Subclasses say how one chunk of rows is answered; chunking is the engine's
    business.
    """

    abilities: frozenset[Ability] = frozenset()
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype | None = None
    takes_missing: bool = False
    """Whether NaN is a value the predictor knows what to do with."""
    incremental: bool = False
    """Whether `call_near` may cost less than `call`."""
    layouts: int = 1
    """Memory layouts of a chunk that may be tried for speed; layout 0 is the plain one."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What the predictor is called in messages and provenance."""

    @abstractmethod
    def call(self, rows: Rows, context: Mapping[str, Any], layout: int = 0) -> Tensor:
        """The raw outputs (r, ...) of one chunk."""

    def call_changed(
        self, rows: Rows, change: LocalChange, context: Mapping[str, Any], layout: int = 0
    ) -> Tensor:
        """The same for images that differ from others in a patch only, which may cost less."""
        return self.call(rows, context, layout)

    @abstractmethod
    def pace(self, purpose: str) -> ChunkSearch:
        """The chunk sizes learnt so far for one kind of work."""

    @abstractmethod
    def fingerprint(self) -> bytes:
        """A hash of everything that decides the outputs, as far as it can be read."""

    @contextmanager
    def session(self, *, slopes: bool) -> Iterator[None]:
        """Everything the model needs while it works; whatever is changed is put back, also after an
        exception.
        """
        # no_grad rather than inference_mode: what a forward caches in its buffers must stay usable in training.
        with torch.inference_mode(False), torch.enable_grad() if slopes else torch.no_grad():
            yield

    def prepare(self, rows: int, sample: Rows, context: Mapping[str, Any]) -> None:
        """Told before long work how many rows will come, with a sample of them."""

    def require(self, ability: Ability, who: str) -> None:
        """Refuses when the model lacks an ability."""
        if ability not in self.abilities:
            have = (
                ", ".join(sorted(each.value for each in self.abilities)) or "none beyond answering"
            )
            raise AbilityError(
                f"{who} needs a model with the ability {ability.value!r}; {self.name} has: {have}."
            )

    def cut_after(self, layer: str) -> Any:
        """The rest of the model behind a layer."""
        raise AbilityError(
            f"{self.name} has no layers that could be named; wrap a torch.nn.Module."
        )

    def cut_upto(self, layer: str) -> Model:
        """The model that stops at a layer."""
        raise AbilityError(
            f"{self.name} has no layers that could be named; wrap a torch.nn.Module."
        )


def checked(outputs: Any, rows: int, who: str) -> Tensor:
    """Outputs as one tensor with a row per input, or a refusal that says how to get there."""
    if not isinstance(outputs, Tensor):
        if isinstance(outputs, list) and not any(hasattr(part, "shape") for part in outputs):
            raise KindError(
                expected=f"one tensor of outputs from {who}",
                got=f"a list of {type(next(iter(outputs), None)).__name__}",
                advice="Return scores or probabilities as an array: numpy.asarray(outputs).",
            )
        if isinstance(outputs, Mapping):
            advice = (
                f"wrap(model, output={next(iter(outputs), 'name')!r})"
                if outputs
                else "wrap(model, output=...)"
            )
        elif isinstance(outputs, tuple | list):
            advice = "wrap(model, output=0) for its first part"
        else:
            advice = "wrap(model, output=lambda out: ...)"
        raise KindError(
            expected=f"one tensor of outputs from {who}",
            got=type(outputs).__name__,
            advice=f"Say which part is meant: {advice}.",
        )
    if outputs.dim() == 0 or len(outputs) != rows:
        raise ModelError(
            expected=f"one output row for each of {rows} inputs from {who}",
            got=f"a tensor of shape {tuple(outputs.shape)}",
            advice="The first dimension of inputs and outputs counts rows.",
        )
    return outputs


def finite(outputs: Tensor, who: str, where: str) -> Tensor:
    """The same outputs, all of them numbers."""
    if not bool(torch.isfinite(outputs).all()):
        bad = (
            (~torch.isfinite(outputs)).flatten(1).any(1)
            if outputs.dim() > 1
            else ~torch.isfinite(outputs)
        )
        raise ModelError(
            expected=f"finite outputs from {who}",
            got=f"NaN or infinity in {int(bad.sum())} of {len(outputs)} rows {where}",
            advice=(
                "Check the inputs' preprocessing, and that the removal leaves values the "
                "model can take."
            ),
        )
    return outputs


def digest(*parts: bytes) -> bytes:
    """One hash of several byte strings, each with its length."""
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        hashed.update(len(part).to_bytes(8, "little") + part)
    return hashed.digest()


@final
@dataclass(frozen=True, eq=False)
class LocalChange:
    """What rows are near to: images by number, `count` in all, and rectangles of their owners
    outside of which both agree.
    """

    inputs: Callable[[Tensor], Tensor]
    count: int
    place: Rectangles
