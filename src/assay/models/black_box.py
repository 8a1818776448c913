"""Estimators in the style of scikit-learn, and any callable on arrays or tensors, as a `Model`."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from itertools import combinations
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from assay.engine import Chunking
from assay.errors import KindError, ModelError
from assay.inputs.layout import Rows
from assay.models.base import Ability, Model, checked, digest
from assay.models.boosters import (
    MARGIN,
    asked_booster,
    asked_margin,
    gives_probabilities,
    is_booster,
)
from assay.models.columns import Columns
from assay.models.forests.reading import model_trees, trees_inside
from assay.models.forests.tree_model import TreeModel
from assay.models.identity import identity
from assay.models.missing import takes_missing
from assay.models.networks.locks import alone_in
from assay.models.networks.module_state import ModuleState, modules_in
from assay.models.networks.operations.grad_mode import code_minds, minds_slopes
from assay.models.networks.operations.interception import Interception

# Rows of a table are small: chunks of very many still fit the memory.
_LARGEST_CHUNK = 1 << 20


def _as_tensor(outputs: Any, who: str) -> Any:
    """Arrays of numbers as tensors; anything else as it came, for the common check to refuse."""
    if isinstance(outputs, Tensor) or not hasattr(outputs, "__array__"):
        return outputs
    _check_no_holes(outputs, who)
    array = np.asarray(outputs)
    if array.dtype.kind == "O":
        array = _plain_numbers(array)
    if array.dtype.kind not in "biuf":
        raise KindError(expected=f"numbers from {who}", got=array.dtype, advice=_way_to(array))
    array = np.ascontiguousarray(array, dtype=np.float64)
    # Torch warns of arrays that may not be written to.
    if not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(array)


def _check_no_holes(outputs: Any, who: str) -> None:
    """Refuses masked arrays: the numbers under a mask are none."""
    if np.ma.isMaskedArray(outputs) and np.ma.getmaskarray(outputs).any():
        raise ModelError(
            expected=f"a number for each input from {who}",
            got="a masked array with holes",
            advice="Fill them: outputs.filled(0.0), or another number that they stand for.",
        )


def _plain_numbers(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array of Python's numbers as one of floats; anything else as it came."""
    if all(isinstance(number, numbers.Real) for number in array.reshape(-1)):
        return array.astype(np.float64)
    return array


def _way_to(array: np.ndarray[Any, Any]) -> str:
    """What helps where an array holds no real numbers."""
    if array.dtype.kind == "c":
        return "Say which number is meant: numpy.abs(outputs), or outputs.real."
    if array.dtype.kind in "mM":
        return "Return a number of days or seconds: outputs / numpy.timedelta64(1, 's')."
    if array.dtype.kind == "V":
        return "Return one of the record's fields: outputs['name']."
    return (
        "Explain scores or probabilities rather than labels: wrap(model, output='predict_proba') or "
        "output='decision_function' of an estimator; of a function, one column of floats for each "
        "label."
    )


def _is_single(outputs: Any) -> bool:
    """Whether an array is of single precision or less, as network runtimes on arrays give it."""
    dtype = getattr(outputs, "dtype", None)
    return isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize <= 4


def unchanged(outputs: Any) -> Any:
    """Outputs as they came: what picks a part where none is meant."""
    return outputs


# What a method of an estimator answers with, by its name: of scores, `log_softmax` and log-odds are
# those of the probabilities (of log-probabilities it is the same).
_PROBABILITIES = {
    "predict_proba": True,
    "decision_function": False,
    "predict_log_proba": False,
    MARGIN: False,
}


