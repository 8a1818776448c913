"""One seed, one situation, one outcome."""

from __future__ import annotations

import random
import signal
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import assay
from fuzz import black_boxes, networks, questions, snapshots, tensors
from fuzz.actions import Action, Claim, Done, action
from fuzz.predictors import Predictor, picker
from fuzz.questions import Part, Problem, Unknown
from fuzz.tensors import Inputs

LIMIT = 20  # processor seconds of one situation


@dataclass
class Situation:
    """Everything that a seed decides."""

    seed: int
    predictor: Predictor
    inputs: Inputs
    features: Part
    removal: Part
    target: Part
    context: Part
    action: Action
    ambient: str
    picks: bool
    batch_size: int
    settings: dict[str, Any]

    @property
    def n(self) -> int:
        return len(self.inputs.plain[0]) if self.inputs.plain is not None else 0

    def __str__(self) -> str:
        parts = (self.features, self.removal, self.target, self.context)
        form = f" as {self.predictor.form}" if self.predictor.form else ""
        dtype = str(self.predictor.dtype).removeprefix("torch.")
        return (
            f"{self.predictor.family} {self.predictor.kind}{form} {dtype}, inputs {self.inputs.kind} "
            f"x{self.n}, {', '.join(part.name for part in parts)}, {self.action.name}, {self.ambient}"
        )

    def question(self, model: Any, row: int | None = None, **settings: Any) -> assay.Question:
        """The question, about all inputs or one of them."""
        settings = {**self.settings, **settings}
        if self.picks and self.predictor.form:
            settings["output"] = picker(self.predictor.form)
        wrapped = assay.wrap(model, **settings) if settings else model
        raw = self.inputs.raw
        target = self.target.value
        context = self.context.value
        if row is not None:
            raw = _one(raw, row)
            target = [target[row]] if isinstance(target, list) else target
            context = _one_context(context, row)
        removal = self.removal.value
        if isinstance(removal, tuple) and self.removal.name == "junk value":
            removal = removal[0](removal[1])
        return assay.Question(wrapped, raw, target, self.features.value, removal, context=context)


def _one(raw: Any, row: int) -> Any:
    if isinstance(raw, tuple):
        return tuple(part[row : row + 1] for part in raw)
    if hasattr(raw, "iloc"):
        return raw.iloc[row : row + 1]
    return raw[row : row + 1]


def _one_context(context: Any, row: int) -> Any:
    if not isinstance(context, dict):
        return context
    return {
        name: assay.Aligned(value.value[row : row + 1])
        if isinstance(value, assay.Aligned)
        else value
        for name, value in context.items()
    }


def situate(seed: int) -> Situation:
    """The situation of a seed."""
    draw = random.Random(f"situation {seed}")
    predictor = draw.choices((networks.network, black_boxes.black_box), (3, 1))[0](draw)
    inputs = tensors.inputs(draw, predictor)
    n = len(inputs.plain[0]) if inputs.plain is not None else 2
    settings: dict[str, Any] = {}
    if draw.random() < 0.15:
        settings["batch_size"] = draw.choice((1, 2, 5))
    if draw.random() < 0.05:
        settings["speedups"] = False
    if draw.random() < 0.05:
        settings["reproducible"] = True
        settings.pop("batch_size", None)
    if draw.random() < 0.02:
        settings[draw.choice(("batch_size", "device", "output", "plan"))] = draw.choice(
            questions.JUNK
        )
    return Situation(
        seed=seed,
        predictor=predictor,
        inputs=inputs,
        features=questions.features(draw, predictor),
        removal=questions.removal(draw, predictor, inputs),
        target=questions.target(draw, predictor, n),
        context=questions.context(draw, predictor, n),
        action=_action(draw, predictor),
        ambient=draw.choices(
            ("none", "no_grad", "inference", "double", "anomaly"), (20, 2, 2, 1, 1)
        )[0],
        picks=draw.random() < 0.85,
        batch_size=draw.choice((1, 3)),
        settings=settings,
    )


_ALL_COALITIONS = frozenset({"ExactShapley", "LowOrderShap"})
_MOST = 6  # elements of which all coalitions are asked


