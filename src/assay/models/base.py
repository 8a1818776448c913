"""The base of all models: what a predictor can do, how it is called, and that it is left as it was
found.

This is the interface for models of one's own (a remote service, another framework): subclass
`Model`, write `call` and `fingerprint`, and hand the object to `Question`. Hooks that may be
overridden are marked.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, final

import torch
from torch import Tensor

from assay.engine import Chunking, Chunks, ChunkSearches
from assay.errors import AbilityError, KindError, ModelError
from assay.inputs.layout import Rows
from assay.numerics.rectangles import Rectangles

if TYPE_CHECKING:
    from assay.models.forests.tree_model import TreeModel


class Ability(Enum):
    """What a model can do beyond answering; methods ask for abilities by name."""

    GRADIENT = "gradient"
    LAYERS = "layers"
    OPERATIONS = "operations"
    """That its forward can be heard, operation by operation."""
    TREES = "trees"
    """That it is made of decision trees, which can be read as arrays."""
    TEXT = "text"


class Model(ABC):
    """Any predictor. A subclass writes `call` and `fingerprint`; everything else has a default.

    `call` answers one chunk of rows, row by row independent of each other; how many rows come at
    once is the engine's business. `fingerprint` hashes whatever decides the outputs, so that an
    answer can say which model it is of. Whoever can do more says so by `abilities`, and whoever
    changes something while it works puts it back at the end of `session`.

    >>> class Tripled(Model):
    ...     abilities = frozenset({Ability.GRADIENT})
    ...
    ...     def call(self, rows, context, memory_format=0):
    ...         return 3 * rows[0]
    ...
    ...     def fingerprint(self):
    ...         return b"tripled"
    >>> from assay.question.question import Question
    >>> Question(Tripled(), torch.ones(2, 1), target=0).prediction
    tensor([3., 3.])
    """

    abilities: frozenset[Ability] = frozenset()  # may be overridden
    device: torch.device = torch.device("cpu")  # may be overridden
    dtype: torch.dtype | None = None  # may be overridden
    """The number type of the weights, where there is one."""
    single: bool = False
    """Whether its numbers are of single precision although its outputs come in double."""
    background: Any = None
    """Rows of data that stand in for what is absent, where `wrap` was told them."""
    takes_missing: bool = False  # may be overridden
    """Whether NaN is a value the predictor knows what to do with."""
    classes: tuple[Any, ...] | None = None  # may be overridden
    """The labels of the classes, in the order of the outputs, where they are known."""
    columns: tuple[Any, ...] | None = None  # may be overridden
    """The names of the columns that it was fitted on, in order, where it keeps them."""
    probabilities: bool | None = None  # may be overridden
    """Whether outputs are probabilities (True) or scores (False); None where nobody has said."""
    incremental: bool = False  # may be overridden
    """Whether `call_changed` may cost less than `call`."""
    memory_formats: int = 1  # may be overridden
    """Memory formats of a chunk that may be tried for speed: 0 is plain, 1 channels-last."""
    largest_chunk: int = 1 << 16  # may be overridden
    """Rows of the largest chunk that is tried."""
    chunking: Chunking = Chunking()
    """What `wrap` was told about chunks."""
    one_by_one: str = ""
    """Why rows are asked one at a time although nobody has said so; empty where they are not."""

    @property
    def name(self) -> str:  # may be overridden
        """What the predictor is called in messages and provenance."""
        return type(self).__name__

    @abstractmethod
    def call(self, rows: Rows, context: Mapping[str, Any], memory_format: int = 0) -> Tensor:
        """The raw outputs (r, ...) of one chunk.

        Args:
            rows: one tensor (r, ...) for each of the model's inputs, or one table.
            context: further arguments by name; nothing where the question has none.
            memory_format: how the rows may be laid out; to ignore it is always right.
        """

    def first_call(self, rows: Rows, context: Mapping[str, Any]) -> Tensor:  # may be overridden
        """`call` of a question's first row, which may tell how the others have to be asked."""
        return self.call(rows, context)

    def known_apart(self, rows: Rows) -> bool:  # may be overridden
        """Whether rows of this kind were found not to influence each other, by the predictor as it
        is now.
        """
        return False

    def learn_apart(self, rows: Rows) -> None:  # may be overridden
        """Told that rows of this kind were found not to influence each other."""

    def call_changed(  # may be overridden
        self, rows: Rows, change: LocalChange, context: Mapping[str, Any], memory_format: int = 0
    ) -> Tensor:
        """The same for images that differ from others in a patch only, which may cost less."""
        return self.call(rows, context, memory_format)

    @abstractmethod
    def fingerprint(self) -> bytes:
        """A hash of everything that decides the outputs, as far as it can be read."""

    @property
    def weights_version(self) -> Any:  # may be overridden
        """Equal as long as the weights are, and cheap to compare; None where that cannot be told."""
        return None

    @property
    def minds_slopes(self) -> bool:  # may be overridden
        """Whether it may answer otherwise where slopes are asked of it; True where nobody knows."""
        return True

    @contextmanager
    def session(self, *, slopes: bool) -> Iterator[None]:  # may be overridden
        """Everything the model needs while it works; whatever is changed is put back, also after an
        exception.
        """
        gradients = torch.enable_grad() if slopes else torch.no_grad()
        # Not inference_mode: what a forward caches in its buffers must stay usable in training.
        with torch.inference_mode(False), gradients:
            yield

    @contextmanager
    def heard_by(self, interception: Any) -> Iterator[None]:  # may be overridden
        """While it is open, every forward is heard by an `Interception`."""
        self.require(Ability.OPERATIONS, "rules for its operations")
        yield

    @property
    def prepared_from(self) -> float:  # may be overridden
        """Rows of work from which `prepare` is told of it; a sample has to be made for that."""
        return math.inf if type(self).prepare is Model.prepare else 0

    def prepare(  # may be overridden
        self, rows: int, sample: Rows, context: Mapping[str, Any]
    ) -> None:
        """Told before long work how many rows will come, with a sample of them."""

    def pace(self, purpose: str) -> Chunks:  # may be overridden
        """The chunks of one kind of work, with what has been learnt of them so far."""
        return self._searches.of(purpose)

    @cached_property
    def _searches(self) -> ChunkSearches:
        return ChunkSearches(self.chunking, self.memory_formats, self.largest_chunk)

    def require(self, ability: Ability, who: str) -> None:
        """Refuses when the model lacks an ability."""
        if ability not in self.abilities:
            abilities = ", ".join(sorted(known.value for known in self.abilities))
            raise AbilityError(
                expected=f"a model with the ability {ability.value!r} for {who}",
                got=f"{self.name}, which has: {abilities or 'none beyond answering'}",
                advice=_TREES_ADVICE if ability is Ability.TREES else _ABLE_ADVICE,
            )

    @property
    def trees(self) -> TreeModel:  # may be overridden
        """The trees that it is made of, as arrays; `assay.models.forests` says what they hold."""
        self.require(Ability.TREES, "its trees")
        raise NotImplementedError

    @property
    def embeddings(self) -> tuple[str, ...]:  # may be overridden
        """The names of layers that embed numbers of words, for refusals."""
        return ()

    def slope_bounds(  # may be overridden
        self, rows: Rows, radius: Tensor, ball: Literal["linf", "l2"], seed: Any
    ) -> Any:
        """Proved bounds of slopes near some rows; None where none are known."""
        return None

    def cut_after(self, layer: Any, output: Any = None) -> Any:  # may be overridden
        """The rest of the model behind a layer, or behind a part of its output."""
        raise self._without_layers(layer)

    def cut_upto(self, layer: Any, output: Any = None) -> Model:  # may be overridden
        """The model that stops at a layer, and answers with its output or with a part of it."""
        raise self._without_layers(layer)

    def last_layer_with_places(  # may be overridden
        self, rows: Rows, context: Mapping[str, Any]
    ) -> str:
        """The name of the last layer that is called with an output of (channels, height, width)."""
        raise self._without_layers("places")

    def _without_layers(self, layer: Any) -> AbilityError:
        name = repr(layer) if isinstance(layer, str) else type(layer).__name__
        return AbilityError(
            expected=f"a model with layers to cut at {name}",
            got=f"{self.name}, which has no layers that could be named",
            advice="Hand over the torch.nn.Module itself.",
        )


