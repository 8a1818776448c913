"""What a predictor or its slopes raise, told once as a refusal: what was asked, what came, what helps.

The exceptions of other libraries speak of matrices that their caller has never seen. The mistakes
behind most of them are few, and the predictor itself can tell which one it was: where it answers the
same rows as floats, or with a dimension for the batch, the refusal says the line to write.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from assay import engine
from assay.errors import AbilityError, AssayError, ModelError
from assay.inputs.layout import Rows
from assay.models.base import Model
from assay.models.black_box import Function
from assay.models.columns import Columns

_LONGEST = 200  # letters of a foreign message that are repeated
_LARGEST_TRIAL = 1 << 22  # elements up to which all inputs are tried as one
_MOST_ARGUMENTS = 8  # arguments that are tried in the place of the first

# What a mistake in shapes, types or arguments raises: others (a lost connection, say) mean what they
# say, and asking again would cost and not help.
_TELLING = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    AssertionError,
)
# Those of libraries that are not imported for it.
_TELLING_NAMES = ("InvalidIndexError", "CatBoostError", "LightGBMError", "XGBoostError")

Change: TypeAlias = tuple[str, Rows]
"""A line of code, and the rows that it would make of those that were asked."""


@final
@dataclass(frozen=True, eq=False)
class Asked:
    """What was asked when the exception came.

    Settings:
        model: who was asked.
        rows: what it was asked.
        context: what it was told beside.
        where: which rows they are, in words: "on the clean inputs", ...
        whole: all inputs, where they are few enough to be tried as one.
    """

    model: Model
    rows: Rows
    context: Mapping[str, Any]
    where: str = ""
    whole: Callable[[], Rows] | None = None

    @property
    def removed(self) -> bool:
        """Whether the rows are made by the removal rather than handed in."""
        return "removed" in self.where

    def describe(self) -> str:
        """The rows in words."""
        parts = " and ".join(map(_described, self.rows))
        beside = f" beside {', '.join(map(str, self.context))}" if self.context else ""
        where = f" {self.where}" if self.where else ""
        return f"{parts}{beside}{where}"


@final
class told:
    """Whatever a forward raises inside the block, as a refusal; out of memory is the engine's."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if not isinstance(error, Exception) or isinstance(error, AssayError):
            return
        if not engine.out_of_memory(error):
            raise forward_refusal(error, self._asked) from error


def forward_refusal(error: Exception, asked: Asked) -> AssayError:
    """The refusal for what a forward raised."""
    # First of all: where torch's words tell the mistake, the model need not be asked about others.
    known = _known(error, asked.model.name)
    if known is not None:
        return known
    answered = engine.answered()
    refusal = ModelError(
        expected=f"{asked.model.name} to answer {asked.describe()}",
        got=_message(error),
        advice=_advice(error, asked) + _how_to_go_on(answered, asked),
    )
    refusal.answered = answered
    return refusal


def _how_to_go_on(answered: int, asked: Asked) -> str:
    """What keeps the rows that were answered before: those of a service may have been paid for."""
    if not answered or not isinstance(asked.model, Function):
        return ""
    return (
        f" {answered} rows were answered before, and are lost here: of a function that remembers its "
        "answers, row by row, the same question with the same seed asks only what is missing."
    )


def slopes_refusal(error: Exception, asked: Asked) -> AssayError:
    """The refusal for what a backward raised."""
    known = _known(error, asked.model.name)
    if known is not None:
        return known
    return ModelError(
        expected=f"slopes of {asked.model.name} at {asked.describe()}",
        got=_message(error),
        advice="Its backward raised this: mend it, or use a method that only asks for predictions.",
    )


# --- exceptions that are known by what they say


@final
@dataclass(frozen=True)
class _Known:
    """An exception that torch is known to raise, and the refusal in its place."""

    pattern: str
    kind: type[AssayError]
    expected: str
    advice: str


_BLIND = "or use a method that only asks for predictions, such as KernelShap."

