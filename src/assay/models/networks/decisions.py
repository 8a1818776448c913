"""Whether a forward takes numbers of its rows out of tensors, as `if x.sum() > 0:` does.

What is decided by them is decided for all rows of a chunk at once, so that rows in company may go
another way than alone. To take a number out, Python has to ask torch for it: one forward of one row,
watched below autograd, tells of every network that does so (operations that torch tags as
`data_dependent_output`). Numbers of weights and of the context alone decide nothing about rows.

Not seen: numbers that are taken out by way of NumPy or `tolist`, and sizes of what was selected.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from assay.engine import out_of_memory
from assay.errors import AssayError
from assay.inputs.layout import Rows

ONE_BY_ONE = "asked one by one: the forward takes numbers of its rows out of tensors"


@final
class _Watch(TorchDispatchMode):
    """Follows what is computed from some tensors, and notes when a number of it is taken out."""

    def __init__(self, roots: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.taken_out = False
        # Weakly: a forward's activations are let go of as they are without being watched.
        self._followed = WeakTensorKeyDictionary()
        self._follow(roots)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Said otherwise, torch loads its compiler here, which takes seconds.
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        result = func(*args, **given)
        if any(tensor in self._followed for tensor in _tensors((*args, *given.values()))):
            if torch.Tag.data_dependent_output in func.tags:
                self.taken_out = True
            self._follow(_tensors((result,)))
        return result

    def _follow(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            self._followed[tensor] = True
            # Written into a part, it is in the whole as well.
            if tensor._base is not None:
                self._followed[tensor._base] = True


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def watched(
    call: Callable[[Rows, Mapping[str, Any]], Tensor], rows: Rows, context: Mapping[str, Any]
) -> tuple[Tensor, bool]:
    """What a call answers, and whether it took numbers of the rows out of tensors."""
    watch = _Watch(row for row in rows if isinstance(row, Tensor))
    try:
        with ExitStack() as stack:
            # A compiled part would never be compiled again once it has been met while watched.
            if "torch._dynamo" in sys.modules:
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(watch)
            outputs = call(rows, context)
    except Exception as error:
        if isinstance(error, AssayError) or out_of_memory(error):
            raise
        # Not all of torch can be watched; what the network itself raises, it raises again.
        return call(rows, context), watch.taken_out
    return outputs, watch.taken_out
