"""Answers of shards and of groups of inputs, joined into one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor

from assay.answers.attribution import Attribution
from assay.features.partition import Partition
from assay.methods.base.estimate import Estimate
from assay.question.question import Question
from assay.targets import Output


@final
class Join:
    """The answers of shards, joined as they come.

    Values are filled in place: joining the pieces at the end would hold the answer twice.
    """

    values: Tensor
    partition: Partition

    def __init__(self, question: Question) -> None:
        self.n = question.n
        self.done = 0
        self.predictions: list[Tensor] = []
        self.bases: list[Tensor] = []
        self.errors: list[Tensor | None] = []
        self.sizes: list[int] = []
        # How many features of each input were solved for.
        self.players: list[int] = []
        self.notes: dict[str, Any] = {}
        self.own_names: list[Sequence[str]] = []
        self.explained: list[str] = []
        # Which features the inputs of each shard have.
        self.present: list[Tensor] = []

    def add_ends(self, prediction: Tensor, base: Tensor) -> None:
        """What the target is on a shard's inputs (n,), and with everything removed (n,)."""
        self.predictions.append(prediction)
        self.bases.append(base)

    def add(self, shard: Question, piece: Estimate) -> None:
        """The estimate of the next shard, behind those before it."""
        rows = len(piece.values)
        if not self.done:
            # The partition of a shard, not of the question: behind a layer that would hold all inputs.
            self.partition = piece.partition or shard.partition
            total = self.n if piece.ends is None else rows
            self.values = piece.values.new_empty(total, piece.values.shape[1])
        self.values[self.done : self.done + rows] = piece.values
        self.done += rows
        self.own_names += shard.partition.own_names or ()
        # A pooled answer is about no single input.
        if piece.ends is None:
            self.explained += shard.explained
            if not self.partition.identity and piece.partition is None:
                self.present.append(shard.existing_features())
        if piece.ends is not None:
            self.add_ends(*piece.ends)
        if piece.base is not None:
            self.bases[-1] = piece.base
        self.errors.append(piece.standard_error)
        self.sizes.append(rows)
        counts = [self.partition.count] * rows
        self.players += counts if piece.players is None else piece.players.tolist()
        for name, note in piece.notes.items():
            self.notes[name] = merged(self.notes[name], note) if name in self.notes else note

    def own_names_of_all(self) -> tuple[Sequence[str], ...] | None:
        """Each input's own names, where they have any; a pooled answer is about no single one."""
        if not self.own_names or len(self.own_names) != len(self.values):
            return None
        return tuple(self.own_names)

    def present_in_all(self) -> Tensor | None:
        """Which features each input has, where some have not all of them."""
        if all(bool(present.all()) for present in self.present):
            return None
        return torch.cat(self.present)

    def targets(self) -> tuple[str, ...] | None:
        """What was explained of each input, where the answer is about single ones."""
        return tuple(self.explained) if self.explained else None

    def standard_error(self) -> Tensor | None:
        """The errors of all shards: none where none has any, zero for those that were exact."""
        if all(error is None for error in self.errors):
            return None
        width = self.values.shape[1]
        errors = []
        for size, error in zip(self.sizes, self.errors):
            errors.append(self.values.new_zeros(size, width) if error is None else error)
        return torch.cat(errors).to(self.values.dtype)


@final
class Parts:
    """The answers of groups of inputs with as many players, put back where they belong."""

    def __init__(self, players: Tensor) -> None:
        self.players = players
        self.rows: list[Tensor] = []
        self.estimates: list[Estimate] = []

    def add(self, rows: Tensor, estimate: Estimate) -> None:
        """An answer for the inputs `rows` (r,): of their players, or of all features."""
        self.rows.append(rows)
        self.estimates.append(estimate)

    def joined(self) -> Estimate:
        """The answer for all inputs and features: 0 for whoever does not play."""
        values = self._spread([estimate.values for estimate in self.estimates])
        errors = [estimate.standard_error for estimate in self.estimates]
        standard_error = None
        if any(error is not None for error in errors):
            standard_error = self._spread(errors)
        return Estimate(values, standard_error, self._notes(), players=self.players.sum(dim=1))

    def _notes(self) -> dict[str, Any]:
        order = torch.cat(self.rows).argsort().tolist()
        notes: dict[str, Any] = {}
        for estimate in self.estimates:
            for name, note in estimate.notes.items():
                notes[name] = merged(notes[name], note) if name in notes else note
        for name, note in notes.items():
            # Lists have an entry for each input: they go back to the inputs' order.
            if isinstance(note, list) and len(note) == len(order):
                notes[name] = [note[place] for place in order]
        return notes

    def _spread(self, parts: Sequence[Tensor | None]) -> Tensor:
        """Numbers of players as numbers of features."""
        table = torch.zeros(self.players.shape, dtype=torch.float64, device=self.players.device)
        for rows, part in zip(self.rows, parts):
            if part is None:
                continue
            if part.shape[1] == table.shape[1]:
                table[rows] = part.to(table.dtype)
                continue
            grid = torch.zeros_like(table[rows])
            grid[self.players[rows]] = part.detach().to(table.dtype).flatten()
            table[rows] = grid
        return table


def picked(
    question: Question,
    questions: Sequence[Question],
    answers: Sequence[Attribution],
    rank: Tensor,
) -> Attribution:
    """One answer that takes each input (n,) from the answer with its number in `rank`."""
    rows = torch.arange(len(rank), device=rank.device)
    first = answers[0]
    parts: dict[str, Any] = {}
    for name in ("values", "base", "prediction", "gap", "standard_error"):
        if getattr(first, name) is not None:
            parts[name] = torch.stack([getattr(answer, name) for answer in answers])[rank, rows]
    chosen = rank.tolist()
    # What has an entry for each input is that of the answer it comes from.
    facts = dict(first.facts)
    for name, fact in first.facts.items():
        if isinstance(fact, list) and len(fact) == len(chosen):
            facts[name] = [answers[k].facts[name][i] for i, k in enumerate(chosen)]
    targets = tuple((answers[k].targets or ("",))[i] for i, k in enumerate(chosen))
    asked = questions[chosen[0]]
    if len(set(chosen)) > 1:
        indices = [getattr(questions[k].target, "index", 0) for k in chosen]
        asked = question.of(Output(indices))
    provenance = {**first.provenance, "question": asked.digest, "asked": repr(asked)}
    return replace(first, **parts, facts=facts, provenance=provenance, targets=targets)


def merged(one: Any, other: Any) -> Any:
    """What two shards say of the same thing.

    A claim must hold in both, of numbers the larger counts, lists with an entry for each input go on,
    and what a counter holds adds up.
    """
    if isinstance(one, bool) and isinstance(other, bool):
        return one and other
    if isinstance(one, list) and isinstance(other, list):
        return one + other
    if isinstance(one, Counter) and isinstance(other, Counter):
        return _added(one, other)
    return max(one, other) if isinstance(other, int | float) else other


def plain(note: Any) -> Any:
    """A counter as a dictionary, and any other note as it is."""
    if not isinstance(note, Counter):
        return note
    return {name: plain(value) for name, value in note.items()}


def _added(one: Counter[Any], other: Counter[Any]) -> Counter[Any]:
    """The sums of two counters, and of the counters that they hold."""
    total: dict[Any, Any] = {}
    for name in {**one, **other}:
        first: Any = one[name]
        second: Any = other[name]
        if isinstance(first, Counter) or isinstance(second, Counter):
            total[name] = _added(first or Counter(), second or Counter())
        else:
            total[name] = first + second
    return Counter(total)
