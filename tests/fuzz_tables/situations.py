"""One seed, one situation, one outcome."""

from __future__ import annotations

import random
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

import assay
from fuzz_tables import actions, frames, predictors, questions, texts
from fuzz_tables.actions import Action, Done
from fuzz_tables.outcomes import SLACK, Ended, Outcome, Slow, Wrong, compared, place
from fuzz_tables.plain import Plain, Unknown
from fuzz_tables.predictors import Predictor, Strange, _array
from fuzz_tables.questions import Absent, Meaning, Owners

LIMIT = 20  # processor seconds of one situation


@dataclass
class Tables:
    """Everything that a seed decides of a table."""

    seed: int
    table: frames.Table
    predictor: Predictor
    inputs: Any
    form: str
    features: Owners
    removal: Absent
    target: Meaning
    action: Action
    elsewhere: str

    def __str__(self) -> str:
        parts = (self.features.part, self.removal.part, self.target.part)
        kinds = ", ".join(kind.name for kind in self.table.kinds[:6])
        return (
            f"{self.predictor.kind}, {self.form} {self.inputs.shape[0]} x {self.inputs.shape[1]} "
            f"[{kinds}] names: {self.table.names}, {', '.join(part.name for part in parts)}, "
            f"{self.action.name}"
        )

    @property
    def due(self) -> bool:
        """Whether nothing is odd, so that a refusal needs a reason."""
        parts = (self.features.part, self.removal.part, self.target.part)
        plain = self.table.ordinary and self.form in ("frame", "array") and len(self.inputs) > 0
        fits = self.predictor.order in (None, tuple(self.inputs.columns))
        return plain and fits and self.action.due and all(part.due for part in parts)

    def question(
        self, rows: Any = None, backwards: bool = False, **settings: Any
    ) -> assay.Question:
        """The question, about all inputs or some of them; with columns in the order turned round."""
        inputs = self.inputs if rows is None else self.inputs.iloc[rows]
        removal = self.removal.part.value
        removal = removal() if self.removal.part.name == "junk removal" else removal
        if backwards:
            inputs = inputs[list(reversed(inputs.columns))]
            removal = _turned(self.removal)
        elif rows is not None and self.removal.each:
            removal = assay.Baseline(_formed(self.removal.rows.iloc[rows], self.form))
        given = _formed(inputs, self.form)
        model = self.predictor.model
        wrapped = assay.wrap(model, **settings) if settings else model
        target, credit = self.target.part.value, self.features.part.value
        return assay.Question(wrapped, given, target, credit, removal)


def _turned(removal: Absent) -> Any:
    rows = removal.rows[list(reversed(removal.rows.columns))]
    return type(removal.part.value)(rows)


def _formed(frame: Any, form: str) -> Any:
    if form == "array":
        return _array(frame)
    if form == "series":
        # A row of no rows is none.
        return frame.iloc[0] if len(frame) else frame
    if form == "dict":
        return frame.to_dict()
    if form == "records":
        return frame.to_numpy().tolist()
    return frame


_ELSEWHERE = ("alone", "shuffled", "chunks", "other order", "twice")


def situate(seed: int) -> Tables | texts.Texts:
    """The situation of a seed."""
    draw = random.Random(f"tables {seed}")
    if draw.random() < 0.22:
        return texts.texts(draw, seed)
    table = frames.table(draw)
    predictor = predictors.predictor(draw, table)
    wide = table.whole.shape[1] > 40
    count = draw.choices((0, 1, 2, 3, 6), (0.2, 3, 4, 2, 0.5))[0]
    inputs = frames.with_index(draw, table.rows(0, 1 if wide else count))
    form = _form(draw, table, predictor)
    credit = questions.features(draw, table, form)
    found = actions.action(draw, len(credit.names), _formed(table.rows(0, 40), form))
    return Tables(
        seed=seed,
        table=table,
        predictor=predictor,
        inputs=inputs,
        form=form,
        features=credit,
        removal=questions.removal(draw, table, inputs, form),
        target=questions.target(draw, predictor, _outputs(table, predictor)),
        action=found,
        elsewhere=draw.choice(_ELSEWHERE),
    )


def _form(draw: random.Random, table: frames.Table, predictor: Predictor) -> str:
    odd = draw.random()
    if odd < 0.02:
        return draw.choice(("series", "dict", "records"))
    arrays = table.numbers and all(kind.ordinary for kind in table.kinds)
    if not arrays or predictor.checks or predictor.kind.startswith(("function of frames", "class")):
        return "frame"
    # The columns of an array are told by their places, which are those of the fit.
    if predictor.order not in (None, tuple(table.whole.columns)):
        return "frame"
    return "array" if draw.random() < 0.4 else "frame"


