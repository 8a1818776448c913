"""Shapley regression values: a feature is absent from a model that is retrained without it.

Lipovetsky and Conklin (2001) share the R^2 of a linear regression among its columns; the same game
with a prediction in the place of R^2 gives a value for each input (Lundberg and Lee 2017, equation
4). Both need a model for every subset of columns. Ordinary least squares has all of them at the
cost of one pass: the sweep operator (Goodnight 1979) brings one more column into a regression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from assay.errors import InputError, SettingKindError
from assay.inputs.tables import TableLayout
from assay.methods.base import Estimate, Method
from assay.methods.shapley.coalitions import Floats
from assay.methods.shapley.exact import ExactShapley
from assay.methods.shapley.games import (
    as_tensor,
    coalition_numbers,
    shapley_values,
)
from assay.methods.shapley.mask_method import MaskMethod
from assay.methods.shapley.permutation import PermutationShapley
from assay.numerics.precision import varies
from assay.question.question import Question
from assay.settings import shown

_MAX_REFITS = 1 << 12  # estimators fitted for one answer

_MAX_SWEPT = 20  # columns whose subsets are all regressed on: 2^20 of them

_SWEPT_AT_ONCE = 12  # columns; 2^12 matrices are held

_COLLINEAR = 1e-10  # share of a column's variance below which the columns before explain it


def subset_regressions(moments: Floats) -> tuple[Floats, Floats]:
    """Least squares on every subset of M columns: coefficients and residual sums of squares.

    (2^M, M) and (2^M,), ordered like `subsets`. `moments` (M + 1, M + 1) are second moments of
    centred columns, the answer last. The sweep operator brings a column into a regression in O(M^2)
    (Goodnight 1979), so all of them cost O(2^M M^2). A column that the others explain already gets
    no coefficient.
    """
    count = len(moments) - 1
    if count > _MAX_SWEPT:
        raise InputError(
            expected=f"regressions on all subsets of at most {_MAX_SWEPT} columns",
            got=f"{count}, which would be {2**count} of them",
            advice="Leave columns out, or sample orderings.",
        )
    variances = moments.diagonal()
    low = min(count, _SWEPT_AT_ONCE)
    coefficients = []
    residual_sums = []
    # One block for each subset of the high columns:
    # there all subsets of the low ones are held.
    for high_subset in range(2 ** (count - low)):
        states = moments[None]
        included = np.zeros((1, count), dtype=np.bool_)
        for k in range(low, count):
            if high_subset >> (k - low) & 1:
                states, included = _sweep(states, included, k, variances[k])
        # Each low column doubles the block: all
        # regressions without it, then all with it.
        for k in range(low):
            swept, included_now = _sweep(states, included, k, variances[k])
            states = np.concatenate((states, swept))
            included = np.concatenate((included, included_now))
        coefficients.append(np.where(included, states[:, :-1, -1], 0.0))
        residual_sums.append(states[:, -1, -1])
    return np.concatenate(coefficients), np.concatenate(residual_sums)


def _sweep(
    states: Floats, included: NDArray[np.bool_], k: int, variance: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """Column k brought into every regression in which it still has variance of its own.

    `states` (s, M + 1, M + 1) are moments swept by the columns `included` (s, M): the last column
    holds coefficients, its last entry the residual sum of squares. `variance`: column k's in full.
    """
    pivot = states[:, k, k]
    usable = pivot > _COLLINEAR * variance
    divisor = np.where(usable, pivot, 1.0)
    row = states[:, k, :] / divisor[:, None]
    column = states[:, :, k]
    # Gauss-Jordan elimination of column k, with the
    # inverse kept in the place of what it clears.
    swept = states - column[:, :, None] * row[:, None, :]
    swept[:, k, :] = row
    swept[:, :, k] = -column / divisor[:, None]
    swept[:, k, k] = 1.0 / divisor
    included_now = included.copy()
    included_now[:, k] = usable
    return np.where(usable[:, None, None], swept, states), included_now


def _moments(rows: Floats, answers: Floats) -> Floats:
    """Second moments of the centred columns and, last, the answers: (M + 1, M + 1)."""
    columns = np.column_stack((rows, answers))
    centred = columns - columns.mean(axis=0)
    # A mean is rounded: what it leaves of a constant column is no variance.
    centred[:, ~varies(torch.from_numpy(columns), dim=0).numpy()] = 0.0
    return np.asarray(centred.T @ centred, dtype=np.float64)


def variance_shares(rows: ArrayLike, answers: ArrayLike) -> Floats:
    """Each column's share of the R^2 of a linear regression.

    The Shapley values of v(S) = R^2 on the columns S (Lindeman, Merenda and Gold 1980; Lipovetsky
    and Conklin 2001, equation 20). Shares are not negative and add up to the R^2 of the whole
    regression. `rows` (n, M), `answers` (n,): (M,). O(2^M M^2) arithmetic, up to 20 columns.

    >>> rows = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]
    >>> variance_shares(rows, [3.0, 1.0, -1.0, -3.0]).round(9).tolist()
    [0.8, 0.2]
    """
    columns = np.asarray(rows, dtype=np.float64)
    response = np.asarray(answers, dtype=np.float64)
    _, residual_sums = subset_regressions(_moments(columns, response))
    # The regression on no column leaves all variance.
    total = residual_sums[0]
    if total <= 0:
        raise InputError(
            expected="answers that vary",
            got="a constant, without variance to share",
            advice="Hand over the answers that the columns are to explain.",
        )
    r_squared = torch.from_numpy(1 - residual_sums / total)
    return np.asarray(shapley_values(r_squared).numpy(), dtype=np.float64)


@final
@dataclass(frozen=True, eq=False)
class ShapleyRegression(Method):
    """Shapley values of the game in which a coalition is a model retrained on its columns alone.

    phi_i = sum_{S without i} |S|! (M - |S| - 1)! / M! (f_{S + i}(x_{S + i}) - f_S(x_S))
    (Lipovetsky and Conklin 2001; Lundberg and Lee 2017, equation 4)

    The empty coalition predicts the mean answer or the class frequencies. An ordinary
    `LinearRegression` is solved for all subsets at once in closed form. The values add up to the
    retrained model's answer less that of the empty coalition, which is not the removal's: features
    are removed before training, not from the input.

    Settings:
        estimator: any scikit-learn estimator, cloned for every coalition.
        rows: its training inputs, as the question's inputs are. Of a table the estimator is fitted
            to frames, with the columns' own types: categories are for it to encode. A pipeline that
            selects columns by name is fitted with those names that a coalition has.
        answers: its training answers, one for each row.
        orderings: None asks all coalitions; an even number of random orderings, forwards and
            backwards together, asks those that they meet.

    Cost: 2^features refits and no evaluation of the question's model beyond its own; with
    `orderings`, orderings * features refits at most, and a standard error. Values (n, features) in
    units of the target. Errors: InputError for more than 4096 refits, and for rows that the
    estimator cannot be fitted to.

    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from assay.question.question import Question
    >>> rows = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> answers = rows @ [2.0, 1.0]
    >>> question = Question(LinearRegression().fit(rows, answers), np.array([[3.0, 4.0]]))
    >>> method = ShapleyRegression(LinearRegression(), rows, answers)
    >>> method(question).values.round(decimals=6).tolist()
    [[6.0, 4.0]]
    """

    estimator: Any
    rows: Any
    answers: Any
    orderings: int | None = None

    axioms = frozenset()
    cost: ClassVar[str] = "2^features refits"

    def __post_init__(self) -> None:
        is_estimator = hasattr(self.estimator, "fit") and hasattr(self.estimator, "get_params")
        if isinstance(self.estimator, type) or not is_estimator:
            raise SettingKindError(
                expected="a scikit-learn estimator for ShapleyRegression",
                got=shown(self.estimator),
                advice="Hand over an instance, such as LinearRegression(): it is cloned and fitted.",
            )

    def values(self, question: Question, seed: int) -> Estimate:
        features = question.partition.count
        solver = self._solver()
        masks = solver.masks(features, seed)
        training = self._training_data(question)
        columns = _columns(question, masks)
        if self._in_closed_form(question, training):
            table = _least_squares_table(question, training, columns)
        elif len(masks) <= _MAX_REFITS:
            table = self._refitted_table(question, training, columns)
        else:
            orderings = 2 * max(1, _MAX_REFITS // (4 * features))
            raise InputError(
                expected=f"at most {_MAX_REFITS} refits",
                got=f"{features} features, which need {len(masks)} refits",
                advice=f"Group the features, or sample with orderings={orderings}.",
            )
        values, error = solver.solve(table, features, seed)
        notes = {"refits": len(masks)}
        return Estimate(values, standard_error=error, notes=notes)

    def _solver(self) -> MaskMethod:
        if self.orderings is None:
            return ExactShapley()
        return PermutationShapley(self.orderings)

    def _training_data(self, question: Question) -> _Training:
        flat = question.layout.flatten(self.rows)
        rows = flat.to(torch.float64).cpu().numpy()
        table = None
        if isinstance(question.layout, TableLayout):
            (table,) = question.layout.fold(flat)
        try:
            answers = np.asarray(self.answers)
        except ValueError:  # lists of several lengths
            answers = np.asarray(None)
        if answers.ndim == 0:
            raise InputError(
                expected="training answers as an array or a list, one for each row",
                got=shown(self.answers),
                advice="Hand over what the estimator is fitted to: y_train.",
            )
        if len(rows) != len(answers):
            raise InputError(
                expected="rows and answers of the same examples",
                got=f"{len(rows)} and {len(answers)}",
                advice="Hand over one answer for each row.",
            )
        return _Training(rows, answers, table)

    def _in_closed_form(self, question: Question, training: _Training) -> bool:
        from sklearn.linear_model import LinearRegression

        model = self.estimator
        # A subclass may fit something else: only
        # the plain class is solved here.
        if type(model) is not LinearRegression:
            return False
        # What has no zero is no number to a regression: levels, dates.
        if question.layout.without_zero:
            return False
        ordinary = model.fit_intercept and not model.positive
        few_columns = training.rows.shape[1] <= _MAX_SWEPT
        return ordinary and training.answers.ndim == 1 and few_columns

    def _refitted_table(
        self,
        question: Question,
        training: _Training,
        columns: NDArray[np.bool_],
    ) -> Tensor:
        """The target of every retrained model on its own columns of the inputs: (n, m)."""
        device = question.x.device
        inputs: Any = question.x.to(torch.float64).cpu().numpy()
        if training.table is not None:
            (inputs,) = question.layout.fold(question.x)
        rows = torch.arange(question.n, device=device)
        target = question.fixed_target
        output = _output_method(question, self.estimator)
        shape = (question.n, len(columns))
        table = torch.empty(shape, dtype=torch.float64, device=device)
        for coalition, present in enumerate(columns):
            model = _refit(self.estimator, training, present)
            x = _some_columns(inputs, present)
            outputs = np.asarray(getattr(model, output)(x), dtype=np.float64)
            scores = target.score(as_tensor(outputs, rows), rows)
            table[:, coalition] = scores
        return table

    def __repr__(self) -> str:
        rows = f"<rows of shape {_shape(self.rows)}>"
        answers = f"<answers of shape {_shape(self.answers)}>"
        settings = f"{self.estimator!r}, {rows}, {answers}, orderings={self.orderings}"
        return f"ShapleyRegression({settings})"


@final
@dataclass(frozen=True, eq=False)
class _Training:
    """Training inputs (examples, columns), their answers (examples,), and the inputs as a frame
    where the question asks about a table.
    """

    rows: Floats
    answers: NDArray[Any]
    table: Any


def _shape(data: Any) -> tuple[int, ...]:
    try:
        return np.shape(data)
    except ValueError:  # lists of several lengths
        return (len(data),)


def _columns(question: Question, masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Coalitions of features as sets of columns: (m, columns)."""
    if len(question.partition.labels) > 1:
        raise InputError(
            expected="for retraining features that are the same for all inputs",
            got=repr(question.features),
            advice="Use Columns() with groups.",
        )
    present = torch.tensor(masks, device=question.x.device)
    first_input = torch.zeros(len(masks), dtype=torch.int64)
    columns = question.partition.spread(present, first_input)
    return np.asarray(columns.cpu().numpy())


