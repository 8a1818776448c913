"""Estimators in the style of scikit-learn, and any callable on arrays or tensors, as a `Model`."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from assay.engine import Chunking
from assay.errors import KindError
from assay.inputs.layout import Rows
from assay.models.base import Ability, Model, checked, digest
from assay.models.networks.locks import alone_in
from assay.models.networks.module_state import ModuleState, modules_in

# Rows of a table are small: chunks of very many still fit the memory.
_LARGEST_CHUNK = 1 << 20


def _as_tensor(outputs: Any, who: str) -> Any:
    """Arrays of numbers as tensors; anything else as it came, for the common check to refuse."""
    if isinstance(outputs, Tensor) or not hasattr(outputs, "__array__"):
        return outputs
    array = np.asarray(outputs)
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
        raise KindError(
            expected=f"numbers from {who}",
            got=array.dtype,
            advice=(
                "Explain scores or probabilities rather than labels: wrap(model, "
                "output='predict_proba') or output='decision_function'."
            ),
        )
    array = np.ascontiguousarray(array, dtype=np.float64)
    # Torch warns of arrays that may not be written to.
    if not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(array)


@final
class Estimator(Model):
    """An estimator, always called with the kind of table that it was fitted on."""

    largest_chunk = _LARGEST_CHUNK

    def __init__(
        self,
        estimator: Any,
        method: str,
        chunking: Chunking | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.chunking = chunking or Chunking()
        self.device = device or torch.device("cpu")

    @property
    def name(self) -> str:
        return f"{type(self.estimator).__name__}.{self.method}"

    @property
    def takes_missing(self) -> bool:  # type: ignore[override]
        """Whether the estimator says that it can take NaN."""
        tags = getattr(self.estimator, "__sklearn_tags__", None)
        if not callable(tags):
            return False
        try:
            return bool(tags().input_tags.allow_nan)
        except (AttributeError, TypeError):  # tags of another version
            return False

    def call(self, rows: Rows, context: Mapping[str, Any], memory_format: int = 0) -> Tensor:
        if len(rows) != 1 or context:
            raise KindError(
                expected=f"one table and no context for {self.name}",
                got=f"{len(rows)} inputs and {len(context)} context",
                advice="Wrap a function that takes them all and calls the estimator.",
            )
        outputs = getattr(self.estimator, self.method)(self._table(rows[0]))
        return checked(_as_tensor(outputs, self.name), len(rows[0]), self.name)

    def _table(self, rows: Any) -> Any:
        """Rows in the kind of table that the estimator was fitted on, so that it has no cause to
        warn.
        """
        columns = getattr(self.estimator, "feature_names_in_", None)
        if isinstance(rows, Tensor):
            array = rows.detach().cpu().numpy()
            if columns is None:
                return array
            import pandas as pd

            return pd.DataFrame(array, columns=list(columns))
        if columns is None and not isinstance(rows, list):
            return rows.to_numpy()
        return rows

    def fingerprint(self) -> bytes:
        try:
            state = pickle.dumps(self.estimator)
        except Exception:  # an estimator that cannot be pickled is known by its settings alone
            state = repr(self.estimator).encode()
        return digest(self.name.encode(), state)


@final
class Function(Model):
    """Any callable; it is called with what the question was given: tensors for tensors, arrays for
    arrays, frames for frames.
    """

    largest_chunk = _LARGEST_CHUNK

    def __init__(
        self,
        function: Callable[..., Any],
        output: Callable[[Any], Any],
        chunking: Chunking | None = None,
        device: torch.device | None = None,
        tensors: bool = False,
    ) -> None:
        self.function = function
        self.output = output
        self.chunking = chunking or Chunking()
        self.device = device or torch.device("cpu")
        self.tensors = tensors
        # The networks inside of it as the innermost session that is open has found them.
        self._states: tuple[ModuleState, ...] = ()
        # Only what is called with tensors can have slopes.
        self.abilities = frozenset({Ability.GRADIENT} if tensors else ())

    @property
    def name(self) -> str:
        return getattr(self.function, "__qualname__", type(self.function).__name__)

    def reading(self, raw: Any) -> Function:
        """The same function, called with tensors if that is what the inputs are."""
        # Of several inputs the first one tells.
        first = raw
        if isinstance(raw, tuple | list) and raw:
            first = raw[0]
        reader = Function(
            self.function, self.output, self.chunking, self.device, isinstance(first, Tensor)
        )
        # One memory for both: what is learnt of chunks stays with what was wrapped.
        reader.__dict__["_searches"] = self._searches
        return reader

    @contextmanager
    def session(self, *, slopes: bool) -> Iterator[None]:
        """Networks inside the function are put back after every chunk, as one of their own is."""
        modules = modules_in(self.function)
        outer = self._states
        with ExitStack() as held:
            for module in modules:
                held.enter_context(alone_in(module))
            self._states = tuple(ModuleState.of(module, frozen=False) for module in modules)
            held.enter_context(super().session(slopes=slopes))
            try:
                yield
            finally:
                self._put_back()
                self._states = outer

    def _put_back(self) -> None:
        for state in self._states:
            state.restore_parts()

    def call(self, rows: Rows, context: Mapping[str, Any], memory_format: int = 0) -> Tensor:
        self._put_back()
        # Frames stay frames; tensors become arrays for who was given arrays.
        arguments = rows
        if not self.tensors:
            arguments = tuple(map(_as_array, rows))
        outputs = self.output(self.function(*arguments, **context))
        return checked(_as_tensor(outputs, self.name), len(rows[0]), self.name).to(self.device)

    def fingerprint(self) -> bytes:
        code = getattr(self.function, "__code__", None)
        body = b""
        # What it closes over is not read: two closures of one code look alike.
        if code is not None:
            body = code.co_code + repr(code.co_consts).encode()
        return digest(self.name.encode(), body)


def _as_array(rows: Any) -> Any:
    return rows.cpu().numpy() if isinstance(rows, Tensor) else rows