def _outputs(table: frames.Table, predictor: Predictor) -> int:
    rows = table.rows(0, 1)
    rows = rows if predictor.order is None else rows[list(predictor.order)]
    try:
        return int(np.asarray(predictor.call(rows), float).reshape(1, -1).shape[1])
    except Exception:  # such a table cannot be asked about at all
        return 1


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


def outcome(seed: int, limit: float = LIMIT) -> Outcome:
    """What becomes of a seed."""
    ended = Ended()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        situation = situate(seed)
        try:
            with _limit(limit):
                _asked(situation, ended)
        except Slow:
            ended.outcome = "slow"
            ended.detail = f"more than {limit} s"
        except Wrong as error:
            ended.outcome = "wrong"
            ended.detail = str(error)
    if isinstance(situation, Tables):
        about = (
            "table",
            situation.predictor.kind,
            situation.action.name,
            situation.removal.part.name,
        )
    else:
        about = ("text", ", ".join(situation.scripts[:1]), situation.action, repr(situation.mask))
    return Outcome(
        seed, *about, ended.outcome, ended.detail, str(situation), situation.due, ended.checked
    )


def _generators() -> tuple[bytes, bytes]:
    legacy: Any = np.random.get_state()  # noqa: NPY002
    return legacy[1].tobytes(), torch.get_rng_state().numpy().tobytes()


def _asked(situation: Tables | texts.Texts, ended: Ended) -> None:
    state = _generators()
    try:
        if isinstance(situation, Tables):
            _ask(situation, ended)
        else:
            texts.ask(situation, ended)
    except assay.errors.AssayError as error:
        ended.outcome = "refused"
        ended.detail = f"{type(error).__name__}: {error}"
        _strangers(situation, error)
    except (Wrong, AssertionError):
        raise
    except Exception as error:
        ended.outcome = "foreign"
        ended.detail = f"{type(error).__name__} in {place(error)}: {str(error)[:200]!r}"
    if _generators() != state:
        raise Wrong("generators of the process were moved")


def _strangers(situation: Any, error: BaseException) -> None:
    """A predictor that was handed what its table never held is a fault, however it is told."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, Strange):
        cause = cause.__cause__ or cause.__context__
    if cause is None or not isinstance(situation, Tables) or situation.form != "frame":
        return
    said = str(cause)
    odd = situation.removal.part.name in ("Background of other words", "Background of other types")
    # Dates are numbers with a unit: they have means, and lie between others.
    moment = "holds Timestamp" in said or "holds Timedelta" in said
    if moment and not (situation.removal.whole and situation.action.whole):
        return
    # No time is the zero of times.
    if "holds Timedelta('0 days" in said and situation.removal.part.name in ZEROS:
        return
    if "none of its values" in said and not odd:
        raise Wrong(f"handed over: {said}")
    if situation.removal.whole and situation.action.whole and not odd:
        raise Wrong(f"handed over: {said}")


def _ask(situation: Tables, ended: Ended) -> None:
    before = situation.inputs.copy(deep=True)
    done = situation.action.run(situation.question())
    _untouched(before, situation.inputs)
    if situation.form not in ("frame", "array"):
        ended.detail = "unchecked: inputs of another form"
        return
    _never_zero(situation)
    try:
        _check(situation, done, ended)
    except Unknown as unknown:
        ended.detail = f"unchecked: {unknown}"
    if done.per_input is not None and situation.removal.part.name != "junk removal":
        _same_elsewhere(situation, done)


def _untouched(before: Any, after: Any) -> None:
    try:
        pd.testing.assert_frame_equal(before, after)
    except AssertionError as error:
        raise Wrong("inputs not as they were") from error


ZEROS = ("no removal", "Baseline(0.0)")
"""Removals that put 0 in the place of everything."""

WITH_ZERO = ("bool", "boolean", "timedelta")
"""Kinds whose values are no numbers and have a zero all the same: False, and no time."""


def _never_zero(situation: Tables) -> None:
    """There is no zero of a category."""
    if situation.removal.part.name in ZEROS:
        kinds = [kind for kind in situation.table.kinds if not kind.number]
        names = [kind.name for kind in kinds if kind.name not in WITH_ZERO]
        if names and situation.action.name not in (
            "Lime Instances",
            "Lime Quartiles",
            "Lime Gaussian",
        ):
            raise Wrong(f"answered with zeros in the place of names: {names[0]}")


def _check(situation: Tables, done: Done, ended: Ended) -> None:
    plain = Plain(
        situation.predictor, situation.inputs, situation.removal.rows, situation.features.columns,
        situation.target.score, situation.removal.each,
    )  # fmt: skip
    if situation.removal.part.name == "Background without a column":
        raise Wrong("answered with replacements that lack a column")
    if not plain.n or not done.answer:
        raise Unknown("nothing is said of each input")
    i = situation.seed % plain.n
    try:
        _compare(situation, done, plain, i)
    except (Unknown, Wrong, Slow):
        raise
    except Exception as error:
        raise Unknown(f"plain evaluation: {type(error).__name__}: {str(error)[:100]}") from error
    ended.checked = True


def _compare(situation: Tables, done: Done, plain: Plain, i: int) -> None:
    scale = max(abs(plain.prediction(i)), LEAST)
    slack = _slack(situation)
    order = _order(situation.features.names, done.names)
    for rule, given in done.answer.items():
        try:
            expected = np.atleast_1d(getattr(plain, rule)(i)) if rule != "sampled" else None
        except Unknown:
            continue
        if expected is None:
            continue
        if rule not in ("prediction", "base"):
            expected = expected[order]
        scale = max(scale, float(np.abs(expected).max(initial=0.0)))
        if not np.isfinite(expected).all():
            raise Unknown("numbers that are not finite")
        compared(rule, np.atleast_1d(given[i].double().numpy()), expected, slack, scale)
    if done.total is not None:
        meant = plain.prediction(i) - plain.base(i)
        compared("completeness", done.total[i].numpy(), meant, slack, scale)


LEAST = 1e-6
"""What a difference counts against where all that is compared is 0: rounding of other rows' outputs."""