def _least_squares_table(
    question: Question, training: _Training, columns: NDArray[np.bool_]
) -> Tensor:
    """The target of least squares on every coalition's columns, from one pass: (n, m)."""
    answers = training.answers.astype(np.float64)
    moments = _moments(training.rows, answers)
    coefficients, _ = subset_regressions(moments)
    numbers = coalition_numbers(columns)
    slopes = as_tensor(coefficients[numbers], question.x)
    mean = as_tensor(training.rows.mean(axis=0), question.x)
    offset = question.x.to(torch.float64) - mean
    intercept = float(training.answers.mean())
    predictions = intercept + offset @ slopes.T
    rows = torch.arange(question.n, device=question.x.device)
    target = question.fixed_target
    scores = [target.score(answer, rows) for answer in predictions.T]
    return torch.stack(scores, dim=1).to(torch.float64)


def _output_method(question: Question, estimator: Any) -> str:
    """Which of the estimator's methods the question reads.

    That of the question's own model where it is an estimator, else what the estimator's kind
    suggests.
    """
    from sklearn.base import is_classifier

    default = "predict_proba" if is_classifier(estimator) else "predict"
    name = getattr(question.model, "method", None) or default
    if name == "decision_function":
        raise InputError(
            expected="an output that a model retrained on no columns has too",
            got="the decision function",
            advice="Wrap the estimator with output='predict_proba'.",
        )
    return str(name)


