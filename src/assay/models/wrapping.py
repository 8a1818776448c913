"""The door: any predictor becomes a `Model` here, and only here is its kind sniffed."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from assay.engine import Chunking, PlanRuns, out_of_memory
from assay.errors import AssayError, InputError, KindError, ModelError
from assay.models.base import Model
from assay.models.black_box import Estimator, Function, labels_of, unchanged
from assay.models.boosters import BOOSTER_ANSWERS, MARGIN, gives_labels, has_margin, is_booster
from assay.models.forests.reading import is_file, loaded
from assay.models.networks.by_name import behind_names
from assay.models.networks.by_name import by_name as module_by_name
from assay.models.networks.network import Network
from assay.settings import argument as checked_argument
from assay.settings import scalar, shown

# The most telling answer of an estimator comes first.
_ANSWERS = ("predict_proba", "decision_function", "predict")
_ALSO = ("predict_log_proba",)  # by its name only


def _picker(output: str | int | Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    """What picks the part of a structured output that is meant."""
    if output is None:
        return unchanged
    if callable(output):
        return _picking(output)
    key: Any = output

    def pick(outputs: Any) -> Any:
        # Outputs of Hugging Face are read by attribute, mappings and tuples by item.
        if isinstance(key, str) and hasattr(outputs, key):
            return getattr(outputs, key)
        try:
            return outputs[key]
        except (KeyError, IndexError, TypeError) as error:
            raise KindError(
                expected=f"outputs with a part {key!r}",
                got=f"{type(outputs).__name__}: {error!r}",
                advice="Name a part that it has, or pick it: wrap(model, output=lambda out: ...).",
            ) from error

    return pick


def _picking(output: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The caller's own pick; what it raises is told apart from what the predictor raises."""

    def pick(outputs: Any) -> Any:
        try:
            return output(outputs)
        except Exception as error:
            # The engine answers this one with smaller chunks.
            if isinstance(error, AssayError) or out_of_memory(error):
                raise
            raise ModelError(
                expected="output= to pick a part of what the predictor gives",
                got=f"{type(error).__name__}: {error} for {_described(outputs)}",
                advice="Pick a part that is there: wrap(model, output=lambda out: ...).",
            ) from error

    return pick


def _described(outputs: Any) -> str:
    kind = type(outputs).__name__
    if isinstance(outputs, Mapping):
        return f"a {kind} with {', '.join(map(repr, outputs))}"
    if hasattr(outputs, "shape"):
        return f"a {kind} of shape {tuple(outputs.shape)}"
    return f"a {kind}"


def wrap(
    predictor: Any,
    *,
    batch_size: int | Literal["auto"] = "auto",
    device: str | torch.device | None = None,
    output: str | int | Callable[[Any], Any] | None = None,
    argument: str | Sequence[str] | None = None,
    plan: Mapping[str, PlanRuns] | None = None,
    reproducible: bool = False,
    speedups: bool = True,
    background: Any = None,
    missing: bool | None = None,
    classes: Sequence[Any] | None = None,
    probabilities: bool | None = None,
) -> Model:
    """A `Model` from a torch module, an estimator in the style of scikit-learn, any callable on arrays
    or tensors, or the file of an ensemble of trees that XGBoost, LightGBM or CatBoost saved.

    The wrapper owns what is learnt of the predictor: chunk sizes, and a network's faster forms.
    `Question(net, ...)` wraps anew; who asks many questions wraps once, and hands the wrapper over
    (what is wrapped already comes back as it is).

    Settings:
        batch_size: "auto" finds the fastest chunk on the first rows of real work and halves it when
            memory runs out; a number is the size of every chunk, in the plain memory format.
        device: where inputs are put; that of the weights by default.
        output: which part of a structured output is meant (a key, an index or a callable); for an
            estimator, which of `predict_proba`, `decision_function` and `predict` is explained (the
            first that exists, by default; `predict_log_proba` by its name), or which of several
            arrays of it. A booster of XGBoost or LightGBM gives its own prediction, or "margin", the
            sum of its trees before the link; so do estimators of those libraries and of CatBoost.
        argument: the name of the argument that takes the inputs (several names for several inputs),
            where it is not the first.
        plan: the `facts["plan"]` of an earlier answer; the same question then runs the same chunks
            and gives the same bytes. Work that it does not name is cut as by `reproducible`.
        reproducible: whether chunks follow from the number of elements of a row instead of a clock,
            so that every run gives the same bytes; `assay.reproducible()` says it of all models.
        speedups: whether a convolutional network may be asked in a fused form (docs/fused.md) and
            about patches alone (docs/incremental.md).
        background: rows of data like the inputs. Questions that say no removal average over them:
            removal=Background(rows).
        missing: whether NaN is a value that the predictor knows what to do with. Estimators,
            pipelines with an imputer and boosters are asked; of a function it is to be said.
        classes: the labels of the outputs, in their order; those of an estimator are known.
        probabilities: whether the outputs are probabilities, which `LogOdds` and `LogProb` have to
            know; of `predict_proba`, `decision_function` and a booster it is known.

    >>> import torch
    >>> wrap(torch.nn.Linear(3, 2)).name
    'Linear'
    """
    said = any(part is not None for part in (missing, classes, probabilities, background))
    if isinstance(predictor, Model):
        # What the caller holds stays what it is.
        model = _copied(predictor) if said else predictor
    else:
        model = _wrapped(predictor, batch_size, device, output, plan, reproducible, speedups)
    if said:
        _declare(model, missing, classes, probabilities)
    if argument is not None:
        kept = model.background
        model = by_name(model, _names(argument))
        model.background = kept
    if background is not None:
        model.background = background
    return model