@final
class Estimator(Model):
    """An estimator, always called with the kind of table that it was fitted on."""

    largest_chunk = _LARGEST_CHUNK

    def __init__(
        self,
        estimator: Any,
        method: str,
        chunking: Chunking | None = None,
        device: torch.device | None = None,
        output: Callable[[Any], Any] = unchanged,
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.chunking = chunking or Chunking()
        self.device = device or torch.device("cpu")
        self.output = output
        # What the caller has said of it.
        self.missing: bool | None = None
        self.declared_classes: tuple[Any, ...] | None = None
        self.declared_probabilities: bool | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Trees that were read are read anew where the estimator goes: the way to them is code.
        return {name: part for name, part in self.__dict__.items() if name != "trees"}

    @property
    def name(self) -> str:
        return f"{type(self.estimator).__name__}.{self.method}"

    @property
    def abilities(self) -> frozenset[Ability]:  # type: ignore[override]
        """Ensembles of trees can be read as such."""
        return frozenset(() if trees_inside(self.estimator) is None else {Ability.TREES})

    @cached_property
    def trees(self) -> TreeModel:
        """The trees as arrays, read and verified when they are first asked for."""
        self.require(Ability.TREES, "its trees")
        return model_trees(self.estimator, self.method, self.output, self._table, self._asked)

    @property
    def takes_missing(self) -> bool:  # type: ignore[override]
        """Whether the estimator can take NaN, by what was declared or by what it says."""
        if self.missing is not None:
            return self.missing
        return is_booster(self.estimator) or takes_missing(self.estimator)

    @property
    def classes(self) -> tuple[Any, ...] | None:  # type: ignore[override]
        """The labels of its classes; those of several targets are no one's until one is picked."""
        if self.declared_classes is not None:
            return self.declared_classes
        if self.method == "predict":
            return None
        return labels_of_scores(self.estimator, self.method)

    @property
    def columns(self) -> tuple[Any, ...] | None:  # type: ignore[override]
        """The names of the columns of its fit, but for those that a library makes up."""
        known = Columns.of(self.estimator)
        return None if known.made_up else known.names

    @property
    def probabilities(self) -> bool | None:  # type: ignore[override]
        """Whether the method's name, or a booster's objective, says that it gives probabilities."""
        if self.declared_probabilities is not None:
            return self.declared_probabilities
        if is_booster(self.estimator):
            return gives_probabilities(self.estimator, self.method)
        return _PROBABILITIES.get(self.method)

    def call(self, rows: Rows, context: Mapping[str, Any], memory_format: int = 0) -> Tensor:
        if len(rows) != 1 or context:
            raise KindError(
                expected=f"one table and no context for {self.name}",
                got=f"{len(rows)} inputs and {len(context)} context",
                advice=(
                    "Rows in a list are one array, numpy.stack(rows); for anything else wrap a "
                    "function that takes them all and calls the estimator."
                ),
            )
        outputs = self.output(self._asked(self._table(rows[0])))
        self.single = _is_single(outputs)
        return checked(_as_tensor(outputs, self.name), len(rows[0]), self.name)

    def _asked(self, table: Any) -> Any:
        if is_booster(self.estimator):
            return asked_booster(self.estimator, self.method, table)
        if self.method == MARGIN:
            return asked_margin(self.estimator, table)
        return getattr(self.estimator, self.method)(table)

    def _table(self, rows: Any) -> Any:
        """Rows in the kind of table that the estimator was fitted on, so that it has no cause to
        warn.
        """
        if isinstance(rows, Tensor):
            return self._of_array(rows.detach().cpu().numpy())
        if isinstance(rows, np.ndarray):
            return self._of_array(rows)
        # Texts come as a list.
        if isinstance(rows, list):
            return rows
        return Columns.of(self.estimator).arranged(rows, self.name)

    def _of_array(self, array: np.ndarray[Any, Any]) -> Any:
        Columns.of(self.estimator).check_rows(array.shape, self.name)
        names = getattr(self.estimator, "feature_names_in_", None)
        # Another number of columns goes as it is: the estimator's own refusal says more.
        if names is None or array.ndim != 2 or array.shape[1] != len(names):
            return array
        import pandas as pd

        return pd.DataFrame(array, columns=list(names))

    def fingerprint(self) -> bytes:
        return digest(self.name.encode(), identity(self.estimator, *self._picked()))

    def _picked(self) -> tuple[Any, ...]:
        return () if self.output is unchanged else (self.output,)


def labels_of(estimator: Any, part: int | None = None) -> tuple[Any, ...] | None:
    """The classes of a fitted estimator as plain Python values, those of one of its targets where
    it has several; None where it has none.
    """
    try:
        classes = getattr(estimator, "classes_", None)
        if part is not None:
            classes = classes[part]  # type: ignore[index]
        array = None if classes is None else np.asarray(classes)
    except Exception:  # whatever a property raises before the fit, or lists of several lengths
        return None
    nested = isinstance(classes, list) and not all(map(np.isscalar, classes))
    if array is None or array.ndim != 1 or nested:
        return None
    return tuple(array.tolist())


def labels_of_scores(estimator: Any, method: str) -> tuple[Any, ...] | None:
    """What the columns of a method's scores speak for: classes, or one rather than another.

    Support vector machines may give a score for each pair of classes; of three classes there are
    three pairs, so that the number of columns does not tell.
    """
    labels = labels_of(estimator)
    if labels is None or len(labels) < 3 or method != "decision_function":
        return labels
    if not _scores_pairs(estimator):
        return labels
    return tuple(f"{a} rather than {b}" for a, b in combinations(labels, 2))


def _scores_pairs(estimator: Any) -> bool:
    """Whether it, the last step of a pipeline or the winner of a search, scores pairs of classes."""
    steps = getattr(estimator, "steps", None)
    if isinstance(steps, list) and steps:
        return _scores_pairs(steps[-1][1])
    winner = getattr(estimator, "best_estimator_", None)
    if winner is not None:
        return _scores_pairs(winner)
    return getattr(estimator, "decision_function_shape", None) == "ovo"


@final
class Function(Model):
    """Any callable; it is called with what the question was given: tensors for tensors, arrays for
    arrays, frames for frames.
    """

    largest_chunk = _LARGEST_CHUNK

    def __init__(
        self,
        function: Callable[..., Any],
        output: Callable[[Any], Any],
        chunking: Chunking | None = None,
        device: torch.device | None = None,
        tensors: bool = False,
        names: tuple[str, ...] = (),
    ) -> None:
        self.function = function
        self.output = output
        self.chunking = chunking or Chunking()
        self.device = device or torch.device("cpu")
        self.tensors = tensors
        self.names = names
        # The method of an estimator says by its name what it gives, and its owner knows the labels.
        whole = output is unchanged
        method = getattr(function, "__name__", "")
        owner = getattr(function, "__self__", None)
        self.takes_missing = owner is not None and takes_missing(owner)
        self.classes = None
        self.probabilities = None
        if owner is not None and whole and method in _PROBABILITIES:
            self.classes = labels_of_scores(owner, method)
            self.probabilities = _PROBABILITIES[method]
        # Names of the context that is handed over as arrays, since it came as such.
        self.as_arrays: frozenset[str] = frozenset()
        self._sample: tuple[Rows, Mapping[str, Any]] | None = None
        self._known: bytes | None = None
        # The networks inside of it as the innermost session that is open has found them.
        self._states: tuple[ModuleState, ...] = ()
        # Who hears its forwards, while somebody does.
        self._interception: Interception | None = None

    @property
    def name(self) -> str:
        return getattr(self.function, "__qualname__", type(self.function).__name__)

    @property
    def abilities(self) -> frozenset[Ability]:  # type: ignore[override]
        """Only what is called with tensors, and stays in torch, has slopes."""
        in_torch = self.tensors and self._hangs_on_graph
        return frozenset({Ability.GRADIENT, Ability.OPERATIONS} if in_torch else ())

    @property
    def minds_slopes(self) -> bool:
        code = code_minds(self.function) or code_minds(self.output)
        return code or minds_slopes(modules_in(self.function))

    @contextmanager
    def heard_by(self, interception: Interception) -> Iterator[None]:
        self.require(Ability.OPERATIONS, "rules for its operations")
        for module in modules_in(self.function):
            interception.learn_names(module)
        outer = self._interception
        self._interception = interception
        try:
            yield
        finally:
            self._interception = outer

    @cached_property
    def _hangs_on_graph(self) -> bool:
        """Whether outputs can be differentiated; the function is asked about one row to tell.

        What fails for another reason counts as able: whoever asks is then told the reason.
        """
        if self._sample is None:
            return True
        rows, context = self._sample
        leaves = tuple(row.detach().clone() for row in rows)
        if not all(leaf.is_floating_point() for leaf in leaves):
            return True
        with self.session(slopes=True):
            for leaf in leaves:
                leaf.requires_grad_()
            try:
                # A clone of a leaf may be written to.
                outputs = self.call(tuple(leaf.clone() for leaf in leaves), context)
            except RuntimeError as error:
                return "numpy() on Tensor that requires grad" not in str(error)
            except Exception:  # told when it is asked in earnest
                return True
        return outputs.requires_grad

    def reading(self, raw: Any) -> Function:
        """The same function, called with tensors if that is what the inputs are."""
        # Of several inputs the first one tells.
        first = raw
        if isinstance(raw, tuple | list) and raw:
            first = raw[0]
        return self._as(isinstance(first, Tensor), self.names)

    def on_arrays(self) -> Function:
        """The same function, called with arrays."""
        return self._as(False, self.names)

    def under(self, names: tuple[str, ...]) -> Function:
        """The same function, given its inputs under these names of arguments."""
        return self._as(self.tensors, names)

    def _as(self, tensors: bool, names: tuple[str, ...]) -> Function:
        made = Function(self.function, self.output, self.chunking, self.device, tensors, names)
        # One memory for both: what is learnt of chunks stays with what was wrapped.
        made.__dict__["_searches"] = self._searches
        made.takes_missing = self.takes_missing
        made.classes = self.classes
        made.probabilities = self.probabilities
        return made

    def asked_about(
        self, sample: Callable[[], tuple[Rows, Mapping[str, Any]]], as_arrays: frozenset[str]
    ) -> None:
        """Told what it will be asked about: one row, its context, and which of that came as arrays."""
        if self.tensors:
            self._sample = sample()
        else:
            self.as_arrays = as_arrays

    @contextmanager
    def session(self, *, slopes: bool) -> Iterator[None]:
        """Networks inside the function are put back after every chunk, as one of their own is."""
        modules = modules_in(self.function)
        outer = self._states
        with ExitStack() as held:
            for module in modules:
                held.enter_context(alone_in(module))
            self._states = tuple(ModuleState.of(module, frozen=False) for module in modules)
            held.enter_context(super().session(slopes=slopes))
            try:
                yield
            finally:
                self._put_back()
                self._states = outer

    def _put_back(self) -> None:
        for state in self._states:
            state.restore_parts()

    def call(self, rows: Rows, context: Mapping[str, Any], memory_format: int = 0) -> Tensor:
        # What it counts or remembers while it works makes it no other function.
        if self._known is None:
            self._known = self.fingerprint()
        # Before, too: the call before this one may have written on the networks inside.
        self._put_back()
        # Frames stay frames; tensors become arrays for who was given arrays.
        arguments = rows
        if not self.tensors:
            arguments = tuple(map(_as_array, rows))
        beside = {
            name: _as_array(value) if name in self.as_arrays else value
            for name, value in context.items()
        }
        if self.names:
            beside |= zip(self.names, arguments, strict=True)
            arguments = ()
        if self._interception is None:
            outputs = self.output(self.function(*arguments, **beside))
        else:
            arguments, beside = self._copied(arguments, beside)
            with self._interception.over((*arguments, *beside.values())):
                outputs = self.output(self.function(*arguments, **beside))
        self.single = _is_single(outputs)
        return checked(_as_tensor(outputs, self.name), len(rows[0]), self.name).to(self.device)

    def _copied(self, arguments: Rows, beside: dict[str, Any]) -> tuple[Rows, dict[str, Any]]:
        """Copies of what carries signal: the function may write on them."""

        def copied(value: Any) -> Any:
            signal = isinstance(value, Tensor) and value.requires_grad
            return value.clone() if signal else value

        named = {name: copied(value) for name, value in beside.items()}
        return tuple(map(copied, arguments)), named

    def fingerprint(self) -> bytes:
        if self._known is not None:
            return self._known
        return digest(self.name.encode(), identity(self.function, self.output, self.names))


def _as_array(rows: Any) -> Any:
    return rows.cpu().numpy() if isinstance(rows, Tensor) else rows
