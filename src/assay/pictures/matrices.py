"""Matrices: pairs of features, pairs of methods, tokens by tokens, on one scale each.

- `interactions`: which pairs of features act together
- `agreement`: which methods agree
- `tokens`: which word of the input for which output
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import torch

from assay.answers.attribution import Attribution
from assay.errors import InputError
from assay.numerics import rng
from assay.numerics.ranks import spearman
from assay.pictures.described import (
    Answers,
    answers_by_name,
    errors_of,
    intervals_of,
    row_number,
    sampled,
    too_few,
    unit_of,
    unsure_of,
    values_of,
)
from assay.pictures.drawing.drawing import Chart
from assay.pictures.drawing.kinds import matrix_panel
from assay.pictures.drawing.labels import names, short, signed
from assay.pictures.drawing.marks import Floats
from assay.pictures.drawing.scales import Scale, around_zero
from assay.pictures.numbers import clause, number

_FEATURES = 40
_TOKENS = 200
_REPEATS = 64  # pairs of draws from which a method's agreement with itself is told


def interactions(answer: Attribution, i: int | None = 0, *, top: int = 12) -> Chart:
    """Which pairs of features act together: main effects on the diagonal, interactions below it.

    A cell below the diagonal is the whole interaction, both of its halves.

    Settings:
        answer: of `ExactInteractions` or another method whose features are pairs.
        i: which input; the mean over all where it is None.
        top: features with a row, those with the largest sums of sizes.

    Errors: InputError for an answer that is no matrix.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x[:, 0] * x[:, 1], torch.tensor([[2.0, 3.0]]))
    >>> interactions(assay.ExactInteractions()(question)).data["credit"].tolist()
    [0.0, 6.0, 0.0]
    """
    [(name, answer)] = answers_by_name(answer).items()
    if len(answer.shape) != 2 or answer.shape[0] != answer.shape[1]:
        raise InputError(
            expected="an answer about pairs of features, a matrix of each input",
            got=f"features of shape {tuple(answer.shape)}",
            advice="Ask ExactInteractions() or TreeShap(index='interactions').",
        )
    count = answer.shape[0]
    chosen = slice(None) if i is None else slice(row_number(answer, i), row_number(answer, i) + 1)
    matrix = values_of(answer)[chosen].mean(axis=0).reshape(count, count)
    unsure = unsure_of(answer)[chosen].all(axis=0).reshape(count, count)
    labels = names([str(answer.names[k * count + k]) for k in range(count)])
    sizes = np.abs(matrix).sum(axis=1)
    kept = sorted(np.argsort(-sizes, kind="stable")[: min(top, _FEATURES)].tolist())
    whole = matrix + matrix.T - np.diag(np.diag(matrix))
    table = np.where(np.tri(count, dtype=bool), whole, np.nan)[np.ix_(kept, kept)]
    scale = around_zero(float(np.nanmax(np.abs(table))), unit_of(answer, i))
    written = _written(table)
    shown = [labels[k] for k in kept]
    pairs = [(shown[a], shown[b], float(table[a, b])) for a, b in zip(*np.tril_indices(len(kept)))]
    told = _strong(pairs)
    rest = count - len(kept)
    panel = matrix_panel(
        "pairs",
        table,
        scale,
        shown,
        shown,
        written=written,
        unsure=unsure[np.ix_(kept, kept)] & ~np.isnan(table) if sampled(answer) else None,
    )
    where = "mean over inputs" if i is None else f"input {i}"
    more = clause(f"; {rest} features are not shown", rest)
    return Chart(
        drawn=(panel,),
        table={
            "feature": [a for a, _, _ in pairs],
            "with": [b for _, b, _ in pairs],
            "credit": [v for _, _, v in pairs],
        },
        caption=f"{name}, {where}; diagonal: main effects; below: both halves of a pair{more}",
        alt=f"Interactions by {name}, {where}: {len(kept)} features. Strongest pairs: {told}.",
    )


def _written(table: Floats) -> list[list[str]]:
    return [["" if math.isnan(value) else short(float(value)) for value in row] for row in table]


def _strong(pairs: Sequence[tuple[str, str, float]]) -> str:
    """The strongest pairs of two different features, in words."""
    two = sorted((pair for pair in pairs if pair[0] != pair[1]), key=lambda pair: -abs(pair[2]))
    told = [f"{other} with {one} {signed(value)}" for one, other, value in two[:3] if value]
    return ", ".join(told) or "none"


def agreement(
    answers: Answers, *, by: Literal["value", "magnitude"] = "value", level: float = 0.95
) -> Chart:
    """Which methods rank features alike: mean Spearman's correlation over inputs, pair by pair.

    The diagonal is a method against itself with other draws: what no other method can be asked to
    exceed. It is 1 where nothing is sampled, else told from the standard errors.

    Settings:
        answers: two or more to one question, best by name.
        by: ranks by signed credit, or by its "magnitude".
        level: of the intervals over inputs, below the numbers and in the table.

    Errors: InputError for fewer than two answers, or answers of several shapes.
    """
    named = answers_by_name(answers)
    _check_alike(named)
    listed = list(named)
    rows = list(_correlations(named, by, level))
    table = np.full((len(listed), len(listed)), np.nan)
    below = [["" for _ in listed] for _ in listed]
    for one, other, mean, low, high, _ in rows:
        a, b = listed.index(one), listed.index(other)
        table[a, b] = table[b, a] = mean
        if not math.isnan(low):
            below[a][b] = below[b][a] = _from_to(low, high)
    scale = around_zero(1.0, "rank correlation, mean over inputs")
    written = [[number(float(value)) for value in row] for row in table]
    panel = matrix_panel("methods", table, scale, listed, listed, written=written, below=below)
    told = _most_and_least(rows)
    columns = ("method", "with", "correlation", "low", "high", "inputs")
    return Chart(
        drawn=(panel,),
        table={title: [row[k] for row in rows] for k, title in enumerate(columns)},
        caption=(
            f"Spearman's correlation by {by}, mean over inputs; diagonal: the method against itself with "
            f"other draws; small: {100 * level:g} % intervals over inputs; agreement is no faithfulness"
            f"{too_few(min(row[-1] for row in rows))}"
        ),
        alt=f"Agreement of {len(listed)} methods, Spearman's correlation by {by}.{told}",
    )


def _check_alike(named: Mapping[str, Attribution]) -> None:
    """Refuses what is not two answers or more of one shape."""
    shapes = {tuple(answer.values.shape) for answer in named.values()}
    if len(named) < 2 or len(shapes) > 1:
        raise InputError(
            expected="two answers or more to one question",
            got=f"{len(named)} of shapes {sorted(shapes)}",
            advice="Ask all methods the same question: agreement({'a': one, 'b': other}).",
        )


def _correlations(
    named: Mapping[str, Attribution], by: str, level: float
) -> Iterator[tuple[str, str, float, float, float, int]]:
    """Each pair with its mean correlation, the interval of that, and how many inputs have one."""
    listed = list(named)
    pairs = [(one, other) for a, one in enumerate(listed) for other in listed[: a + 1]]
    columns = [
        _itself(named[one], by) if one == other else _alike(named[one], named[other], by)
        for one, other in pairs
    ]
    # All pairs at once, from one set of resampled inputs.
    table = np.where(np.isfinite(columns), columns, np.nan).T
    for (one, other), column, (low, high) in zip(pairs, table.T, intervals_of(table, level)):
        known = column[np.isfinite(column)]
        mean = math.nan
        if len(known):
            mean = float(known.mean())
        yield one, other, mean, float(low), float(high), len(known)


def _from_to(low: float, high: float) -> str:
    return f"{low:.2f} to {high:.2f}".replace("-", "−")


def _most_and_least(rows: Sequence[tuple[str, str, float, float, float, int]]) -> str:
    pairs = [row for row in rows if row[0] != row[1] and not math.isnan(row[2])]
    if not pairs:
        return ""
    best, worst = max(pairs, key=lambda row: row[2]), min(pairs, key=lambda row: row[2])
    return (
        f" Most alike: {best[0]} and {best[1]}, {number(best[2])}; least: {worst[0]} and {worst[1]}, "
        f"{number(worst[2])}."
    )


def _alike(one: Attribution, other: Attribution, by: str) -> Floats:
    credit, known = one.values.double().cpu(), other.values.double().cpu()
    if by == "magnitude":
        credit, known = credit.abs(), known.abs()
    own = one.own_features()
    there = torch.ones_like(credit, dtype=torch.bool) if own is None else own.cpu()
    return np.asarray(spearman(credit, known, there).numpy(), dtype=np.float64)


def _itself(answer: Attribution, by: str) -> Floats:
    """A method's correlation with itself under other draws, for each input."""
    values = values_of(answer)
    if not sampled(answer):
        # Of credit that is the same everywhere there is no ranking.
        return np.where(np.ptp(values, axis=1) > 0, 1.0, np.nan)
    errors = np.nan_to_num(errors_of(answer, values))
    draw = rng.shared(0, "agreement with itself")
    found = []
    for _ in range(_REPEATS):
        pair = [values + errors * draw.standard_normal(values.shape) for _ in range(2)]
        if by == "magnitude":
            pair = [np.abs(each) for each in pair]
        one, other = map(torch.from_numpy, pair)
        found.append(spearman(one, other, torch.ones_like(one, dtype=torch.bool)).numpy())
    return np.asarray(np.mean(found, axis=0), dtype=np.float64)