def _wrapped(
    predictor: Any,
    batch_size: Any,
    device: Any,
    output: Any,
    plan: Any,
    reproducible: bool,
    speedups: bool,
) -> Model:
    chunking = _chunking(batch_size, plan, reproducible)
    place = None if device is None else _place(device)
    if is_file(predictor):
        predictor = loaded(predictor)
    reproducible = checked_argument("wrap", "reproducible", reproducible, bool)
    speedups = checked_argument("wrap", "speedups", speedups, bool)
    _check_output(output)
    if isinstance(predictor, nn.Module):
        return Network(predictor, _picker(output), chunking, place, speedups)
    # An estimator may be callable, too: its answers count first.
    answers = _answers(predictor)
    if answers and not isinstance(predictor, type):
        method, pick = _method(predictor, output, answers)
        _check_no_labels(predictor, method, answers)
        model = Estimator(predictor, method, chunking, place, pick)
        # Of several targets each has classes of its own.
        if isinstance(output, int):
            model.declared_classes = labels_of(predictor, output)
        return model
    if callable(predictor) and not isinstance(predictor, type):
        return Function(predictor, _picker(output), chunking, place)
    raise KindError(
        expected=(
            f"a torch module, an estimator with one of {list(_ANSWERS)}, or a callable on arrays"
        ),
        got=type(predictor).__name__,
        advice="Hand over an instance rather than a class, or a function that predicts.",
    )


def _answers(predictor: Any) -> list[str]:
    """What an estimator can be asked for, the most telling first; empty for anything else."""
    if is_booster(predictor):
        return list(BOOSTER_ANSWERS)
    answers = [name for name in _ANSWERS if callable(getattr(predictor, name, None))]
    return [*answers, MARGIN] if has_margin(predictor) else answers


def _method(
    estimator: Any, output: Any, answers: Sequence[str]
) -> tuple[str, Callable[[Any], Any]]:
    """The method of an estimator that is asked, and what picks the part of its answer."""
    if output is None or output in answers:
        return str(output or answers[0]), unchanged
    if output in _ALSO and callable(getattr(estimator, output, None)):
        return output, unchanged
    if isinstance(output, str):
        raise InputError(
            expected=f"output to be one of {answers} for {type(estimator).__name__}",
            got=repr(output),
            advice=f"Choose one: wrap(model, output={answers[0]!r}).",
        )
    if callable(output):
        return answers[0], _picking(output)
    return answers[0], _part_of_several(output, f"{type(estimator).__name__}.{answers[0]}")


def _part_of_several(number: int, who: str) -> Callable[[Any], Any]:
    """Picks one of several arrays, as estimators with several targets give them."""
    pick_part = _picker(number)

    def pick(outputs: Any) -> Any:
        # A number of an array would pick an input.
        if not isinstance(outputs, list | tuple):
            raise InputError(
                expected=f"several arrays from {who} to pick number {number} of",
                got=_described(outputs),
                advice=f"Its columns are explained by the target: Question(..., target={number}).",
            )
        return pick_part(outputs)

    return pick