# Patterns are parts of torch's own wording, which no release promises to keep: a text that none of
# them matches is told as it came.
_KNOWN = (
    _Known(
        r"modified by an inplace operation|in-place operation|leaf variable has been moved",
        AbilityError,
        "a forward whose slopes torch can take from {name}",
        "It overwrites a value that a slope needs: use inplace=False in its layers and "
        f"x = x + 1 in the place of x += 1, {_BLIND}",
    ),
    _Known(
        r"incompatible with \.grad|not compatible with \.grad|use_reentrant",
        AbilityError,
        "a forward of {name} through which torch.autograd.grad can go",
        f"Write checkpoint(..., use_reentrant=False), {_BLIND}",
    ),
    _Known(
        r"derivative for .* is not implemented|is not currently supported for autograd",
        AbilityError,
        "operations in {name} that have a derivative",
        f"Exchange the one that is named for one that has, {_BLIND}",
    ),
    _Known(
        r"must implement either the backward or vjp",
        AbilityError,
        "a backward for the autograd.Function in {name}",
        f"Write its backward, {_BLIND}",
    ),
    _Known(
        r"numpy\(\) on Tensor that requires grad|Tensor that requires grad.*numpy",
        AbilityError,
        "outputs of {name} that can be differentiated",
        f"Keep the forward in torch, without .detach() and .numpy(), {_BLIND}",
    ),
    _Known(
        r"does not require grad and does not have a grad_fn",
        ModelError,
        "a forward of {name} that can be asked without slopes",
        "It takes gradients of its own: do that under torch.enable_grad(), with "
        "x.detach().requires_grad_().",
    ),
    _Known(
        r"enforce_sorted",
        ModelError,
        "{name} to answer rows of any lengths in any order",
        "Write pack_padded_sequence(..., enforce_sorted=False).",
    ),
    _Known(
        r"more than 1 value per channel",
        ModelError,
        "{name} to answer one row alone",
        "It normalises by statistics of the batch: call model.eval(), and give the layer "
        "track_running_stats=True.",
    ),
    _Known(
        r"shape\[0\] to be (equal to|>=|<=)|shape\[0\]\s*(==|=)",
        ModelError,
        "{name} to answer any number of rows",
        "It was exported for a fixed batch: say wrap(model, batch_size=1) if that is one row, "
        "else export it again with dynamic_shapes.",
    ),
    _Known(
        r"device-side assert",
        ModelError,
        "{name} to answer on its device",
        "An index was outside of its table, ids outside of the vocabulary as a rule: ask once with "
        "the model on the CPU, which says which.",
    ),
)


def _known(error: Exception, name: str) -> AssayError | None:
    text = str(error)
    unfitted = re.search(r"no trained model|0 feature is supplied", text)
    if type(error).__name__ == "NotFittedError" or unfitted:
        return ModelError(
            expected=f"{name} to be fitted",
            got=_message(error),
            advice="Fit it first: model.fit(rows, labels).",
        )
    for known in _KNOWN:
        if re.search(known.pattern, text):
            return known.kind(
                expected=known.expected.format(name=name), got=_message(error), advice=known.advice
            )
    return None


