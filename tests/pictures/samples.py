"""A small sample of every picture: `SAMPLES[name](label)`, with every name passed through `label`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch

import assay
from assay import pictures
from assay.answers.attribution import Attribution
from assay.comparison.comparing import compare
from assay.metrics.calibration import calibration
from assay.pictures.drawing.drawing import Drawing

Label = Callable[[str], str]


def plain(name: str) -> str:
    return name


def once(make: Callable[[], Any]) -> Any:
    """What is drawn at import and never again: pictures leave torch's generator alone, and are made
    in threads, too, which share it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def flat(inputs: int, outputs: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(inputs, outputs)).double()


def curved() -> torch.nn.Module:
    layers = torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)
    return torch.nn.Sequential(*layers).double()


PICTURES = once(lambda: (flat(192, 2), torch.rand(2, 3, 8, 8, dtype=torch.float64)))
SERIES = once(lambda: (flat(60, 1), torch.randn(2, 20, 3, dtype=torch.float64)))
CLASSES = once(lambda: (flat(16, 3), torch.rand(4, 1, 4, 4, dtype=torch.float64)))
RANKED = once(lambda: (curved(), torch.randn(20, 5, dtype=torch.float64)))
REGIONS = once(lambda: flat(768, 2))
MANY_CLASSES = once(lambda: (flat(256, 200), 3 * torch.randn(1, 1, 16, 16, dtype=torch.float64)))


def answer_of(
    values: np.ndarray,
    errors: np.ndarray | None = None,
    *,
    labels: list[str] | None = None,
    kind: str = "contribution",
    shape: tuple[int, ...] | None = None,
    method: str = "KernelShap()",
) -> Attribution:
    table = torch.tensor(np.atleast_2d(values), dtype=torch.float64)
    count = table.shape[1]
    base = torch.full((len(table),), 0.25, dtype=torch.float64)
    return Attribution(
        values=table,
        base=base,
        prediction=base + table.sum(1),
        names=tuple(labels or [f"x{k}" for k in range(count)]),
        shape=shape or (count,),
        kind=kind,
        standard_error=None if errors is None else torch.tensor(np.atleast_2d(errors)),
        facts={"forwards": 100},
        provenance={"method": method},
    )


def drawn(n: int, features: int, label: Label, seed: int = 0) -> Attribution:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, features)) * np.linspace(2, 0.2, features)
    labels = [label(f"x{k}") for k in range(features)]
    return answer_of(values, np.full(values.shape, 0.3), labels=labels)


def table_of(n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(n, 3)), columns=["a", "b", "c"])
    frame["kind"] = pd.Categorical(rng.choice(["red", "green", "blue"], n))
    frame.loc[3, "b"] = np.nan
    return frame


@cache
def table_question() -> assay.Question:
    def model(frame: pd.DataFrame) -> np.ndarray:
        return (frame["a"] + frame["b"].fillna(0) ** 2 + (frame["kind"] == "red")).to_numpy(float)

    frame = table_of()
    return assay.Question(
        assay.wrap(model, missing=True), frame, removal=assay.Background(frame.iloc[4:8])
    )


@cache
def table_answer() -> Attribution:
    return assay.ExactShapley()(table_question())


def renamed(answer: Attribution, label: Label) -> Attribution:
    changed = replace(answer, names=tuple(label(str(name)) for name in answer.names))
    if answer.own_names is None:
        return changed
    own = tuple(tuple(label(str(name)) for name in names) for names in answer.own_names)
    return replace(changed, own_names=own)


@cache
def picture_question() -> assay.Question:
    net, images = PICTURES
    return assay.Question(net, images, target=0, removal=assay.Baseline(0.0))


@cache
def picture_answers() -> tuple[Attribution, Attribution]:
    question = picture_question()
    return assay.IntegratedGradients(8)(question), assay.Gradient()(question)


def text_of(label: Label) -> tuple[assay.Question, Attribution]:
    def model(texts: list[str]) -> np.ndarray:
        return np.array([len(text) - 7.0 * ("bad" in text) for text in texts], dtype=float)

    question = assay.Question(model, [f"a {label('good')} film, not so bad", "bad"])
    return question, assay.KernelShap(budget=64)(question)


@cache
def series_question() -> assay.Question:
    net, inputs = SERIES
    return assay.Question(net, inputs, features=assay.Elements())