def _at_least_one(present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The columns of a coalition, or the first where it is empty: estimators take no empty rows."""
    if present.any():
        return present
    return np.asarray(np.arange(len(present)) == 0, dtype=np.bool_)


def _some_columns(table: Any, present: NDArray[np.bool_]) -> Any:
    """Some columns of an array or a frame."""
    columns = _at_least_one(present)
    return table[:, columns] if isinstance(table, np.ndarray) else table.loc[:, columns]


def _selecting(model: Any, names: set[Any]) -> Any:
    """A clone whose selections of columns by name name those alone that are there.

    Of a pipeline it is the first step that sees columns. Selections by type, by place or by a
    function are left as they are.
    """
    steps = getattr(model, "steps", None)
    if isinstance(steps, list) and steps:
        name, first = steps[0]
        model.steps = [(name, _selecting(first, names)), *steps[1:]]
    union = getattr(model, "transformer_list", None)
    if isinstance(union, list):
        model.transformer_list = [(name, _selecting(part, names)) for name, part in union]
    chosen = getattr(model, "transformers", None)
    if isinstance(chosen, list):
        kept = [(name, part, _named(columns, names)) for name, part, columns in chosen]
        model.transformers = [one for one in kept if one[2] is not None]
    return model


def _named(columns: Any, names: set[Any]) -> Any:
    """Those of some columns that are there; None where none of them is."""
    if isinstance(columns, str):
        return columns if columns in names else None
    listed = list(columns) if isinstance(columns, list | tuple | np.ndarray) else []
    if not listed or not all(isinstance(name, str) for name in listed):
        return columns
    return [name for name in listed if name in names] or None


def _refit(estimator: Any, training: _Training, present: NDArray[np.bool_]) -> Any:
    """A clone fitted on the columns that are present; without any, what predicts a constant."""
    from sklearn.base import clone, is_classifier
    from sklearn.dummy import DummyClassifier, DummyRegressor

    rows = _some_columns(training.rows if training.table is None else training.table, present)
    if present.any():
        model = _selecting(clone(estimator), set(getattr(rows, "columns", ())))
    elif is_classifier(estimator):
        model = DummyClassifier(strategy="prior")
    else:
        model = DummyRegressor()
    try:
        return model.fit(rows, training.answers)
    except Exception as error:
        raise InputError(
            expected=f"rows and answers that {type(estimator).__name__} can be fitted to",
            got=f"{type(error).__name__}: {error}",
            advice=(
                "Hand over the training data that estimator.fit(rows, answers) takes, for some of "
                "its columns too: categories want an encoder that finds them by type, "
                "make_column_transformer((OneHotEncoder(), make_column_selector(dtype_exclude="
                "'number')), remainder='passthrough')."
            ),
        ) from error