def _message(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    first = lines[0]
    if len(first) > _LONGEST:
        first = first[:_LONGEST] + " ..."
    return f"{type(error).__name__}: {first}".rstrip(": .")


# --- mistakes that the predictor itself can tell


def _advice(error: Exception, asked: Asked) -> str:
    """What helps: the first of the usual mistakes that can be shown to be this one."""
    if asked.removed:
        return _other_removal(asked)
    if isinstance(error, _TELLING) or type(error).__name__ in _TELLING_NAMES:
        # `_fixed` stands last: it knows that there was context, and not that it is to blame.
        for find in (
            _row_that_fails,
            _arguments,
            _columns,
            _as_array,
            _another_form,
            _outside_vocabulary,
            _by_name,
            _fixed,
        ):
            advice = find(asked)
            if advice:
                return advice
    return (
        "This is the predictor's own exception: call it on these rows yourself, or wrap a function "
        "that prepares them."
    )


def _other_removal(asked: Asked) -> str:
    tensors = [row for row in asked.rows if isinstance(row, Tensor)]
    failed = "The model failed on the absent input, where features are removed, not on the inputs: "
    if any(not row.is_floating_point() for row in tensors):
        return failed + (
            "name an id that it knows, removal=MaskToken(id) or Baseline(id), and keep what must "
            "stay (padding, separators) by Labels(...) with -1."
        )
    return failed + (
        "choose what it can take, such as removal=Background(rows), Mean(rows) or Baseline(value)."
    )


def _signature(model: Model) -> inspect.Signature | None:
    """The arguments of a function or of a module's forward, where they can be read."""
    called = getattr(model, "function", None)
    if called is None:
        plain = getattr(model, "plain", None)
        called = getattr(plain, "forward", None)
    # Where rows are handed over by name, places in the signature do not apply.
    if called is None or getattr(model, "names", None):
        return None
    try:
        return inspect.signature(called)
    except (TypeError, ValueError):  # made in C, or by a compiler
        return None


def _arguments(asked: Asked) -> str:
    """Whether the arguments are others than the signature has."""
    signature = _signature(asked.model)
    if signature is None:
        return ""
    try:
        signature.bind(*asked.rows, **asked.context)
        return ""
    except TypeError as error:
        problem = str(error)
    names = ", ".join(signature.parameters)
    given = f"It takes ({names}), and was given {len(asked.rows)} by place"
    if "multiple values" in problem:
        return (
            f"{given}, which {problem.replace('multiple values', 'gives two values')}: name the "
            "explained one, wrap(model, argument='...'), or hand inputs over by name, "
            "Question(model, {'...': tensor})."
        )
    return (
        f"{given} ({problem}): hand all explained inputs over as a tuple or a mapping by name, and "
        "the others as context={'name': Aligned(tensor)} or Shared(value)."
    )


def _columns(asked: Asked) -> str:
    """Whether an estimator was fitted on other columns."""
    estimator = getattr(asked.model, "estimator", None)
    table = asked.rows[0]
    fitted = Columns.of(estimator).names
    if fitted is not None and hasattr(table, "columns"):
        names = list(map(str, fitted))
        given = list(map(str, table.columns))
        if set(names) != set(given):
            lacking = [name for name in names if name not in given]
            more = [name for name in given if name not in names]
            return (
                f"It was fitted on other columns: lacking {lacking[:5]}, too many {more[:5]}. Hand "
                "over frame[columns], with the columns of the fit: list(model.feature_names_in_)."
            )
    count = getattr(estimator, "n_features_in_", None)
    shape = tuple(getattr(table, "shape", ()))
    if isinstance(count, int) and len(shape) == 2 and shape[1] != count:
        return f"It was fitted on {count} columns, and was handed {shape[1]}."
    return ""


def _as_array(asked: Asked) -> str:
    """Whether the predictor takes the numbers of a table without its names."""
    table = asked.rows[0]
    if not hasattr(table, "columns") or len(asked.rows) > 1:
        return ""
    try:
        array = table.to_numpy()
        called = getattr(asked.model, "function", None)
        if called is None:
            called = getattr(asked.model.estimator, asked.model.method)  # type: ignore[attr-defined]
        outputs = called(array)
    except Exception:  # whatever it raises, an array is not what it wants
        return ""
    if len(outputs) != len(table):
        return ""
    return "It does answer an array: hand over frame.to_numpy()."


def _another_form(asked: Asked) -> str:
    """Whether the predictor answers the same numbers in another form."""
    if not all(isinstance(row, Tensor) for row in asked.rows):
        return ""
    for code, rows in _forms(asked):
        if _answers(asked.model, rows, asked.context):
            return f"It does answer {code}: hand that over."
    if isinstance(asked.model, Function) and asked.model.tensors:
        arrays = asked.model.on_arrays()
        if _answers(arrays, asked.rows, asked.context):
            return "It does answer arrays: hand over x.numpy()."
    return ""


def _forms(asked: Asked) -> Iterator[Change]:
    """Other forms of the rows, by the line that makes them, the simplest first."""
    # Weights in half or double refuse float32: what is tried comes in the model's own type.
    dtype = asked.model.dtype or torch.float32
    rows = asked.rows
    if any(not row.is_floating_point() for row in rows):
        floats = tuple(row if row.is_floating_point() else row.to(dtype) for row in rows)
        yield "x.float()", floats
    if len(rows) > 1:
        return
    (row,) = rows
    if row.is_floating_point():
        yield "whole numbers (x.long())", (row.long(),)
    # Grey, colour, or colour with an alpha channel: a last axis of another size is a width.
    if row.dim() == 4 and row.shape[-1] in (1, 3, 4):
        yield "channels first (x.permute(0, 3, 1, 2).float())", (row.permute(0, 3, 1, 2).to(dtype),)
    if asked.whole is not None and not asked.context:
        (whole,) = asked.whole()
        yield from _forms_as_one_input(whole, dtype)


def _forms_as_one_input(whole: Tensor, dtype: torch.dtype) -> Iterator[Change]:
    """Forms in which all that was handed over is a single input."""
    yield "x[None] (one input, with a dimension for the batch)", (whole[None],)
    if not whole.is_floating_point():
        yield (
            "x[None].float() (one input, with a dimension for the batch)",
            (whole[None].to(dtype),),
        )
    if whole.dim() == 3 and whole.shape[-1] in (1, 3, 4):
        image = whole.permute(2, 0, 1)[None].to(dtype)
        yield "x.permute(2, 0, 1)[None].float() (one image, its channels first)", (image,)


def _answers(model: Model, rows: Rows, context: Mapping[str, Any]) -> bool:
    """Whether the predictor answers these rows; it is asked about them."""
    if sum(row.numel() for row in rows) > _LARGEST_TRIAL:
        return False
    try:
        with torch.no_grad():
            # Copies: a trial that writes into its rows must not change what is asked next.
            model.call(tuple(row.clone() for row in rows), context)
    except Exception:  # whatever it raises, this form is not what it wants
        return False
    return True


def _outside_vocabulary(asked: Asked) -> str:
    """Whether ids point outside of a table."""
    ids = [row for row in asked.rows if isinstance(row, Tensor) and not row.is_floating_point()]
    if not ids:
        return ""
    # Every vocabulary has an id 0, so that an answer there leaves the ids themselves to blame.
    zeros = tuple(
        torch.zeros_like(row) if isinstance(row, Tensor) and not row.is_floating_point() else row
        for row in asked.rows
    )
    if not _answers(asked.model, zeros, asked.context):
        return ""
    low = min(int(row.min()) for row in ids)
    high = max(int(row.max()) for row in ids)
    return (
        f"It does answer ids of 0, and these go from {low} to {high}: outside of its vocabulary. "
        "Use the tokenizer that belongs to the model."
    )


def _by_name(asked: Asked) -> str:
    """Whether the input is another argument than the first."""
    signature = _signature(asked.model)
    if signature is None or len(asked.rows) != 1 or not isinstance(asked.rows[0], Tensor):
        return ""
    names = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and name not in asked.context
    ]
    from assay.models.wrapping import by_name

    for name in names[1 : _MOST_ARGUMENTS + 1]:
        if _answers(by_name(asked.model, (name,)), asked.rows, asked.context):
            return f"It does answer them as {name!r}: wrap(model, argument={name!r})."
    return ""