def tokens(answers: Mapping[str, Attribution], i: int = 0) -> Chart:
    """Which word of the input for which output: an answer for each output, on one scale.

    Settings:
        answers: by the name of what was put out, such as its token; all about the same text.
        i: which text.

    Errors: InputError for answers in several units, with other features, or more than 200 of either.
    """
    named = answers_by_name(answers)
    first = next(iter(named.values()))
    i = row_number(first, i)
    inputs = names(first.names_of(i))
    kinds = {(answer.kind, tuple(answer.names_of(i))) for answer in named.values()}
    if len(kinds) > 1 or max(len(named), len(inputs)) > _TOKENS:
        raise InputError(
            expected=f"answers in one unit about the same words, at most {_TOKENS} of each",
            got=f"{len(kinds)} units or lists of words, {len(named)} answers, {len(inputs)} words",
            advice="Ask one method about each output of one text.",
        )
    table = np.stack([values_of(answer)[i, : len(inputs)] for answer in named.values()])
    unsure = np.stack([unsure_of(answer)[i, : len(inputs)] for answer in named.values()])
    scale: Scale = around_zero(float(np.abs(table).max()), unit_of(first))
    written = [[short(float(v)) for v in row] for row in table]
    rows = list(named)
    panel = matrix_panel("tokens", table, scale, rows, inputs, written=written, unsure=unsure)
    down, across = np.unravel_index(int(np.abs(table).argmax()), table.shape)
    return Chart(
        drawn=(panel,),
        table={
            "output": [row for row in rows for _ in inputs],
            "input": inputs * len(rows),
            "credit": table.ravel().tolist(),
        },
        caption=f"rows: outputs, columns: inputs; one scale; text {i}",
        alt=(
            f"Tokens of text {i}: {len(rows)} outputs by {len(inputs)} inputs. Strongest: "
            f"{inputs[across]} for {rows[down]}, {signed(float(table[down, across]))}."
        ),
    )