_ABLE_ADVICE = "Wrap a torch.nn.Module, or ask for what needs predictions alone."

_TREES_ADVICE = (
    "Wrap an ensemble of trees of scikit-learn, XGBoost, LightGBM or CatBoost itself, or ask for "
    "what needs predictions alone, such as KernelShap."
)


def checked(outputs: Any, rows: int, who: str) -> Tensor:
    """Outputs as one tensor with a row per input, or a refusal that says how to get there."""
    if not isinstance(outputs, Tensor):
        raise _not_one_tensor(outputs, who)
    plain = real_numbers(outputs, who)
    if plain.dim() == 0 or len(plain) != rows:
        raise ModelError(
            expected=f"one output row for each of {rows} inputs from {who}",
            got=f"a tensor of shape {tuple(plain.shape)}",
            advice=(
                "The first dimension of inputs and outputs counts rows; x[None] adds it to one input."
            ),
        )
    if plain.numel() == 0 and rows:
        raise ModelError(
            expected=f"at least one output for each input from {who}",
            got=f"a tensor of shape {tuple(plain.shape)}",
            advice="Return scores, one column for each number that may be explained.",
        )
    return plain


def real_numbers(outputs: Tensor, who: str) -> Tensor:
    """The same numbers in a type that arithmetic keeps, or the refusal of what has no such type.

    Truth values become 0 and 1, as NumPy has them. Narrow integers become wide ones: a difference of
    two bytes is no byte.
    """
    for is_one, what, advice in _UNREAL:
        if is_one(outputs):
            raise KindError(
                expected=f"real numbers in plain tensors from {who}", got=what, advice=advice
            )
    dtype = outputs.dtype
    if dtype in _KEPT:
        return outputs
    # Floats of eight bits have no arithmetic of their own in torch.
    if dtype.is_floating_point or dtype == torch.bool:
        return outputs.to(torch.float32)
    return outputs.to(torch.float64 if dtype == torch.uint64 else torch.int64)