def _copied(model: Model) -> Model:
    """A wrapper of the same predictor, of which more may be said."""
    if isinstance(model, Estimator | Function):
        return copy.copy(model)
    raise KindError(
        expected="a predictor to say something of by missing=, classes= or probabilities=",
        got=f"{model.name}, which is a model already",
        advice="Say it when the predictor is wrapped, or as attributes of your Model's class.",
    )


def _declare(model: Model, missing: Any, classes: Any, probabilities: Any) -> None:
    """Keeps what the caller says of a predictor that nobody can read off it."""
    missing = checked_argument("wrap", "missing", missing, bool | None)
    probabilities = checked_argument("wrap", "probabilities", probabilities, bool | None)
    labels = None if classes is None else _labels(classes)
    if isinstance(model, Estimator):
        model.missing = model.missing if missing is None else missing
        model.declared_classes = labels or model.declared_classes
        if probabilities is not None:
            model.declared_probabilities = probabilities
        return
    if missing is not None:
        model.takes_missing = missing
    if labels is not None:
        model.classes = labels
    if probabilities is not None:
        model.probabilities = probabilities


def _labels(classes: Any) -> tuple[Any, ...]:
    """Labels that were declared, one for each output."""
    listed = classes.tolist() if hasattr(classes, "tolist") else classes
    if not isinstance(listed, list | tuple) or not listed:
        raise KindError(
            expected="a list of labels as classes, one for each output",
            got=shown(classes),
            advice="Write wrap(model, classes=['cat', 'dog']).",
        )
    # By how they are written: 1 and True are equal to Python, and two labels.
    if len(set(map(repr, listed))) < len(listed):
        raise InputError(
            expected="labels that differ",
            got=shown(classes),
            advice="Give each output a label of its own: wrap(model, classes=['cat', 'dog']).",
        )
    return tuple(listed)


def _place(device: Any) -> torch.device:
    """A device that is there."""
    try:
        place = torch.device(device)
        # Named is not there: an empty tensor finds out, and costs nothing.
        torch.empty(0, device=place)
    except (RuntimeError, TypeError, ValueError, AssertionError, NotImplementedError) as error:
        raise InputError(
            expected="a device of this machine, such as 'cpu' or 'cuda:0'",
            got=f"{shown(device)}: {str(error).splitlines()[0]}",
            advice="Leave it out: inputs go where the weights are.",
        ) from error
    return place


def _check_output(output: Any) -> None:
    is_key = isinstance(output, str | int) and not isinstance(output, bool)
    if output is not None and not is_key and not callable(output):
        raise KindError(
            expected="a key, an index or a function as output",
            got=shown(output),
            advice="Write wrap(model, output='logits'), or pick it: output=lambda out: out[0].",
        )


def by_name(model: Model, names: tuple[str, ...]) -> Model:
    """The same predictor, given its inputs under these names of arguments."""
    named_model = _by_name(model, names)
    # What was declared of the predictor is true of it under any names.
    named_model.takes_missing = model.takes_missing
    named_model.classes = model.classes
    named_model.probabilities = model.probabilities
    return named_model


def _by_name(model: Model, names: tuple[str, ...]) -> Model:
    if isinstance(model, Network):
        # Named anew: the last names count.
        module = behind_names(model.module)
        _check_names(model.plain.forward, names, model.name)
        named = module_by_name(module, names)
        return Network(named, model.output, model.chunking, model.device, False)
    if isinstance(model, Function):
        _check_names(model.function, names, model.name)
        return model.under(names)
    raise KindError(
        expected=f"inputs by place for {model.name}, which takes none by name",
        got=f"names, {', '.join(map(repr, names))}",
        advice=(
            "Hand over the tensor, or several as a tuple; an estimator takes a table: "
            "pandas.DataFrame(inputs)."
        ),
    )


def _names(argument: Any) -> tuple[str, ...]:
    names = (argument,) if isinstance(argument, str) else argument
    is_names = isinstance(names, tuple | list) and all(isinstance(name, str) for name in names)
    if not is_names or not names or len(set(names)) < len(names):
        raise InputError(
            expected="the name of an argument, or one name for each input",
            got=repr(argument),
            advice="Name it as the forward does: wrap(model, argument='pixel_values').",
        )
    return tuple(names)


