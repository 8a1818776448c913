"""Estimators in the style of scikit-learn, and any callable on arrays or tensors, as a `Model`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from assay.engine import ChunkSearch
from assay.errors import KindError
from assay.inputs.layout import Rows
from assay.models.base import Ability, Model, checked, digest


def _numbers(outputs: Any, who: str) -> Any:
    """Arrays of numbers as tensors; anything else as it came, for the common check to refuse."""
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(outputs, np.ndarray) or hasattr(outputs, "__array__"):
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
        return torch.from_numpy(array if array.flags.writeable else array.copy())
    return outputs


class _Opaque(Model):
    """A predictor that can only be asked."""

    def __init__(self, batch_size: int | None, device: torch.device | None) -> None:
        self.device = device or torch.device("cpu")
        self._batch_size = batch_size
        self._paces: dict[str, ChunkSearch] = {}

    def pace(self, purpose: str) -> ChunkSearch:
        return self._paces.setdefault(purpose, ChunkSearch(fixed=self._batch_size, limit=1 << 20))


@final
class Estimator(_Opaque):
    """An estimator, always called with the kind of table that it was fitted on."""

    def __init__(
        self, estimator: Any, method: str, batch_size: int | None, device: torch.device | None
    ) -> None:
        super().__init__(batch_size, device)
        self.estimator = estimator
        self.method = method

    @property
    def name(self) -> str:
        return f"{type(self.estimator).__name__}.{self.method}"

    @property
    def takes_missing(self) -> bool:  # type: ignore[override]
        """Whether the estimator says that it can take NaN."""
        tags = getattr(self.estimator, "__sklearn_tags__", None)
        try:
            return bool(tags().input_tags.allow_nan) if callable(tags) else False
        except (AttributeError, TypeError):
            return False

    def call(self, rows: Rows, context: Mapping[str, Any], layout: int = 0) -> Tensor:
        if len(rows) != 1 or context:
            raise KindError(
                expected=f"one table and no context for {self.name}",
                got=f"{len(rows)} inputs and {len(context)} context",
                advice="",
            )
        table: Any = rows[0]
        columns = getattr(self.estimator, "feature_names_in_", None)
        if isinstance(table, Tensor):
            table = table.detach().cpu().numpy()
            if columns is not None:
                import pandas as pd

                table = pd.DataFrame(table, columns=list(columns))
        elif columns is None and not isinstance(table, list):
            table = table.to_numpy()
        outputs = getattr(self.estimator, self.method)(table)
        return checked(_numbers(outputs, self.name), len(rows[0]), self.name)

    def fingerprint(self) -> bytes:
        import pickle

        try:
            state = pickle.dumps(self.estimator)
        except Exception:  # an estimator that cannot be pickled is known by its settings alone
            state = repr(self.estimator).encode()
        return digest(self.name.encode(), state)


@final
class Function(_Opaque):
    """Any callable; it is called with what the question was given: tensors for tensors, arrays for
    arrays, frames for frames.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        output: Callable[[Any], Any],
        batch_size: int | None,
        device: torch.device | None,
        tensors: bool = False,
    ) -> None:
        super().__init__(batch_size, device)
        self.function = function
        self.output = output
        self.tensors = tensors
        self.abilities = frozenset({Ability.GRADIENT}) if tensors else frozenset()

    @property
    def name(self) -> str:
        return getattr(self.function, "__qualname__", type(self.function).__name__)

    def reading(self, raw: Any) -> Function:
        """The same function, called with tensors if that is what the inputs are."""
        first = raw[0] if isinstance(raw, tuple | list) and raw else raw
        made = Function(
            self.function, self.output, self._batch_size, self.device, isinstance(first, Tensor)
        )
        made._paces = self._paces
        return made

    def call(self, rows: Rows, context: Mapping[str, Any], layout: int = 0) -> Tensor:
        arrays = (
            rows
            if self.tensors
            else tuple(r.cpu().numpy() if isinstance(r, Tensor) else r for r in rows)
        )
        outputs = _numbers(self.output(self.function(*arrays, **context)), self.name)
        return checked(outputs, len(rows[0]), self.name).to(self.device)

    def fingerprint(self) -> bytes:
        code = getattr(self.function, "__code__", None)
        body = code.co_code + repr(code.co_consts).encode() if code is not None else b""
        return digest(self.name.encode(), body)
