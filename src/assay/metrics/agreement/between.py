"""How far several explanations of one question agree with each other, pair by pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch

from assay.answers.attribution import Attribution
from assay.errors import InputError, KindError
from assay.metrics.agreement.agreement import RankCorrelation, SignAgreement, TopKOverlap
from assay.settings import argument, shown

if TYPE_CHECKING:
    import pandas as pd

Measure = Literal["rank", "top", "sign"]


def agreement_between(
    answers: Mapping[str, Attribution],
    measure: Measure = "rank",
    *,
    k: int | float = 0.1,
) -> pd.DataFrame:
    """A table of the mean agreement over inputs of every pair of explanations.

    Arguments:
        answers: attributions of one question, by name.
        measure: "rank" is Spearman's correlation, "top" the overlap of the k features with the most
            credit, "sign" the share of features on whose sign the column's answer has they agree.
        k: for "top": a number of features, an int, or a share of them, a float.

    Inputs for which a pair has no agreement are left out of its mean. Cost: none. Errors: KindError
    for what are no attributions, InputError for attributions of several shapes.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[3.0, 2.0, 1.0]]))
    >>> answer = assay.InputXGradient()(question)
    >>> float(agreement_between({"a": answer, "b": answer}).loc["a", "b"])
    1.0
    """
    import pandas as pd

    measure = argument("agreement_between", "measure", measure, Measure)
    _check(answers)
    compared: dict[str, Any] = {
        "rank": RankCorrelation(),
        "top": TopKOverlap(k=k),
        "sign": SignAgreement(),
    }
    metric = compared[measure]
    table: dict[str, dict[str, float]] = {}
    for column, known in answers.items():
        own = known.own_features()
        there = torch.ones_like(known.values, dtype=torch.bool) if own is None else own
        truth = known.values.to(torch.float64)
        table[column] = {
            row: float(metric._compare(answer.values.to(torch.float64), truth, there).nanmean())
            for row, answer in answers.items()
        }
    return pd.DataFrame(table)


def _check(answers: Any) -> None:
    if not isinstance(answers, Mapping) or not all(
        isinstance(answer, Attribution) for answer in answers.values()
    ):
        raise KindError(
            expected="attributions by name",
            got=shown(answers),
            advice='Write agreement_between({"mine": answer, "other": other}).',
        )
    shapes = {tuple(answer.values.shape) for answer in answers.values()}
    if len(shapes) != 1:
        raise InputError(
            expected="attributions of one question, at least one",
            got=f"shapes {sorted(shapes)}",
            advice="Ask all methods the same question, about the same features.",
        )