def _action(draw: random.Random, predictor: Predictor) -> Action:
    found = action(draw, predictor)
    while found.name in _ALL_COALITIONS and predictor.elements > _MOST:
        found = action(draw, predictor)
    return found


@dataclass
class Outcome:
    """How it ended: answered, refused, foreign, wrong or slow; and about what."""

    seed: int
    family: str
    kind: str
    action: str
    outcome: str
    detail: str
    situation: str
    checked: bool = False


class Slow(BaseException):
    """A situation that takes too long."""


class Wrong(Exception):
    """An answer that is contradicted, or something that was not left as it was."""


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: Any) -> None:
        raise Slow

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def _ambient(name: str) -> Iterator[None]:
    if name == "no_grad":
        with torch.no_grad():
            yield
    elif name == "inference":
        with torch.inference_mode():
            yield
    elif name == "anomaly":
        with torch.autograd.set_detect_anomaly(True, check_nan=False):
            yield
    elif name == "double":
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)
    else:
        yield


def outcome(seed: int, limit: float = LIMIT) -> Outcome:
    """What becomes of a seed."""
    situation = situate(seed)
    ended = _Ended()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _limit(limit):
                _ask(situation, ended)
        except Slow:
            ended.outcome = "slow"
            ended.detail = f"more than {limit} s"
        except Wrong as error:
            ended.outcome = "wrong"
            ended.detail = str(error)
        finally:
            torch.set_default_dtype(torch.float32)
    return Outcome(
        seed, situation.predictor.family, situation.predictor.kind, situation.action.name,
        ended.outcome, ended.detail, str(situation), ended.checked,
    )  # fmt: skip


@dataclass
class _Ended:
    outcome: str = "answered"
    detail: str = ""
    checked: bool = False


def _place(error: BaseException) -> str:
    """Where in the library an exception came by last."""
    found = ""
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename).as_posix()
        if "/assay/" in path:
            found = f"{path.split('/assay/')[-1]}:{frame.name}"
    return found


def _plainly(situation: Situation) -> str:
    """The exception that the predictor raises when it is asked plainly; empty where it answers."""
    try:
        problem = Problem(
            situation.predictor, situation.inputs, situation.features, situation.removal,
            situation.target, situation.context,
        )  # fmt: skip
        problem.prediction()
        problem.base()
        problem.slope(problem.x[0], 0)
    except Exception as error:
        return type(error).__name__
    return ""


def _ask(situation: Situation, ended: _Ended) -> None:
    model = situation.predictor.fresh()
    before_model = snapshots.of_model(model)
    before_inputs = snapshots.of_inputs(situation.inputs.raw)
    done: Done | None = None
    with _ambient(situation.ambient):
        before_process = snapshots.of_process()
        try:
            done = situation.action.run(situation.question(model))
        except assay.errors.AssayError as error:
            ended.outcome = "refused"
            ended.detail = f"{type(error).__name__}: {error}"
        except Exception as error:
            ended.outcome = "foreign"
            with torch.inference_mode(False):
                raised = _plainly(situation)
            ended.detail = f"{type(error).__name__} in {_place(error)}: {str(error)[:200]!r}"
            if raised == type(error).__name__:
                ended.detail = f"the predictor's own {ended.detail}"
            return
        after_process = snapshots.of_process()
    if "random" in situation.predictor.traits:
        # Its own draws move the generators.
        after_process = {
            key: before_process[key] if "rng" in key else value
            for key, value in after_process.items()
        }
    _left(snapshots.difference(before_process, after_process), "process")
    _left(snapshots.difference(before_inputs, snapshots.of_inputs(situation.inputs.raw)), "inputs")
    _left(snapshots.difference(before_model, snapshots.of_model(model)), "model")
    if done is not None:
        _check(situation, done, ended)


def _left(difference: str, what: str) -> None:
    if difference:
        raise Wrong(f"{what} not as it was: {difference}")


def _slack(situation: Situation) -> float:
    """The relative error that number types allow."""
    types = {situation.predictor.dtype}
    if situation.inputs.plain is not None and situation.predictor.family != "estimator":
        types |= {part.dtype for part in situation.inputs.plain if part.is_floating_point()}
    if "other precision" in situation.predictor.kind or torch.bfloat16 in types:
        return 0.1
    if torch.float16 in types:
        return 0.05
    return 2e-3 if torch.float32 in types or situation.predictor.tokens else 1e-5


