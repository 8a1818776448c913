"""The same row is answered the same way: alone and in company, again, and while it is heard.

What differs is refused: rows that influence each other, a model that draws or remembers, a target
that mixes rows, a network that answers otherwise while its operations are heard.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from assay.errors import KindError, ModelError, TargetError
from assay.models.base import ABSENT, real_numbers
from assay.models.failures import told
from assay.numerics.precision import rounding_tolerance
from assay.question.evaluation import Alone, Evaluation, Use
from assay.question.generators import Generators
from assay.removals.unstated import UnstatedAbsent
from assay.targets import Target

_TOLERANCE = (1e-3, 1e-4)  # relative and absolute, between a row alone and beside another
_HALF_TOLERANCE = (3e-2, 3e-2)  # the same in half precision
_AGAIN = 10.0  # rounding that is excused between two chunks of the same rows, in tolerances
_LEAST = 1e-6  # the same where answers are 0
_REPEATS = 8  # times that a model is asked the same row where it draws random numbers
_ROUNDINGS = 16  # units in the last place of the inputs that cancelling sums may be off by

_FIRST, _SECOND, _BOTH = slice(0, 1), slice(1, 2), slice(0, 2)

_CLEAN = "on the clean inputs"
_THIRD = 2  # the input that is asked alone of a network whose rows were checked before


def ask_clean(evaluation: Evaluation, use: Use, alone: Alone) -> None:
    """Asks about the clean inputs. What was said of each alone is not asked again; among more
    inputs it is compared with what is said in their company.
    """
    n = len(evaluation.x)
    if len(alone.inputs) == n:
        outputs = torch.cat([alone.inputs[number] for number in range(n)])
        evaluation.use_known(outputs, use, _CLEAN)
        return
    compared = _compared(evaluation, use, alone)
    evaluation.outputs(n, lambda numbers: (evaluation.x[numbers], numbers), compared, _CLEAN)


def ask_clean_as_learnt(evaluation: Evaluation, target: Target, use: Use) -> Alone | None:
    """Asks about the clean inputs of a network that is what it was when such rows were found not to
    influence each other: one input alone, and all of them, among which it is compared. None where
    there is more to check, and nothing was used.
    """
    alone = alone_as_learnt(evaluation)
    if alone is None:
        return None
    n = len(evaluation.x)
    met: list[int] = []

    def compared(numbers: Tensor, owners: Tensor, outputs: Tensor) -> None:
        # With a row before it that is another: what runs from row to row leaves the first as it is.
        if int(owners[0]) == 0:
            met.extend(check_alone(evaluation, owners, outputs, alone))
            check_target(evaluation, target, owners, outputs)
        use(numbers, owners, outputs)

    evaluation.outputs(n, lambda numbers: (evaluation.x[numbers], numbers), compared, _CLEAN)
    # In chunks so small that the input had no company the rows are checked as at first.
    return alone if met else check_rows_independent(evaluation, target)


def alone_as_learnt(evaluation: Evaluation) -> Alone | None:
    """What is said of one input alone by a model that is what it was when such rows were found not to
    influence each other: the company of that one tells the rest. None where there is more to check.
    """
    if not _can_be_learnt(evaluation):
        return None
    model = evaluation.model
    with model.session(slopes=False):
        # Within a session, which forgets what was learnt of a network that has changed.
        known = model.known_apart(evaluation.sample()[0])
        return ask_alone(evaluation, _THIRD) if known else None


def learn_apart(evaluation: Evaluation) -> None:
    """Remembers that rows were found not to influence each other, in pairs and in company."""
    if _can_be_learnt(evaluation):
        evaluation.model.learn_apart(evaluation.sample()[0])


def _can_be_learnt(evaluation: Evaluation) -> bool:
    """Whether one input can be told from those before it, in company, and has nothing beside it."""
    if len(evaluation.x) <= _THIRD or evaluation.most_rows is not None:
        return False
    # Two rows that are alike hide an influence of one on the other.
    return not evaluation.sample()[1] and not torch.equal(evaluation.x[0], evaluation.x[_THIRD])


def check_alone(evaluation: Evaluation, owners: Tensor, outputs: Tensor, alone: Alone) -> list[int]:
    """Compares the outputs of inputs `owners` (r,), which follow each other, with what was said of
    some of them alone; gives the numbers of these.
    """
    first, last = int(owners[0]), int(owners[-1])
    # Chunks hold neighbours, so that the two ends tell which of them were asked alone.
    met = [number for number in alone.inputs if first <= number <= last]
    for number in met:
        again = outputs[number - first : number - first + 1]
        _check_alike(evaluation, again, [alone.inputs[number]])
    return met


def check_rows_independent(evaluation: Evaluation, target: Target) -> Alone:
    """Asks two rows together and each alone, and refuses when their answers differ.

    Also refuses, at the cost of four rows, a target that does not fit the outputs or that mixes
    rows. A model that takes one row at a time is asked the same row twice instead, which shows
    randomness; its rows never meet. Gives what was said of rows alone.
    """
    pair, owners = _two_unlike_rows(evaluation)
    wheres = [_CLEAN, _CLEAN]
    # Where all inputs are alike, the second row is what is left when everything is removed.
    clean = bool(owners[1])
    if not clean:
        wheres[1] = ABSENT

    def ask(rows: slice, *, first: bool = False) -> Tensor:
        # A copy: a model that writes into its input spoils no other call.
        asked = evaluation.asked(pair[rows].clone(), owners[rows], wheres[rows.start])
        call = evaluation.model.first_call if first else evaluation.model.call
        with told(asked):
            return call(asked.rows, asked.context).detach().clone()

    generators = Generators()
    with evaluation.model.session(slopes=False):
        # The first answer may tell that rows have to be asked one by one.
        singles = [ask(_FIRST, first=True)]
        if evaluation.most_rows == 1:
            again = ask(_FIRST)
        else:
            # Both of them: in what runs from row to row, the first has no row before it.
            singles.append(ask(_SECOND))
            again = _together(evaluation, lambda: ask(_BOTH))
        # A rare draw, as of a dropout with a small rate, may not show in a single repetition.
        repeated = [ask(_FIRST) for _ in range(_REPEATS)] if generators.moved else []
    _check_alike(evaluation, again, singles)
    for answer in repeated:
        _check_repeated(evaluation, answer, singles[0])
    _check_target(evaluation, target, owners, singles)
    inputs = {0: singles[0]}
    if len(singles) < 2:
        return Alone(inputs)
    if clean:
        inputs[int(owners[1])] = singles[1]
    if clean or isinstance(evaluation.absent, UnstatedAbsent):
        return Alone(inputs)
    return Alone(inputs, absent=singles[1])


def _check_alike(evaluation: Evaluation, together: Tensor, singles: list[Tensor]) -> None:
    """Refuses rows that were answered in another way alone."""
    if len({answer.shape[1:] for answer in (together, *singles)}) > 1:
        shapes = [str(tuple(answer.shape)) for answer in (together, *singles)]
        raise ModelError(
            expected=f"as many outputs for every row from {evaluation.model.name}",
            got=" and ".join(shapes),
            advice="Pad them to one length, or reduce them: wrap(model, output=...).",
        )
    gap = _difference(evaluation, together, torch.cat(singles))
    if gap is not None:
        raise _influenced(evaluation, gap)


def _check_repeated(evaluation: Evaluation, again: Tensor, before: Tensor) -> None:
    """Refuses another answer to the same row alone: there is no company whose rounding excuses
    it, in half precision either.
    """
    if again.shape != before.shape:
        raise _influenced(evaluation, math.inf)
    gap = float((again - before).abs().nan_to_num().max())
    unit = torch.finfo(before.dtype).eps if before.is_floating_point() else 0.0
    if gap > unit * float(before.abs().nan_to_num().max()):
        raise _influenced(evaluation, gap)


def _influenced(evaluation: Evaluation, gap: float) -> ModelError:
    return ModelError(
        expected="the answer for an input not to depend on its neighbours",
        got=(
            f"a difference of {gap:.3g} from {evaluation.model.name} for the same row alone "
            "and beside another"
        ),
        advice=(
            "Statistics over the batch or randomness are at work: put such layers "
            "in evaluation mode, or fix the randomness. What influences rows in company "
            "alone (scores of all pairs, quantisation by the batch) is answered one by one: "
            "wrap(model, batch_size=1)."
        ),
    )


def _together(evaluation: Evaluation, ask: Callable[[], Tensor]) -> Tensor:
    """What the model says of two rows that it has answered one by one."""
    try:
        return ask()
    except ModelError as error:
        raise ModelError(
            expected=f"{evaluation.model.name} to answer two rows at once, as it did each alone",
            got=error.got,
            advice="It takes one row at a time: wrap(model, batch_size=1).",
        ) from (error.__cause__ or error)


def _compared(evaluation: Evaluation, use: Use, alone: Alone) -> Use:
    """The same use of clean outputs, which first compares them with what was said of inputs
    alone: an influence may take more rows than two.
    """

    def compared(numbers: Tensor, owners: Tensor, outputs: Tensor) -> None:
        if len(outputs) > 2:
            check_alone(evaluation, owners, outputs, alone)
        use(numbers, owners, outputs)

    return compared


def _two_unlike_rows(evaluation: Evaluation) -> tuple[Tensor, Tensor]:
    """Two rows that differ, where there are such, and the inputs they belong to (2,).

    Like rows hide an influence of one on the other: a batch of them is its own mean.
    """
    n = len(evaluation.x)
    first = evaluation.x[:1]
    owners = torch.zeros(2, dtype=torch.int64, device=evaluation.x.device)
    unlike = (evaluation.x[1:2] != first).any(dim=1)
    if n > 2 and not bool(unlike.any()):
        unlike = (evaluation.x[1:] != first).any(dim=1)
    if bool(unlike.any()):
        owners[1] = unlike.nonzero()[0, 0] + 1
        second = evaluation.x[owners[1:]]
    elif isinstance(evaluation.absent, UnstatedAbsent):
        second = first
    else:
        second = evaluation.removed_rows(owners[:1], owners[:1])
    return torch.cat([first, second]), owners


def is_answered_alike(evaluation: Evaluation, outputs: Tensor, before: Tensor) -> bool:
    """Whether the same row was answered as before, but for rounding."""
    return outputs.shape == before.shape and _difference(evaluation, outputs, before) is None


def _difference(evaluation: Evaluation, a: Tensor, b: Tensor) -> float | None:
    """The largest difference of two answers of the same rows, or None where they agree."""
    # Equal to the bit is the usual case, and needs no copies in double precision.
    if torch.equal(a, b):
        return None
    half = evaluation.layout.half or evaluation.x.dtype in (torch.float16, torch.bfloat16)
    rtol, atol = _HALF_TOLERANCE if half else _TOLERANCE
    a, b = a.to(torch.float64), b.to(torch.float64)
    # Small outputs count: the absolute tolerance shrinks with them, down to what rounding of
    # numbers as large as the inputs may leave where they cancel.
    unit = torch.finfo(evaluation.x.dtype if half else torch.float32).eps
    inputs = evaluation.x[:1].to(torch.float64).nan_to_num()
    rounding = min(1.0, _ROUNDINGS * unit * float(inputs.abs().max()) / atol)
    outputs = float(b.nan_to_num().abs().max()) if b.numel() else 0.0
    atol *= max(rounding, min(1.0, outputs))
    if torch.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True):
        return None
    return float((a - b).abs().max())


def _check_target(
    evaluation: Evaluation, target: Target, owners: Tensor, singles: list[Tensor]
) -> None:
    """Refuses a target whose score of a row depends on the rows beside it."""
    alone = []
    for row, outputs in enumerate(singles):
        chosen = target.take(owners[row : row + 1]).choose(outputs)
        alone.append(chosen.score(outputs, torch.zeros_like(owners[:1])).detach())
    # The same outputs in both: what differs is the target's doing, not the model's rounding.
    for scores in alone:
        _check_plain(scores)
    outputs = torch.cat(singles)
    count = len(outputs)
    chosen = target.take(owners[:count]).choose(outputs)
    together = chosen.score(outputs, torch.arange(count, device=owners.device)).detach()
    gap = _difference(evaluation, together, torch.cat(alone))
    if gap is not None:
        raise TargetError(
            expected="a target that scores each row from its own outputs alone",
            got=f"a difference of {gap:.3g} for the same row alone and beside another",
            advice="Reduce every dimension but the first: lambda outputs: outputs[:, 0].",
        )


def check_same(evaluation: Evaluation, scores: Tensor, before: Tensor) -> None:
    """Refuses a forward that was heard and answers otherwise than the network by itself."""
    gap = _difference(evaluation, scores, before.to(scores.dtype))
    if gap is not None:
        raise ModelError(
            expected=f"{evaluation.model.name} to answer the same while its operations are heard",
            got=f"a difference of {gap:.3g}",
            advice=(
                "It writes on views of tensors that it uses again, or draws at random: use a "
                "method that needs slopes alone, such as IntegratedGradients(). A rule of your own "
                "has to give the numbers of passage.value."
            ),
        )


def _check_plain(scores: Tensor) -> None:
    """Refuses scores of a target that are no plain real numbers."""
    try:
        real_numbers(scores, "the target")
    except KindError as error:
        raise TargetError(
            expected=error.expected,
            got=error.got,
            advice="Make one real number of each row: target=lambda outputs: outputs[:, 0].abs().",
        ) from error


def check_ends(
    table: Tensor, masks: Tensor, prediction: Tensor | None, base: Tensor | None, question: Any
) -> None:
    """Refuses values (n, m) under masks that differ from what the model said before, where nothing
    is removed or everything is: the same rows were asked again, for nothing.
    """
    if masks.dtype != torch.bool:
        return
    for chosen, before, what in (
        (masks.all(-1), prediction, "with nothing removed"),
        (~masks.any(-1), base, "with everything removed"),
    ):
        if before is None or not bool(chosen.any()):
            continue
        chosen = chosen.to(table.device).expand(table.shape)
        # A mask may keep all features or none for some inputs alone: compared entry by entry.
        expected = before.to(torch.float64)[:, None].expand(table.shape)
        scale = torch.maximum(table.abs().amax(1, keepdim=True), expected.abs()).expand(table.shape)
        # Rounding goes with the largest number that an input's rows gave, not with the end.
        slack = _AGAIN * rounding_tolerance(question.x) * scale + _LEAST
        off = chosen & ((table - expected).abs() > slack)
        if bool(off.any()):
            gap = float((table - expected).abs()[off].max())
            raise ModelError(
                expected=f"{question.model.name} to answer the same rows the same way again",
                got=f"a difference of {gap:.3g} from what it said {what} before",
                advice=(
                    "It remembers earlier calls, draws at random, or lets rows influence each "
                    "other: reset its state in the forward, fix the randomness, or say "
                    "wrap(model, batch_size=1)."
                ),
            )


def ask_alone(evaluation: Evaluation, number: int) -> Alone | None:
    """What a network says of one input alone, for one whose rows were checked before as it is now:
    its company is compared with it. None where it draws, which is checked anew.
    """
    owners = torch.tensor([number], device=evaluation.x.device)
    outputs = _asked_again(evaluation, evaluation.x[owners], owners)
    return None if outputs is None else Alone({number: outputs})


def ask_behind_absent(evaluation: Evaluation, number: int, absent: Tensor) -> Alone | None:
    """The same of one input that has nothing but the absent one (elements,) before it: other company
    than that with which it is compared, and what the network says of the absent one.
    """
    rows = torch.stack([absent, evaluation.x[number]])
    owners = torch.tensor([0, number], device=evaluation.x.device)
    outputs = _asked_again(evaluation, rows, owners)
    return None if outputs is None else Alone({number: outputs[1:]}, absent=outputs[:1])


def _asked_again(evaluation: Evaluation, rows: Tensor, owners: Tensor) -> Tensor | None:
    """What a network says of a few rows; None where it draws."""
    asked = evaluation.asked(rows, owners, _CLEAN)
    generators = Generators()
    with torch.no_grad(), told(asked):
        outputs = evaluation.model.call(asked.rows, asked.context).detach().clone()
    return None if generators.moved else outputs


def check_target(evaluation: Evaluation, target: Target, owners: Tensor, outputs: Tensor) -> None:
    """Refuses a target whose score of a row depends on the rows beside it, by two of some outputs."""
    _check_target(evaluation, target, owners[:2], list(outputs[:2].split(1)))