def _fixed(asked: Asked) -> str:
    """Whether something that it is told beside the rows has rows of its own."""
    tensors = {name: value for name, value in asked.context.items() if isinstance(value, Tensor)}
    if not tensors:
        return ""
    shapes = ", ".join(f"{name!r} {tuple(value.shape)}" for name, value in tensors.items())
    return (
        f"Beside the rows it was told {shapes}: what has one row per input follows it through every "
        "chunk as Aligned(tensor), Shared(tensor) stays as it is whatever the number of rows."
    )


def _row_that_fails(asked: Asked) -> str:
    """Whether it is one row that the predictor fails on, found by halving, and others it answers."""
    # Context has rows of its own, which would have to be cut alike.
    if asked.context:
        return ""
    rows = asked.rows
    # A single row has nothing to be told from: all inputs are looked at in its place.
    if len(rows[0]) == 1 and asked.whole is not None and "clean" in asked.where:
        rows = tuple(asked.whole())
    start, stop = 0, len(rows[0])
    # Where it answers no other row, the mistake is one of all rows.
    for other in {0, stop - 1}:
        if _takes(asked.model, _between(rows, other, other + 1)):
            break
    else:
        return ""
    # Two trials a step at most: some 40 for a table of a million rows.
    while stop - start > 1:
        middle = (start + stop) // 2
        if not _takes(asked.model, _between(rows, start, middle)):
            stop = middle
        elif not _takes(asked.model, _between(rows, middle, stop)):
            start = middle
        # It fails on rows together alone.
        else:
            return ""
    shown = ", ".join(map(_content, _between(rows, start, stop)))
    if len(shown) > _LONGEST:
        shown = f"{shown[:_LONGEST]}..."
    return (
        f"It fails on the row {shown}, and answers others: leave that input out, or wrap a function "
        "that answers it too."
    )


def _between(rows: Rows, start: int, stop: int) -> Rows:
    return tuple(row.iloc[start:stop] if hasattr(row, "iloc") else row[start:stop] for row in rows)


def _takes(model: Model, rows: Rows) -> bool:
    """Whether the predictor answers these rows without an exception."""
    try:
        with torch.no_grad():
            model.call(tuple(row.clone() if isinstance(row, Tensor) else row for row in rows), {})
    except Exception:  # whatever it raises, it is not an answer
        return False
    return True


def _content(row: Any) -> str:
    """What stands in rows of a single one."""
    if hasattr(row, "iloc"):
        return str(row.iloc[0].to_dict())
    return repr(row[0].tolist() if isinstance(row, Tensor) else row[0])


def _described(row: Any) -> str:
    if isinstance(row, Tensor):
        return f"rows of shape {tuple(row.shape)} ({str(row.dtype).removeprefix('torch.')})"
    if hasattr(row, "columns"):
        return f"a table of shape {tuple(row.shape)}"
    if isinstance(row, Sequence):
        return f"{len(row)} texts"
    return type(row).__name__