def _check(situation: Situation, done: Done, ended: _Ended) -> None:
    if situation.action.wrong:
        return
    scale = 1.0
    try:
        problem = Problem(
            situation.predictor, situation.inputs, situation.features, situation.removal,
            situation.target, situation.context,
        )  # fmt: skip
        scale = max(scale, float(np.abs(problem.prediction()).max()))
        _deterministic(situation)
        for claim in done.claims:
            _compare(claim, problem, _slack(situation), scale)
            ended.checked = True
    except Unknown as unknown:
        ended.detail = f"unchecked: {unknown}"
    except (Wrong, Slow):
        raise
    except Exception as error:
        # What cannot be called plainly cannot contradict an answer.
        ended.detail = f"unchecked, plain evaluation: {type(error).__name__}: {str(error)[:120]}"
    if done.per_input is not None and situation.inputs.plain is not None:
        _same_elsewhere(situation, done.per_input, scale)


def _deterministic(situation: Situation) -> None:
    # A unit may lie before the part that draws: it is compared with a plain forward in any case.
    if "random" in situation.predictor.traits and situation.action.name != "upto":
        raise Wrong("an answer about a model that draws at every call")


def _compare(claim: Claim, problem: Problem, slack: float, scale: float) -> None:
    try:
        expected = np.asarray(claim.expected(problem), dtype=float)
    except Unknown:
        return
    given = torch.as_tensor(claim.given).detach().double().numpy()
    expected = expected.reshape(given.shape) if expected.size == given.size else expected
    if expected.shape != given.shape:
        raise Wrong(f"{claim.name}: shape {given.shape} for {expected.shape}")
    if not np.isfinite(expected).all():
        raise Wrong(f"{claim.name}: numbers where plainly there are none")
    error = float(np.abs(given - expected).max()) if given.size else 0.0
    allowed = slack * claim.slack * max(scale, float(np.abs(expected).max(initial=0.0)))
    if not error <= allowed:
        raise Wrong(f"{claim.name}: {_brief(given)} for {_brief(expected)}, off by {error:.3g}")


def _brief(values: Any) -> str:
    return "[" + ", ".join(f"{v:.4g}" for v in np.asarray(values).reshape(-1)[:4]) + "]"


def _same_elsewhere(situation: Situation, values: Tensor, scale: float) -> None:
    """The same numbers in chunks of another size, and for one input alone."""
    allowed = _slack(situation) * max(scale, float(values.abs().max()) if values.numel() else 1.0)
    if "batch_size" not in situation.settings and "reproducible" not in situation.settings:
        again = _again(situation, None, batch_size=situation.batch_size)
        _equal(again, values, allowed, f"batch size {situation.batch_size}")
    if situation.n > 1 and situation.removal.name != "rows":
        row = situation.seed % situation.n
        alone = _again(situation, row)
        _equal(alone, values[row : row + 1], allowed, f"input {row} alone")


def _again(situation: Situation, row: int | None, **settings: Any) -> Tensor:
    model = situation.predictor.fresh()
    try:
        with _ambient(situation.ambient):
            done = situation.action.run(situation.question(model, row, **settings))
    except Exception as error:
        where = "alone" if row is not None else f"with {settings}"
        raise Wrong(f"answered, but {where}: {type(error).__name__}: {str(error)[:160]}") from error
    assert done.per_input is not None
    return done.per_input


def _equal(given: Tensor, values: Tensor, allowed: float, where: str) -> None:
    if given.shape != values.shape:
        raise Wrong(f"{where}: shape {tuple(given.shape)} for {tuple(values.shape)}")
    same_gaps = torch.isnan(given) == torch.isnan(values)
    error = float((given - values).nan_to_num(0.0).abs().max()) if values.numel() else 0.0
    if not bool(same_gaps.all()) or not error <= allowed:
        raise Wrong(f"{where}: {_brief(given)} for {_brief(values)}, off by {error:.3g}")
