"""Models of Keras, read without running code of theirs.

Keras stands on one of several libraries. On torch its models are torch modules, so that every method
can ask them; that is chosen where nothing else was. On another they are functions on arrays.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from assay.errors import InputError
from assay.registry.optional_packages import optional


@final
class KerasFunction:
    """A model of Keras that does not stand on torch."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.__qualname__ = type(model).__name__

    def __reduce__(self) -> tuple[Any, ...]:
        # What decides the answers: layers with their settings, and weights.
        return KerasFunction, (self.model.to_json(), self.model.get_weights())

    def __call__(self, rows: Any) -> NDArray[Any]:
        if hasattr(rows, "columns"):
            rows = rows.to_numpy()
        if isinstance(rows, torch.Tensor):
            rows = rows.detach().cpu().numpy()
        return np.asarray(self.model.predict_on_batch(np.asarray(rows)))


def keras_model(path: Path) -> Any:
    """A torch module, or a function where Keras stands on another library."""
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = optional("keras", "keras")
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    # Damaged files, layers of one's own, and code in a lambda, which is not run.
    except Exception as error:
        lines = str(error).splitlines() or [""]
        raise InputError(
            expected=f"a model of Keras without code of its own in {path}",
            got=f"{type(error).__name__}: {lines[0][:200]}",
            advice="Load what needs code in model.py, and give model.py:name.",
        ) from error
    if isinstance(model, torch.nn.Module):
        return model.eval()
    return KerasFunction(model)
