"""Shapley regression values: a feature is removed by retraining without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import InputError
from assay.methods.base import Axiom, Estimate, Method
from assay.methods.shapley.exact import ExactShapley
from assay.methods.shapley.games import shapley_values
from assay.methods.shapley.mask_method import MaskMethod
from assay.methods.shapley.permutation import PermutationShapley
from assay.models.base import Ability
from assay.question.question import Question

Floats = NDArray[np.float64]

_MOST_REFITS = 1 << 12

_MOST_SWEPT = 20

_HELD = 12  # features swept at once: 2^12 matrices

_COLLINEAR = 1e-10  # share of a column's variance below which the columns before explain it


def subset_regressions(moments: Floats) -> tuple[Floats, Floats]:
    """Least squares on every subset of M columns: coefficients (2^M, M), residual sums (2^M,),
    ordered like `subsets`.

    `moments` (M + 1, M + 1) are second moments of centred columns, the answer last. The sweep
    operator brings a column into a regression in O(M^2) (Goodnight 1979), so all of them cost O(2^M
    M^2). A column that the others explain already gets no coefficient.
    """
    count = len(moments) - 1
    if count > _MOST_SWEPT:
        raise InputError(
            f"regressions on all subsets take at most {_MOST_SWEPT} columns, got {count}, which would be {2**count} of "
            "them: leave columns out, or sample orderings"
        )
    held, blocks = min(count, _HELD), []
    for high in range(2 ** (count - held)):
        states, inside = moments[None], np.zeros((1, count), dtype=np.bool_)
        for k in range(held, count):
            if high >> (k - held) & 1:
                states, inside = _sweep(states, inside, k, moments[k, k])
        for k in range(held):
            more, within = _sweep(states, inside, k, moments[k, k])
            states, inside = np.concatenate((states, more)), np.concatenate((inside, within))
        blocks.append((np.where(inside, states[:, :-1, -1], 0.0), states[:, -1, -1]))
    return np.concatenate([block[0] for block in blocks]), np.concatenate(
        [block[1] for block in blocks]
    )


def _sweep(
    states: Floats, inside: NDArray[np.bool_], k: int, scale: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """Column k brought into every regression in which it still has variance of its own."""
    pivot = states[:, k, k]
    usable = pivot > _COLLINEAR * scale
    row = states[:, k, :] / np.where(usable, pivot, 1.0)[:, None]
    column = states[:, :, k]
    after = states - column[:, :, None] * row[:, None, :]
    after[:, k, :] = row
    after[:, :, k] = -column / np.where(usable, pivot, 1.0)[:, None]
    after[:, k, k] = 1.0 / np.where(usable, pivot, 1.0)
    within = inside.copy()
    within[:, k] = usable
    return np.where(usable[:, None, None], after, states), within


def _moments(rows: Floats, answers: Floats) -> Floats:
    joined = np.column_stack((rows, answers))
    joined = joined - joined.mean(axis=0)
    return np.asarray(joined.T @ joined, dtype=np.float64)


def variance_shares(rows: ArrayLike, answers: ArrayLike) -> Floats:
    """Each column's share of the R^2 of a linear regression: the Shapley values of v(S) = R^2 on
    the columns S.

    (Lindeman, Merenda and Gold 1980; Lipovetsky and Conklin 2001, equation 20.) Shares are not
    negative and add up to the R^2 of the whole regression. `rows` (n, M), `answers` (n,): (M,).
    O(2^M M^2) arithmetic, up to 20 columns.

    >>> rows = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]
    >>> variance_shares(rows, [3.0, 1.0, -1.0, -3.0]).round(9).tolist()
    [0.8, 0.2]
    """
    moments = _moments(np.asarray(rows, dtype=np.float64), np.asarray(answers, dtype=np.float64))
    left = subset_regressions(moments)[1]
    if left[0] <= 0:
        raise InputError("answers must vary, got a constant: there is no variance to share")
    return np.asarray(
        shapley_values(torch.from_numpy(1 - left / left[0])).numpy(), dtype=np.float64
    )


@final
@dataclass(frozen=True, eq=False)
class ShapleyRegression(Method):
    """Shapley values of the game in which a coalition is a model retrained on its columns alone.

    phi_i = sum_{S without i} |S|! (M - |S| - 1)! / M! (f_{S + i}(x_{S + i}) - f_S(x_S))     (Lipovetsky and Conklin
    2001; Lundberg and Lee 2017, equation 4). `estimator` is any scikit-learn estimator, cloned for
    every coalition; `rows` and `answers` are its training data; the empty coalition predicts the
    mean answer or the class frequencies. An ordinary `LinearRegression` is solved for all subsets
    at once in closed form. The values add up to the retrained model's answer less that of the empty
    coalition, which is not the removal's: features are removed before training, not from the input.
    Cost: 2^features refits and no evaluation of the question's model beyond its own; with
    `orderings` (even), random orderings instead of all of them, `orderings` * features refits at
    most, and a standard error.

    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from assay.question.question import Question
    >>> rows = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> answers = rows @ [2.0, 1.0]
    >>> question = Question(LinearRegression().fit(rows, answers), np.array([[3.0, 4.0]]))
    >>> ShapleyRegression(LinearRegression(), rows, answers)(question).values.round(decimals=6).tolist()
    [[6.0, 4.0]]
    """

    estimator: Any
    rows: Any
    answers: Any
    orderings: int | None = None

    axioms = frozenset()
    cost: ClassVar[str] = "2^features refits"

    def values(self, question: Question, seed: int) -> Estimate:
        features = question.partition.count
        solver: MaskMethod = (
            ExactShapley() if self.orderings is None else PermutationShapley(self.orderings)
        )
        masks = solver.masks(features, seed)
        rows = question.layout.flatten(self.rows).to(torch.float64).cpu().numpy()
        answers = np.asarray(self.answers)
        if len(rows) != len(answers):
            raise InputError(
                f"rows and answers must be of the same examples, got {len(rows)} and {len(answers)}"
            )
        columns = _columns(question, masks)
        if self._closed(rows, answers, columns):
            table = _regressed(question, rows, answers, columns)
        elif len(masks) > _MOST_REFITS:
            raise InputError(
                f"{features} features need {len(masks)} refits, more than {_MOST_REFITS}: "
                f"group the features, or sample with orderings={2 * max(1, _MOST_REFITS // (4 * features))}"
            )
        else:
            table = self._refitted(question, rows, answers, columns)
        values, error = solver.solve(table, features, seed)
        return Estimate(values, standard_error=error, notes={"refits": len(masks)})

    def _closed(self, rows: Floats, answers: NDArray[Any], columns: NDArray[np.bool_]) -> bool:
        from sklearn.linear_model import LinearRegression

        model = self.estimator
        plain = type(model) is LinearRegression and model.fit_intercept and not model.positive
        return plain and answers.ndim == 1 and rows.shape[1] <= _MOST_SWEPT

    def _refitted(
        self, question: Question, rows: Floats, answers: NDArray[Any], columns: NDArray[np.bool_]
    ) -> Tensor:
        """The target of every retrained model on its own columns of the inputs: (n, m)."""
        asked, owners = (
            question.x.to(torch.float64).cpu().numpy(),
            torch.arange(question.n, device=question.x.device),
        )
        target, read = question.fixed_target, _reading(question, self.estimator)
        table = torch.empty(question.n, len(columns), dtype=torch.float64, device=question.x.device)
        for which, own in enumerate(columns):
            model, x = (
                _fitted(self.estimator, rows, answers, own),
                asked[:, own] if own.any() else asked[:, :1],
            )
            outputs = torch.from_numpy(np.asarray(getattr(model, read)(x), dtype=np.float64)).to(
                question.x.device
            )
            table[:, which] = target.score(outputs, owners)
        return table

    def __repr__(self) -> str:
        shown = (
            f"<rows of shape {np.shape(self.rows)}>, <answers of shape {np.shape(self.answers)}>"
        )
        return f"ShapleyRegression({self.estimator!r}, {shown}, orderings={self.orderings})"


def _columns(question: Question, masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Coalitions of features as sets of columns: (m, columns)."""
    if len(question.partition.labels) > 1:
        raise InputError(
            "retraining expects features that are the same for all inputs: use Columns() with groups"
        )
    first = torch.zeros(len(masks), dtype=torch.int64)
    return np.asarray(
        question.partition.spread(torch.tensor(masks, device=question.x.device), first)
        .cpu()
        .numpy()
    )