def _slack(situation: Tables) -> float:
    """How far two ways of asking may differ: estimators compute in single precision from columns of it."""
    narrow = any(kind.name.lower() in ("float16", "float32") for kind in situation.table.kinds)
    return 2.0**-20 if narrow and situation.predictor.order is not None else SLACK


def _order(meant: tuple[str, ...], given: tuple[str, ...]) -> list[int]:
    """Where the features stand that the answer names, which may be the estimator's order."""
    if sorted(meant) == sorted(given) and len(set(meant)) == len(meant):
        return [meant.index(name) for name in given]
    return list(range(len(meant)))


def _same_elsewhere(situation: Tables, done: Done) -> None:
    values = done.per_input
    n = len(situation.inputs)
    assert values is not None
    rows: Any = None
    settings: dict[str, Any] = {}
    backwards = False
    way = situation.elsewhere
    pools = situation.action.name in ("MaxSensitivity",) and way in ("alone", "shuffled")
    if way == "alone" and not pools:
        rows = [situation.seed % n] if n else []
    elif way == "shuffled" and not pools:
        rows = list(reversed(range(n)))
    elif way == "chunks":
        # A frame of a thousand columns takes long to build, whatever its rows.
        wide = situation.inputs.shape[1] > 40
        settings["batch_size"] = 1 + situation.seed % 3 + (500 if wide else 0)
    elif way == "other order":
        backwards = _can_turn(situation)
    again = _again(situation, way, rows, backwards, settings)
    expected = values if rows is None else values[rows]
    given = again.per_input
    assert given is not None
    if backwards:
        given = given[..., _order(again.names, done.names)]
    scale = float(values.abs().nan_to_num().max()) if values.numel() else 1.0
    compared(way, given.double().numpy(), expected.double().numpy(), scale=max(1.0, scale))


def _can_turn(situation: Tables) -> bool:
    named = situation.predictor.takes == "frame" and not situation.predictor.checks
    by_rows = situation.removal.rows is not None and situation.removal.part.name in (
        "Background",
        "Baseline of a row",
        "Baseline of rows",
        "Mean",
    )
    alone = (
        situation.features.part.value is None or situation.features.part.name == "features columns"
    )
    fitted = situation.predictor.order is not None
    frame = situation.form == "frame" and situation.table.names in ("words", "unicode")
    return named and by_rows and alone and frame and not fitted and situation.action.orderless


def _again(
    situation: Tables, way: str, rows: Any, backwards: bool, settings: dict[str, Any]
) -> Done:
    try:
        return situation.action.run(situation.question(rows, backwards, **settings))
    except Exception as error:
        raise Wrong(f"answered, but {way}: {type(error).__name__}: {str(error)[:160]}") from error