_KEPT = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64)

_UNREAL: tuple[tuple[Callable[[Tensor], bool], str, str], ...] = (
    (
        lambda outputs: outputs.is_nested,
        "a nested tensor",
        "Pad it: torch.nested.to_padded_tensor(outputs, 0.0).",
    ),
    (
        lambda outputs: outputs.layout is not torch.strided,
        "a sparse one, or one in a layout of its own",
        "Return outputs.to_dense(), or wrap(model, output=lambda out: out.to_dense()).",
    ),
    (
        lambda outputs: outputs.is_quantized,
        "quantised ones",
        "Return outputs.dequantize(), or wrap(model, output=lambda out: out.dequantize()).",
    ),
    (
        lambda outputs: outputs.is_meta,
        "a tensor on the device meta, which holds no numbers",
        "Load the weights, and put model and inputs on a device that holds data.",
    ),
    (
        lambda outputs: outputs.is_complex(),
        "complex ones",
        "Say which number is meant: wrap(model, output=lambda out: out.abs()), or out.real.",
    ),
)


def _not_one_tensor(outputs: Any, who: str) -> KindError:
    """The refusal of outputs that are no tensor, with the part that `wrap` may be told to pick."""
    kind = type(outputs).__name__
    advice = "Say which part is meant: wrap(model, output=lambda out: ...)."
    if isinstance(outputs, list) and not any(hasattr(part, "shape") for part in outputs):
        kind = f"a list of {type(next(iter(outputs), None)).__name__}"
        advice = "Return scores or probabilities as an array: numpy.asarray(outputs)."
        # Detectors give a record for each picture; no array can be made of those.
        if not _is_numbers(outputs):
            advice = (
                "Make one number or row of numbers of each input's record: wrap(model, "
                "output=lambda out: torch.stack([part['scores'].sum() for part in out]))."
            )
        if _is_classified(outputs):
            advice = _BY_LABEL
    elif isinstance(outputs, Mapping):
        part = repr(next(iter(outputs))) if outputs else "..."
        advice = f"Say which part is meant: wrap(model, output={part})."
    elif isinstance(outputs, tuple | list):
        advice = "Say which part is meant: wrap(model, output=0) for its first part."
    return KindError(expected=f"one tensor of outputs from {who}", got=kind, advice=advice)


_BY_LABEL = (
    "Make one row of scores of each input's records, in the order of their labels, with all labels "
    "in every row (top_k=None): wrap(model, output=lambda out: torch.tensor([[part['score'] for "
    "part in sorted(row, key=lambda part: part['label'])] for row in out]))."
)


def _is_classified(outputs: Any) -> bool:
    """Whether a list holds records of a label and its score, or lists of them, as pipelines give."""
    first = next(iter(outputs), None)
    if isinstance(first, list | tuple):
        return _is_classified(first)
    return isinstance(first, Mapping) and {"label", "score"} <= set(first)


ABSENT = "with everything removed"
"""Where rows are the absent inputs themselves, in refusals."""


def _is_numbers(outputs: Any) -> bool:
    """Whether a list holds numbers, or lists of them."""
    if isinstance(outputs, list | tuple):
        return all(map(_is_numbers, outputs))
    return isinstance(outputs, int | float)


def all_finite(numbers: Tensor) -> bool:
    """Whether there is neither NaN nor infinity among some numbers."""
    if not numbers.is_floating_point():
        return True
    # A finite sum has finite terms, and is read at a fraction of the cost; others may overflow.
    return math.isfinite(float(numbers.detach().sum())) or bool(torch.isfinite(numbers).all())


def finite(outputs: Tensor, who: str, where: str) -> Tensor:
    """The same outputs, all of them numbers."""
    if not all_finite(outputs):
        # Row by row only now: the usual case has paid for one sum.
        bad = ~torch.isfinite(outputs.reshape(len(outputs), -1)).all(dim=1)
        advice = (
            "Check the inputs' preprocessing, and that the removal leaves values the model can "
            "take."
        )
        # The absent input is the library's making, and so the removal's to change.
        if where == ABSENT:
            advice = (
                "The absent input is none that the model can take: choose another baseline or "
                "removal, Baseline(value), Mean(rows) or Background(rows)."
            )
        raise ModelError(
            expected=f"finite outputs from {who}",
            got=f"NaN or infinity in {int(bad.sum())} of {len(outputs)} rows {where}".rstrip(),
            advice=advice,
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
    """In which patches rows differ from their inputs.

    Settings:
        inputs: images (k, c, h, w) of inputs by number (k,).
        count: how many inputs there are.
        rectangles: outside of its rectangle each row equals the image of its owner.
    """

    inputs: Callable[[Tensor], Tensor]
    count: int
    rectangles: Rectangles