def _regressed(
    question: Question, rows: Floats, answers: NDArray[Any], columns: NDArray[np.bool_]
) -> Tensor:
    """The predictions of least squares on every coalition's columns, from one pass over all
    subsets: (n, m).
    """
    coefficients = subset_regressions(_moments(rows, answers.astype(np.float64)))[0]
    own = coefficients[columns @ (1 << np.arange(rows.shape[1]))]
    offset = question.x.to(torch.float64) - torch.from_numpy(rows.mean(axis=0)).to(
        question.x.device
    )
    predictions = float(answers.mean()) + offset @ torch.from_numpy(own).to(question.x.device).T
    every = torch.arange(question.n, device=question.x.device)
    target = question.fixed_target
    return torch.stack(
        [target.score(each, every).to(torch.float64) for each in predictions.T], dim=1
    )


def _reading(question: Question, estimator: Any) -> str:
    """Which of the estimator's answers the question reads, found on its own model where that is an
    estimator.
    """
    from sklearn.base import is_classifier

    read = getattr(question.model, "method", None) or (
        "predict_proba" if is_classifier(estimator) else "predict"
    )
    if read == "decision_function":
        raise InputError(
            "a model retrained on no columns has no decision function: wrap the estimator with output='predict_proba'"
        )
    return str(read)


def _fitted(estimator: Any, rows: Floats, answers: NDArray[Any], own: NDArray[np.bool_]) -> Any:
    from sklearn.base import clone, is_classifier
    from sklearn.dummy import DummyClassifier, DummyRegressor

    if own.any():
        return clone(estimator).fit(rows[:, own], answers)
    empty = DummyClassifier(strategy="prior") if is_classifier(estimator) else DummyRegressor()
    return empty.fit(rows[:, :1], answers)