def _check_names(called: Any, names: tuple[str, ...], who: str) -> None:
    """Refuses names that the signature does not have."""
    try:
        parameters = inspect.signature(called).parameters
    except (TypeError, ValueError):  # made in C, or by a compiler: the call will tell
        return
    # Behind `**kwargs` any name may be known: the call will tell.
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    unknown = [name for name in names if name not in parameters]
    if unknown:
        raise InputError(
            expected=f"names of arguments of {who}",
            got=", ".join(map(repr, unknown)),
            advice=f"It takes: {', '.join(parameters)}.",
        )


def _check_no_labels(estimator: Any, method: str, answers: Sequence[str]) -> None:
    """Refuses to explain labels as if 7 were more than 3.

    Only what is surely labels: the `predict` of a classifier of three classes or more, or of
    something that finds clusters. Two labels are the answer to one question, and a function's whole
    numbers may be counts: those are explained as they are.
    """
    if is_booster(estimator):
        if gives_labels(estimator, method):
            raise KindError(
                expected="numbers of which more is more from Booster.predict",
                got="labels: its objective is multi:softmax",
                advice="Explain margins: wrap(model, output='margin').",
            )
        return
    if method != "predict":
        return
    kind = _estimator_kind(estimator)
    classes = getattr(estimator, "classes_", None)
    few = classes is None or len(classes) <= 2
    if kind == "clusterer" or (kind == "classifier" and not few):
        instead = [name for name in answers if name != "predict"]
        advice = (
            "Say which label is meant: wrap(lambda rows: (model.predict(rows) == label) * 1.0)."
        )
        if instead:
            advice = f"Explain scores: wrap(model, output={instead[0]!r})."
        raise KindError(
            expected=f"numbers of which more is more from {type(estimator).__name__}.predict",
            got="labels",
            advice=advice,
        )


def _estimator_kind(estimator: Any) -> str | None:
    tags = getattr(estimator, "__sklearn_tags__", None)
    try:
        kind = tags().estimator_type if callable(tags) else None
    except Exception:  # tags of another version, or of something else
        kind = None
    # So scikit-learn said it before version 1.6, and so do estimators in its style.
    return kind or getattr(estimator, "_estimator_type", None)


def _chunking(batch_size: Any, plan: Any, reproducible: bool) -> Chunking:
    """What is said of chunks, checked."""
    if isinstance(batch_size, str) and batch_size == "auto":
        return Chunking(plan=_checked_plan(plan), reproducible=reproducible)
    batch_size = scalar(batch_size)
    if not _positive(batch_size):
        raise InputError(
            expected="'auto' or a positive int as batch size",
            got=shown(batch_size),
            advice="Leave it out, or say how many rows fit the memory: wrap(model, batch_size=64).",
        )
    if plan is not None:
        raise InputError(
            expected="a batch size or a plan",
            got="both",
            advice="Leave batch_size out: the plan says how many rows a chunk has.",
        )
    return Chunking(batch_size=batch_size)


def _checked_plan(plan: Any) -> dict[str, PlanRuns] | None:
    if plan is None:
        return None
    if not isinstance(plan, Mapping) or not all(map(_is_runs, plan.values())):
        raise InputError(
            expected="a plan: for each kind of work a list of [rows, memory format, chunks]",
            got=shown(plan),
            advice="Hand over what an answer says: wrap(model, plan=answer.facts['plan']).",
        )
    # A copy: the caller's facts stay what they are.
    return {str(purpose): tuple(map(tuple, runs)) for purpose, runs in plan.items()}


def _is_runs(runs: Any) -> bool:
    return isinstance(runs, Sequence) and len(runs) > 0 and all(map(_is_run, runs))


def _is_run(run: Any) -> bool:
    if not isinstance(run, Sequence) or len(run) != 3:
        return False
    rows, memory_format, chunks = run
    return _positive(rows) and _positive(chunks) and memory_format in (0, 1)


def _positive(number: Any) -> bool:
    # True is an int to Python.
    return isinstance(number, int) and not isinstance(number, bool) and number > 0