@cache
def molecule_answer() -> Attribution:
    kinds = torch.zeros(1, 6, 3)
    kinds[0, range(6), [0, 0, 1, 0, 2, 0]] = 1.0
    pairs = torch.zeros(1, 6, 6, 1)
    for a, b in [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0)]:
        pairs[0, a, b] = pairs[0, b, a] = 1.0

    def model(kinds: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
        return kinds[:, :, 1].sum(1) - kinds[:, :, 2].sum(1) + pairs[:, 0].sum((1, 2))

    features = assay.Atoms([["C", "C", "N", "C", "O", "C"]])
    question = assay.Question(model, (kinds, pairs), features=features)
    return assay.KernelShap(budget=512)(question)


@cache
def class_question() -> assay.Question:
    net, images = CLASSES
    return assay.Question(net, images, features=assay.Elements(), removal=assay.Baseline(0.0))


@cache
def certificates() -> tuple[object, ...]:
    masks = torch.arange(16) < 10
    question = class_question()
    return tuple(assay.MultiplicativeSmoothing(kept=1, levels=4).certify(question, masks))


def deletions(label: Label) -> dict[str, assay.Score]:
    question = table_question()
    rng = np.random.default_rng(0)
    shuffled = replace(
        table_answer(), values=torch.tensor(rng.normal(size=tuple(table_answer().values.shape)))
    )
    answers = {"exact": table_answer(), "shuffled": shuffled}
    return {label(name): assay.Deletion()(question, answer) for name, answer in answers.items()}


@cache
def ranking() -> object:
    question = assay.Question(*RANKED)
    methods = [assay.Gradient(), assay.InputXGradient(), assay.IntegratedGradients(8)]
    return compare(question, methods, [assay.Infidelity()]).rankings["Infidelity()"]


def of_certificates(label: Label) -> Drawing:
    return pictures.certified_curve(certificates())  # type: ignore[arg-type]


def radius(label: Label) -> Drawing:
    question = class_question()
    masks = torch.arange(16) < 10
    attack = assay.Attack(side="incremental").search(question.part(0, 1), masks)
    return pictures.radius(certificates()[0], attack)  # type: ignore[arg-type]


def selection(label: Label) -> Drawing:
    question = class_question()
    masks = torch.arange(16) < 10
    attack = assay.Attack(side="incremental").search(question.part(0, 1), masks)
    return pictures.selection(certificates()[0], question=question, attacks=attack)  # type: ignore[arg-type]


def soft(label: Label) -> Drawing:
    found = assay.SoftStability(radius=(1, 2, 4), samples=20)
    rates = found.certify(class_question().part(0, 1), torch.arange(16) < 10)
    return pictures.soft_stability(rates[0])


def reliable(label: Label) -> Drawing:
    rng = np.random.default_rng(0)
    p = rng.uniform(size=200)
    made = calibration(p, (rng.uniform(size=200) < p).astype(int), kind="probabilities", bins=5)
    return pictures.reliability(made)


def stable(label: Label) -> Drawing:
    scores = torch.tensor([0.1, 0.4, 0.2, float("nan"), 0.9])
    return pictures.stability(
        assay.Score(label("MaxSensitivity"), scores, "lower", why="no credit")
    )


def swarm(label: Label) -> Drawing:
    return pictures.swarm(renamed(table_answer(), label), question=table_question(), top=3)


def dependence(label: Label) -> Drawing:
    answer = renamed(table_answer(), label)
    return pictures.dependence(answer, 0, question=table_question(), colour=3)


def word_picture(label: Label) -> Drawing:
    question, answer = text_of(label)
    return pictures.words({label("one"): answer}, question=question)


def token_picture(label: Label) -> Drawing:
    labels = [label(f"in{j}") for j in range(4)]
    rows = [answer_of(np.arange(4.0) - k, labels=labels) for k in range(3)]
    return pictures.tokens({label(f"out{k}"): row for k, row in enumerate(rows)})


def pairs(label: Label) -> Drawing:
    names = [label(f"x{k}") for k in range(3)]
    labels = [a if a == b else f"{a} x {b}" for a in names for b in names]
    matrix = np.array([[1.0, 0.5, -0.25], [0.5, 0.0, 0.75], [-0.25, 0.75, -2.0]])
    errors = np.full((3, 3), 0.3)
    return pictures.interactions(
        answer_of(matrix.ravel(), errors.ravel(), labels=labels, shape=(3, 3))
    )


def agreeing(label: Label) -> Drawing:
    one, other = drawn(12, 5, label, 0), drawn(12, 5, label, 1)
    return pictures.agreement({label("one"): one, label("other"): other, label("third"): one})


def duel(label: Label) -> Drawing:
    one, other = drawn(3, 6, label, 0), drawn(3, 6, plain, 1)
    return pictures.duel(one, replace(other, names=one.names), 2)


def embedding(label: Label) -> Drawing:
    three = [label(str(k)) for k in range(3)]
    labels = [three[k % 3] for k in range(20)]
    return pictures.embedding(drawn(20, 5, label), labels=labels)


def budgets(label: Label) -> Drawing:
    answers = {}
    for k in (1, 2, 4):
        answer = drawn(4, 3, label)
        errors = answer.standard_error
        assert errors is not None
        answers[label(f"of {k}")] = replace(
            answer, standard_error=errors / k, facts={"forwards": 100 * k * k}
        )
    return pictures.convergence(answers)


def rows_of_a_chart(label: Label) -> Drawing:
    """A chart of rows by hand: all that a row may have, on a log axis."""
    bar = pictures.Row(
        "size", 0, label("bar"), 3.0, "3.00", 1.0, 3.0, 2.0, 4.0,
        unsure=True, toward=1.5, against=0.5, floor=2.5,
    )  # fmt: skip
    dot = pictures.Row("place", 0, label("dot"), 40.0, "40.0", 40.0, 40.0, 20.0, 90.0)
    return pictures.RowChart(
        rows=(bar, dot),
        axis=label("axis"),
        marked=(("guide", 1.0),),
        caption=label("caption"),
        alt=f"Two rows: {label('bar')} 3.00 and {label('dot')} 40.0.",
        log=True,
    )


@cache
def region_question() -> assay.Question:
    images = torch.zeros(2, 3, 16, 16, dtype=torch.float64)
    images[:, 0, :, 8:] = 1.0
    images[1, 1, 8:] = 1.0
    regions = assay.Superpixels(6)
    return assay.Question(REGIONS, images, target=0, features=regions, removal=assay.Baseline(0.5))


def regions(label: Label) -> Drawing:
    answer = assay.KernelShap(budget=40)(region_question())
    return pictures.image_map({label("one"): answer}, [0, 1], question=region_question())


@cache
def many_dots_of() -> tuple[assay.Question, Attribution]:
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(6000, 2)))
    question = assay.Question(lambda rows: rows[:, 0] ** 2 + rows[:, 1], x)
    return question, answer_of(torch.stack([x[:, 0] ** 2, x[:, 1]], dim=1).numpy())


