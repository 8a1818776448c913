"""One output: by its number, or the largest one on the clean input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from assay.errors import TargetError
from assay.targets.index import as_array, as_index, check_inside
from assay.targets.target import Index, Outputs, Target, Targets


@final
@dataclass(frozen=True, eq=False)
class Output(Target):
    """One output: the same for all inputs, or one per input.

    Settings:
        index: an int for all inputs, one int per input (a list, an array, a column of a table), a
            tuple that points into outputs of several dimensions, or a list of one such tuple for
            each input; negative ones count from the end.

    Units: the output's own. Shapes: outputs (n, k) and an int, or (n, a, b, ...) and a tuple of as many
    ints as there are dimensions behind the first. Errors: TargetError for a place that the outputs do not
    have, KindError for what is no whole number.

    >>> outputs = torch.arange(12.0).reshape(2, 2, 3)
    >>> Output([(0, 2), (1, -1)]).choose(outputs).score(outputs, torch.arange(2))
    tensor([ 2., 11.])
    """

    index: Index

    def told(self, outputs: Outputs) -> Target:
        # Numbers that were not called an output may be meant as labels.
        if "_bare" not in vars(self):
            return self
        _check_no_labels(self.index, outputs)
        return Output(self.index)

    def described(self, outputs: Outputs, n: int) -> list[str]:
        index = self.index
        if not isinstance(index, Tensor):
            return [outputs.name_of(index)] * n
        places = index.tolist()
        if index.dim() == 2:
            places = list(map(tuple, places))
        return list(map(outputs.name_of, places))

    def sized(self, n: int) -> Target:
        index = as_index(self.index)
        if not isinstance(index, Tensor):
            return Output(index)
        # An array of one number is that number; a list says one for each input.
        alone = index.dim() == 1 and len(index) == 1 and not isinstance(self.index, list)
        if index.dim() == 0 or (alone and n > 1):
            return Output(int(index))
        if index.dim() not in (1, 2) or len(index) != n or not index.numel():
            raise TargetError(
                expected=f"one int per input, shape ({n},), or one tuple of ints for each",
                got=f"{index.dtype} of shape {tuple(index.shape)}",
                advice="Give each input its own, or one int for all of them.",
            )
        # A column is one int per input as well.
        if index.dim() == 2 and index.shape[1] == 1:
            index = index[:, 0]
        return Output(index.to(torch.int64))

    def choose(self, outputs: Tensor) -> Target:
        target = self.sized(len(outputs))
        index = target.index if isinstance(target, Output) else self.index
        if not isinstance(index, Tensor):
            place: Any = (index,) if isinstance(index, int) else index
            check_inside(outputs, tuple(place))
            return target
        sizes = torch.tensor(tuple(outputs.shape[1:]) or (1,))
        places = index.cpu().reshape(len(index), -1)
        outside = torch.zeros(len(places), dtype=torch.bool)
        if places.shape[1] == len(sizes):
            outside = ((places < -sizes) | (places >= sizes)).any(1)
        # The first that is outside; where there is none, they all have as many numbers.
        check_inside(outputs, tuple(places[int(outside.to(torch.int8).argmax())].tolist()))
        # gather knows no negative indices.
        return Output((places % sizes).view(index.shape).to(outputs.device))

    def take(self, rows: Tensor) -> Target:
        if not isinstance(self.index, Tensor):
            return self
        return Output(self.index[rows.to(self.index.device)])

    def joined(self, others: Targets) -> Target:
        if not isinstance(self.index, Tensor):
            return self
        indices = [self.index]
        for other in others:
            if isinstance(other, Output) and isinstance(other.index, Tensor):
                indices.append(other.index)
        return Output(torch.cat(indices))

    @property
    def linear(self) -> bool:
        return True

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        # A model may give one number per row without a dimension for it.
        if outputs.dim() == 1:
            outputs = outputs.unsqueeze(1)
        try:
            return self._pick(outputs, rows)
        except (IndexError, RuntimeError):
            # Scored without having been chosen on outputs of this shape: refused by name.
            self.take(rows).choose(outputs)
            raise

    def _pick(self, outputs: Tensor, rows: Tensor) -> Tensor:
        index = self.index
        if isinstance(index, Tensor) and index.dim() == 2:
            # A place in outputs of several dimensions for each input.
            each = torch.arange(len(outputs), device=outputs.device)
            return outputs[(each, *index[rows].unbind(1))]
        if isinstance(index, Tensor):
            return outputs.gather(1, index[rows].unsqueeze(1)).squeeze(1)
        index = index if isinstance(index, tuple) else (index,)
        return outputs[(slice(None), *index)]

    def __repr__(self) -> str:
        index = self.index.tolist() if isinstance(self.index, Tensor) else self.index
        return f"Output({index!r})"


@final
@dataclass(frozen=True)
class Predicted(Target):
    """The output that is largest on the clean input, chosen once; the only one of a single output.

    argmax_k f_k(x): every masked or moved row is scored by that same output. Each input may have another:
    compare columns of answers only where `answer.targets` agree.

    Units: the output's own. Shapes: outputs (n, classes), (n, 1) or (n,). Errors: TargetError for outputs
    of several dimensions, which take a tuple.

    >>> import assay
    >>> x = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    >>> answer = assay.Gradient()(assay.Question(lambda x: x ** 2, x, target=Predicted()))
    >>> answer.values.tolist(), answer.targets
    ([[0.0, 4.0], [6.0, 0.0]], ('output 1', 'output 0'))
    """

    def choose(self, outputs: Tensor) -> Target:
        if outputs.dim() == 1 or outputs.shape[1:] == (1,):
            return Output(0)
        if outputs.dim() > 2:
            raise TargetError(
                expected="outputs of shape (n, classes) for Predicted()",
                got=tuple(outputs.shape),
                advice="Point at one of them: Output((i, j)), or a callable outputs -> (n,).",
            )
        return Output(outputs.argmax(1))

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        raise TargetError(
            expected="a target that was chosen on the clean outputs",
            got="Predicted(), which names no output yet",
            advice="Call target.choose(outputs) first, and score what it gives back.",
        )


def bare_output(index: Any) -> Output:
    """An output that was named by a plain number, which may have been meant as a label."""
    output = Output(index)
    object.__setattr__(output, "_bare", True)
    return output


def _check_no_labels(index: Any, outputs: Outputs) -> None:
    """Refuses plain numbers that are both an output and the label of another one."""
    classes = outputs.classes
    if classes is None or not all(isinstance(label, int | float) for label in classes):
        return
    if isinstance(index, tuple):
        return
    try:
        numbers = torch.as_tensor(as_array(index)).reshape(-1).unique().tolist()
    except (TypeError, ValueError, RuntimeError):  # refused by name where it is used
        return
    for number in numbers:
        place = classes.index(number) if number in classes else None
        if place is None or number in (place, place - len(classes)):
            continue
        there = "no output has that number"
        if -len(classes) <= number < len(classes):
            there = f"output {number} is that of class {classes[int(number)]!r}"
        raise TargetError(
            expected="an output by its number, or a class by its label",
            got=f"{number}, the label of output {place}, while {there}",
            advice=f"Say which: target=Label({number!r}), or target=Output({place}).",
        )
