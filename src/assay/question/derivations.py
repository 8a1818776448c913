"""Questions made from a question: of some inputs, of other ones, of another target or output.

What has been asked already is taken along.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from assay.errors import TargetError
from assay.features.elements import Elements
from assay.question.arguments import read_columns, read_rows
from assay.question.evaluation import Evaluation
from assay.question.layers import BehindLayer
from assay.question.players import on_players
from assay.question.validation import admitting, check_replacements, rows_of
from assay.question.verbs import Verbs
from assay.removals.base import Removal
from assay.targets import Output, as_target

_SHARD = 1 << 20  # elements of a shard: what a method holds for one stays in tens of megabytes


class Derivations(Verbs):
    """The same question, but for one of its parts."""

    def take(self, rows: Tensor) -> Self:
        """The same question about some of its inputs: their numbers, or a mask over all of them."""
        rows = read_rows(rows, self.n, self.model.device)
        # Where activations have been computed, they are taken along; else they are computed later.
        computed = "_evaluation" in self.__dict__
        target = self.target.take(rows)
        source = self._source.take(rows)
        taken = self._derived(source, len(rows), target, rows_of(self.truth, rows))
        if computed and isinstance(source, BehindLayer):
            taken.__dict__["_evaluation"] = self._evaluation.take(rows)
        taken._keys = _rows(self._keys, rows)
        taken.index = _labels_of(self.index, rows)
        taken._prediction = _rows(self._prediction, rows)
        taken._base = _rows(self._base, rows)
        if self._fixed_target is not None:
            taken._fixed_target = self._fixed_target.take(rows)
        return taken

    def part(self, a: int, b: int) -> Self:
        """The same question about inputs a to b - 1."""
        return self.take(torch.arange(self.n, device=self.model.device)[a:b])

    def shards(self) -> Iterator[Self]:
        """The question in parts whose size bounds what a method has to hold at once."""
        size = max(32, _SHARD // max(1, self.layout.elements))
        if self.n <= size:
            yield self
            return
        for start in range(0, self.n, size):
            yield self.part(start, min(start + size, self.n))

    def of(self, target: Any) -> Self:
        """The same question of another target."""
        told = as_target(target).told(self._known).sized(self.n)
        derived = self._derived(self._source, self.n, told, self.truth)
        # Activations that have been computed serve every target.
        if "_evaluation" in self.__dict__:
            derived.__dict__["_evaluation"] = self._evaluation
        derived._keys = self._keys
        return derived

    @torch.inference_mode(False)
    def for_outputs(self, columns: Sequence[int] | None = None) -> tuple[Self, ...]:
        """The same question of several outputs of the model, all of them by default.

        `columns` count outputs of several dimensions in row-major order. What the outputs are on
        the clean inputs, and with everything removed, is asked once for all of them.
        """
        clean: list[Tensor] = []
        shapes: list[tuple[int, ...]] = []

        def use(numbers: Tensor, owners: Tensor, outputs: Tensor) -> None:
            shapes.append(tuple(outputs.shape[1:]))
            clean.append(outputs.reshape(len(outputs), -1).detach().clone())

        def read(outputs: Tensor, owners: Tensor) -> Tensor:
            return outputs.reshape(len(outputs), -1)

        self._ask_clean(use)
        outputs = torch.cat(clean)
        convert = self._evaluation.to_result_precision
        predictions = convert(outputs, outputs.dtype)
        # A forward says all outputs at once: a thousand classes cost as many rows as one.
        bases = convert(self._evaluation.removed_average(read, self._alone), outputs.dtype)
        count = math.prod(shapes[0])
        chosen = range(count) if columns is None else read_columns(columns)
        wrong = [column for column in chosen if not 0 <= column < count]
        if wrong:
            raise TargetError(
                expected=f"outputs from 0 to {count - 1}",
                got=wrong,
                advice="Outputs of several dimensions are counted row by row.",
            )
        return tuple(
            self._for_output(column, shapes[0], predictions[:, column], bases[:, column])
            for column in chosen
        )

    def _for_output(
        self, column: int, shape: tuple[int, ...], prediction: Tensor, base: Tensor
    ) -> Self:
        target = Output(column)
        if len(shape) > 1:
            target = Output(tuple(int(i) for i in np.unravel_index(column, shape)))
        derived = self._derived(self._source, self.n, target, self.truth)
        # Activations that have been computed serve all outputs.
        if "_evaluation" in self.__dict__:
            derived.__dict__["_evaluation"] = self._evaluation
        derived.column = column
        derived._keys = self._keys
        derived._fixed_target = derived.target
        derived._known = replace(self._known, count=math.prod(shape))
        # A column is a view, and would keep the outputs of all classes in memory.
        derived._prediction = prediction.clone()
        derived._base = base.clone()
        return derived

    def each_its_own(self, asked: Sequence[Self], chosen: Tensor) -> Self:
        """The same question with an output of its own for each input: that of the question in
        `asked` (those of `for_outputs`) with its number in `chosen` (n,).
        """
        numbers = chosen.tolist()
        indices = [getattr(asked[number].target, "index", 0) for number in numbers]
        # One for all of them is asked as such.
        target = Output(indices[0] if len(set(indices)) == 1 else indices).sized(self.n)
        index = target.index if isinstance(target, Output) else 0
        if isinstance(index, Tensor):
            target = Output(index.to(self.x.device))
        derived = self.of(target)
        derived._fixed_target = derived.target
        derived._known = asked[0]._known
        inputs = torch.arange(self.n, device=chosen.device)
        # Asked by `for_outputs` already.
        derived._prediction = torch.stack([one.prediction for one in asked])[chosen, inputs]
        derived._base = torch.stack([one.base for one in asked])[chosen, inputs]
        return derived

    def at(self, points: Tensor, rows: Tensor | None = None) -> Self:
        """The same question about other inputs (r, elements) in the place of inputs `rows` (r,).

        Nothing is chosen again: the target stays what it was on the clean inputs.
        """
        if rows is None:
            rows = torch.arange(self.n, device=self.x.device)
        return self._moved(self._evaluation.with_inputs(points, rows), points, rows)

    def _moved(self, evaluation: Evaluation, points: Tensor, rows: Tensor) -> Self:
        """The same question about what an evaluation holds, in the place of inputs `rows` (r,)."""
        evaluation = replace(evaluation, layout=evaluation.layout.admitting(points))
        # A removal that is made from the input itself is made anew; one before a layer stays.
        if self.removal.follows and self._removes_inputs:
            layout = evaluation.layout
            absent = self.removal.bind(layout, points, lambda: layout.identities(points))
            evaluation = replace(evaluation, absent=absent)
        moved = self._derived(evaluation, len(points), self.fixed_target.take(rows), None)
        moved._rows_checked = True
        moved.index = _labels_of(self.index, rows)
        moved._fixed_target = moved.target
        return moved

    def under(self, removal: Removal) -> Self:
        """The same question under another removal: what absent means, and nothing else.

        What the target is on the clean inputs is taken along. Behind a layer the removal is one of
        activations.
        """
        source = self._evaluation
        layout = source.layout
        absent = removal.bind(layout, source.x, lambda: layout.identities(source.x))
        evaluation = replace(
            source,
            layout=admitting(layout, absent, source.x),
            absent=check_replacements(absent, source.model),
        )
        derived = self._derived(evaluation, self.n, self.target, self.truth)
        derived.removal = removal
        derived._removes_inputs = True
        # The inputs are the same, and so are the streams of random numbers that their keys name.
        derived._keys = self.keys
        derived._fixed_target, derived._prediction = self.fix_target()
        return derived

    def by_elements(self) -> Self:
        """The same question with every element as a feature of its own."""
        partition = Elements().bind(self.layout, self.x)
        evaluation = replace(self._evaluation, partition=partition)
        derived = self._derived(evaluation, self.n, self.target, self.truth)
        derived._keys = self.keys
        derived._fixed_target = self._fixed_target
        derived._prediction = self._prediction
        return derived

    def take_answers(self, same: Self) -> None:
        """Takes over what the same question by other features was answered on the clean inputs."""
        if self._prediction is not None or same._prediction is None:
            return
        self._fixed_target, self._prediction = same._fixed_target, same._prediction
        self._known, self._alone = same._known, same._alone
        self._rows_checked, self._weights_version = same._rows_checked, same._weights_version

    def among(self, rows: Tensor, players: Tensor) -> Self:
        """The same question about some inputs with their players (r, features) as features.

        Each of them has as many; what is no player stays as it is.
        """
        evaluation = self._evaluation.take(rows)
        partition = on_players(evaluation.partition, players)
        evaluation = replace(evaluation, partition=partition)
        truth = rows_of(self.truth, rows)
        derived = self._derived(evaluation, len(rows), self.target.take(rows), truth)
        derived._keys = self.keys[rows]
        derived.index = _labels_of(self.index, rows)
        derived._fixed_target = self.fixed_target.take(rows)
        derived._prediction = self.prediction[rows]
        derived._base = _rows(self._base, rows)
        return derived


def _labels_of(index: tuple[Any, ...] | None, rows: Tensor) -> tuple[Any, ...] | None:
    """The caller's labels of some rows."""
    if index is None:
        return None
    return tuple(index[row] for row in rows.tolist())


def _rows(values: Tensor | None, rows: Tensor) -> Tensor | None:
    """Some rows of what has been asked, if it has been."""
    return None if values is None else values[rows]