def many_dots(label: Label) -> Drawing:
    question, answer = many_dots_of()
    return pictures.dependence(renamed(answer, label), 0, question=question)


def neighbour(label: Label) -> Drawing:
    question = series_question()
    score = assay.Score(label("MaxSensitivity"), torch.tensor([0.1, 0.4]), "lower")
    method = assay.InputXGradient()
    return pictures.stability(score, question=question, method=method, draws=5)


def many_votes(label: Label) -> Drawing:
    net, images = MANY_CLASSES
    question = assay.Question(net, images, features=assay.Elements(), removal=assay.Baseline(0.0))
    smoothing = assay.MultiplicativeSmoothing(kept=32, levels=256)
    return pictures.votes(smoothing.certify(question, torch.arange(256) < 128)[0])


SAMPLES: dict[str, Callable[[Label], Drawing]] = {
    "ladder": lambda label: pictures.ladder(drawn(2, 6, label), 1, top=3),
    "bars": lambda label: pictures.bars(drawn(2, 6, label), 0),
    "importance": lambda label: pictures.importance(drawn(8, 5, label)),
    "image_map": lambda label: pictures.image_map(
        {label("one"): picture_answers()[0], label("other"): picture_answers()[1]},
        [0, 1],
        question=picture_question(),
        outline=np.arange(64).reshape(8, 8) < 20,
        clip=0.9,
    ),
    "contours": lambda label: pictures.contours(
        picture_answers()[0], 0, question=picture_question()
    ),
    "retina": lambda label: pictures.retina(picture_answers()[0], 1, question=picture_question()),
    "words": word_picture,
    "tokens": token_picture,
    "series": lambda label: pictures.series(
        assay.IntegratedGradients(8)(series_question()), 0, question=series_question(), top=2
    ),
    "molecule": lambda label: pictures.molecule(molecule_answer()),
    "what_if": lambda label: pictures.what_if(table_question(), "a", 2, points=9),
    "swarm": swarm,
    "dependence": dependence,
    "heat": lambda label: pictures.heat(drawn(12, 5, label)),
    "groups": lambda label: pictures.groups(drawn(20, 5, label), np.arange(20) < 8),
    "drift": lambda label: pictures.drift(drawn(40, 3, label), top=2),
    "embedding": embedding,
    "interactions": pairs,
    "standing": lambda label: pictures.standing(ranking()),  # type: ignore[arg-type]
    "differences": lambda label: pictures.differences(ranking()),  # type: ignore[arg-type]
    "duel": duel,
    "agreement": agreeing,
    "faithfulness": lambda label: pictures.faithfulness(
        {label("exact"): table_answer()}, question=table_question(), i=1, draws=20
    ),
    "curves": lambda label: pictures.curves(deletions(label)),
    "convergence": budgets,
    "stability": stable,
    "reliability": reliable,
    "radius": radius,
    "selection": selection,
    "votes": lambda label: pictures.votes(certificates()[0]),  # type: ignore[arg-type]
    "certified_curve": of_certificates,
    "soft_stability": soft,
    # Pictures that look another way with other settings, or from more inputs.
    "RowChart": rows_of_a_chart,
    "importance: others": lambda label: pictures.importance(drawn(20, 9, label), top=3),
    "image_map: superpixels": regions,
    "dependence: partial": lambda label: pictures.dependence(
        renamed(table_answer(), label), 0, question=table_question(), partial=12
    ),
    "swarm: many": lambda label: pictures.swarm(drawn(500, 2, label)),
    "dependence: many": many_dots,
    "faithfulness: many": lambda label: pictures.faithfulness(
        {label("exact"): table_answer(), label("other"): table_answer()},
        question=table_question(),
        draws=6000,
    ),
    "stability: neighbour": neighbour,
    "certified_curve: labels": lambda label: pictures.certified_curve(
        certificates(),  # type: ignore[arg-type]
        labels=[0, 1, 2, 0],
    ),
    "votes: many": many_votes,
}
