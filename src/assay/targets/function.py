"""Any function of the outputs with one number per row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from assay.engine import out_of_memory
from assay.errors import AssayError, TargetError
from assay.targets.target import Outputs, Target

_OWN_TENSORS = (
    "A tensor with a row for each input travels as context of a function around both: "
    "Question(lambda x, mask: (model(x) * mask).sum(1), x, context={'mask': Aligned(mask)})."
)


@final
@dataclass(frozen=True)
class Function(Target):
    """Any callable of the outputs: `target=lambda outputs: ...` makes one.

    Settings:
        function: outputs (r, ...) to one number per row (r,), each from its own row alone.

    Units: whatever it gives. It sees any number of rows at once; what it needs of each input travels as
    context of a function around both. Errors: TargetError for what it raises, for another shape, and where
    rows influence each other.

    >>> import assay
    >>> x = torch.tensor([[1.0, 3.0]])
    >>> assay.Question(lambda x: x ** 2, x, target=lambda outputs: outputs.sum(1)).prediction.tolist()
    [10.0]
    """

    function: Callable[[Tensor], Tensor]

    def described(self, outputs: Outputs, n: int) -> list[str]:
        name = getattr(self.function, "__name__", type(self.function).__name__)
        # A function without a name has none to tell.
        return ["a function of the outputs" if name == "<lambda>" else name] * n

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        try:
            scores: Any = self.function(outputs)
        except AssayError:
            raise
        except Exception as error:
            # The engine answers this one with smaller chunks.
            if out_of_memory(error):
                raise
            raise TargetError(
                expected=f"the target function to score outputs of shape {tuple(outputs.shape)}",
                got=f"{type(error).__name__}: {error}",
                advice=f"It sees any number of rows at once. {_OWN_TENSORS}",
            ) from error
        self._check(scores, len(outputs))
        return scores  # type: ignore[no-any-return]

    @staticmethod
    def _check(scores: Any, rows: int) -> None:
        got = type(scores).__name__
        advice = "Reduce every dimension but the first: outputs.flatten(1).sum(1)."
        if isinstance(scores, Tensor):
            got = str(tuple(scores.shape))
            if scores.is_complex() or scores.dtype == torch.bool or scores.layout != torch.strided:
                got = f"{scores.dtype} of shape {got}, {scores.layout}"
                advice = "Give real numbers: .float() of truth values, .abs() of complex ones."
            elif tuple(scores.shape) == (rows,):
                return
            elif scores.dim() == 1:
                advice = f"Give one number for each row. {_OWN_TENSORS}"
        raise TargetError(
            expected=f"the target function to return a tensor of shape ({rows},)",
            got=got,
            advice=advice,
        )
