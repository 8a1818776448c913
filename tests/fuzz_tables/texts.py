"""Situations about texts: random ones in twenty scripts and more, and words removed by hand."""

from __future__ import annotations

import random
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import factorial
from typing import Any

import numpy as np
import pandas as pd
import torch

import assay
from fuzz_tables.outcomes import Ended, Wrong, compared
from fuzz_tables.plain import Unknown
from fuzz_tables.scripts import AFTER, BEFORE, BETWEEN, ODD, WORDS

MOST = 5  # words of which all subsets are asked


def _weight(letters: str) -> float:
    return zlib.crc32(letters.encode("utf-8", "surrogatepass")) / 2**32 - 0.5


def letters_score(text: str) -> float:
    """A number that every letter and every pair of neighbours has a share in."""
    return sum(map(_weight, text)) + sum(_weight(a + b) for a, b in pairwise(text))


@dataclass
class Letters:
    """Reads every letter of every text; refuses what is no text."""

    outputs: int

    def __call__(self, texts: Any) -> Any:
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("no texts")
        scores = np.array([letters_score(str(text)) for text in texts], dtype=float)
        return scores if self.outputs == 0 else np.stack([-scores, scores, scores**2], axis=1)


@dataclass
class Texts:
    """A situation about texts."""

    seed: int
    scripts: tuple[str, ...]
    texts: list[str]
    form: str
    kind: str
    model: Any
    call: Callable[[list[str]], Any]
    bag: bool
    mask: str
    target: Any
    action: str
    due: bool
    batch_size: int

    def __str__(self) -> str:
        return (
            f"{self.kind}, {self.form} of {self.texts!r:.200}, bag={self.bag}, mask={self.mask!r}, "
            f"target {self.target}, {self.action}"
        )


def _text(draw: random.Random, scripts: Sequence[str]) -> str:
    count = draw.choice((1, 2, 2, 3, 3, 4, 5, 7))
    words = [draw.choice(WORDS[draw.choice(scripts)]) for _ in range(count)]
    if draw.random() < 0.2:
        words.append(words[0])
    between = [draw.choice(BETWEEN) for _ in words[1:]]
    body = words[0] + "".join(gap + word for gap, word in zip(between, words[1:]))
    return draw.choice(BEFORE) + body + draw.choice(AFTER)


_ACTIONS = (
    "value", "Occlusion", "Occlusion", "ExactShapley", "ExactShapley", "KernelShap", "Lime", "Rise",
    "PermutationShapley", "Completeness", "Infidelity", "MaxSensitivity", "MultiplicativeSmoothing",
    "save", "compare", "Lime points", "junk removal",
)  # fmt: skip

_DUE = ("value", "Occlusion", "ExactShapley", "PermutationShapley", "Completeness", "save")
_DUE_FORMS = ("list", "tuple", "array", "objects")
_FORMS = ("list", "tuple", "array", "objects", "series", "frame of one column", "string")


def texts(draw: random.Random, seed: int) -> Texts:
    """A situation."""
    scripts = draw.sample(sorted(WORDS), draw.choice((1, 1, 1, 2)))
    found = [_text(draw, scripts) for _ in range(draw.choice((1, 2, 2, 3)))]
    odd = draw.random() < 0.15
    if odd:
        found[draw.randrange(len(found))] = draw.choice(ODD)
    form = draw.choices(_FORMS, (12, 2, 2, 2, 2, 1, 0.5))[0]
    kind, model, call = _predictor(draw)
    outputs = np.asarray(call(["word"])).reshape(1, -1).shape[1]
    target = draw.choice((None, None, 0, outputs - 1))
    action = draw.choice(_ACTIONS)
    return Texts(
        seed, tuple(scripts), found, form, kind, model, call, draw.random() < 0.2,
        draw.choice(("", "", "[MASK]", "▁", " ")), target, action,
        not odd and action in _DUE and form in _DUE_FORMS, draw.choice((1, 2)),
    )  # fmt: skip


_FITTED: dict[str, Any] = {}


def _predictor(draw: random.Random) -> tuple[str, Any, Callable[[list[str]], Any]]:
    if draw.random() < 0.75:
        letters = Letters(draw.choice((0, 0, 3)))
        return "function of texts", letters, letters
    analyzer = draw.choice(("char", "word"))
    if analyzer not in _FITTED:
        _FITTED[analyzer] = _pipeline(analyzer)
    model = _FITTED[analyzer]
    return f"counts of {analyzer}s, logistic", model, model.predict_proba


def _pipeline(analyzer: str) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    corpus = [" ".join(words) for words in WORDS.values()]
    labels = [len(words) + len(words[0]) for words in WORDS.values()]
    model = make_pipeline(CountVectorizer(analyzer=analyzer), LogisticRegression())
    return model.fit(corpus, [label % 3 for label in labels])


def _given(texts: list[str], form: str) -> Any:
    made: dict[str, Callable[[], Any]] = {
        "list": lambda: list(texts),
        "tuple": lambda: tuple(texts),
        "array": lambda: np.array(texts),
        "objects": lambda: np.array(texts, dtype=object),
        "series": lambda: pd.Series(texts),
        "frame of one column": lambda: pd.DataFrame({"text": texts}),
        "string": lambda: texts[0],
    }
    return made[form]()


# --- by hand


def without(text: str, words: Sequence[str], gone: frozenset[int], mask: str) -> str:
    """A text without some of its words: each takes what follows it along, up to the next word."""
    places = []
    start = 0
    for word in words:
        at = text.find(word, start)
        if at < 0:
            raise Wrong(f"a word that the text does not have: {word!r} in {text!r}")
        places.append(at)
        start = at + len(word)
    if not gone:
        return text
    ends = [*places[1:], len(text)]
    pieces = [text[: places[0]]]
    for number, (first, last) in enumerate(zip(places, ends)):
        # A mask brings one space, except between words that stand without anything.
        spaced = last > first + len(words[number]) or last == len(text)
        absent = mask
        if mask and spaced:
            absent = f"{mask} "
        pieces.append(absent if number in gone else text[first:last])
    return "".join(pieces).rstrip()


class Game:
    """One text and its words: the value of every set of them, by cutting letters out."""

    def __init__(self, situation: Texts, text: str, words: Sequence[str]) -> None:
        self.situation = situation
        self.text = text
        self.words = list(words)
        self.owners = [{number} for number in range(len(words))]
        if situation.bag:
            raise Unknown("bags are not counted by hand")

    def score(self, text: str) -> float:
        clean = np.asarray(self.situation.call([self.text]), float).reshape(-1)
        found = np.asarray(self.situation.call([text]), float).reshape(-1)
        target = self.situation.target
        return float(found[int(np.argmax(clean)) if target is None else target])

    def worth(self, members: frozenset[int]) -> float:
        gone = frozenset(range(len(self.words))) - members
        return self.score(without(self.text, self.words, gone, self.situation.mask))

    def prediction(self) -> float:
        return self.score(self.text)

    def base(self) -> float:
        return self.worth(frozenset())

    def occlusion(self) -> Any:
        everyone = frozenset(range(len(self.words)))
        return np.array([self.prediction() - self.worth(everyone - {j}) for j in sorted(everyone)])

    def shapley(self) -> Any:
        count = len(self.words)
        if count > MOST:
            raise Unknown("too many words")
        sets = [frozenset(c) for k in range(count + 1) for c in combinations(range(count), k)]
        game = {members: self.worth(members) for members in sets}
        credit = np.zeros(count)
        for members, value in game.items():
            size = len(members)
            for j in set(range(count)) - members:
                weight = factorial(size) * factorial(count - size - 1) / factorial(count)
                credit[j] += weight * (game[members | {j}] - value)
        return credit


_JOINERS = ("\u200d", "\ufe0f")


def check_words(text: str, words: Sequence[str]) -> None:
    """Letters, digits, marks and emoji all belong to words, and no cluster is cut."""
    start = 0
    covered = []
    for word in words:
        at = text.find(word, start)
        if at < 0:
            raise Wrong(f"a word that the text does not have: {word!r} in {text!r}")
        cut = unicodedata.category(word[0]).startswith("M") or word[0] in _JOINERS
        if at > 0 and (cut or text[at - 1] == "\u200d"):
            raise Wrong(f"a word that begins inside a cluster: {word!r} in {text!r}")
        covered.append((at, at + len(word)))
        start = at + len(word)
    for place, letter in enumerate(text):
        inside = any(first <= place < last for first, last in covered)
        if not inside and unicodedata.category(letter)[0] in "LN":
            raise Wrong(f"a letter of no word: {letter!r} of {text!r}, words {list(words)}")
        if not inside and unicodedata.category(letter) == "So":
            raise Wrong(f"a symbol of no word: {letter!r} of {text!r}, words {list(words)}")


# --- asking


def _question(situation: Texts, given: Any, **settings: Any) -> assay.Question:
    model = assay.wrap(situation.model, **settings) if settings else situation.model
    removal: Any = assay.MaskToken(situation.mask) if situation.mask else None
    if situation.action == "junk removal":
        removal = [assay.Baseline(0.0), assay.Background(["other words"]), assay.Mean(["a"]), "x"][
            situation.seed % 4
        ]
    features = assay.Words(bag=True) if situation.bag else None
    return assay.Question(model, given, situation.target, features, removal)


def _answer(situation: Texts, question: assay.Question) -> tuple[Any, dict[str, Any], bool]:
    """Values that no neighbour may change, numbers by the name of their definition; completeness."""
    count = question.partition.count
    name = situation.action
    if name in ("value", "junk removal"):
        question.value(torch.ones(1, count, dtype=torch.bool))
        return None, {"prediction": question.prediction, "base": question.base}, False
    askers: dict[str, Callable[[], Any]] = {
        "ExactShapley": assay.ExactShapley,
        "KernelShap": lambda: assay.KernelShap(budget=40),
        "Lime": lambda: assay.Lime(assay.CoinMasks(samples=60)),
        "Lime points": lambda: assay.Lime(assay.Gaussian(samples=60)),
        "Rise": lambda: assay.Rise(masks=40),
        "PermutationShapley": lambda: assay.PermutationShapley(orderings=2),
    }
    asker = askers.get(name, assay.Occlusion)()
    answer = asker(question)
    _beside(name, question, answer, asker)
    found = {"prediction": answer.prediction, "base": answer.base}
    rule = {"ExactShapley": "shapley", "Occlusion": "occlusion"}.get(name)
    if rule:
        found[rule] = answer.values
    complete = name in ("ExactShapley", "KernelShap", "PermutationShapley")
    # Designs depend on how many words the longest text has, which is said.
    alone = answer.values if name in ("ExactShapley", "Occlusion") else None
    return alone, found, complete


def _beside(name: str, question: assay.Question, answer: Any, asker: Any) -> None:
    """Metrics, certificates, files, comparisons."""
    import tempfile

    if name == "Completeness":
        assay.Completeness()(question, answer)
    elif name == "Infidelity":
        assay.Infidelity(draws=6)(question, answer)
    elif name == "MaxSensitivity":
        assay.MaxSensitivity(asker, draws=3)(question, answer)
    elif name == "MultiplicativeSmoothing":
        repr(assay.MultiplicativeSmoothing(2, 8).certify(question, answer.top(1)))
    elif name == "compare":
        repr(assay.compare(question, ["Occlusion", "KernelShap(budget=40)"], ["Completeness"]))
    elif name == "save":
        with tempfile.TemporaryDirectory() as folder:
            answer.save(f"{folder}/answer")
            again = assay.load(f"{folder}/answer")
        if tuple(again.names) != tuple(answer.names) or not bool(
            (again.values == answer.values).all()
        ):
            raise AssertionError("a file that says something else")
        answer.to_pandas()


def ask(situation: Texts, ended: Ended) -> None:
    """Asks, and checks the answer."""
    question = _question(situation, _given(situation.texts, situation.form))
    values, found, complete = _answer(situation, question)
    if situation.action == "junk removal" or situation.form == "string":
        return
    number = situation.seed % len(situation.texts)
    text = situation.texts[number]
    alone = _question(situation, _given([text], "list"))
    try:
        words = [str(name) for name in alone.partition.names]
    except assay.errors.InputError:  # without a word: nothing to compare with
        return
    if not situation.bag:
        check_words(text, words)
    try:
        _by_hand(situation, Game(situation, text, words), found, number, complete)
        ended.checked = True
    except Unknown as unknown:
        ended.detail = f"unchecked: {unknown}"
    if values is not None:
        _elsewhere(situation, values, alone, number)


def _by_hand(situation: Texts, game: Game, found: Any, number: int, complete: bool) -> None:
    for rule, numbers in found.items():
        expected = np.atleast_1d(getattr(game, rule)())
        given = np.atleast_1d(numbers[number].double().numpy())
        # Places behind a text's end belong to nobody.
        if np.abs(given[len(expected) :]).max(initial=0.0) > 0:
            raise Wrong(f"{rule}: credit for words that are not there")
        compared(rule, given[: len(expected)], expected)
    del situation, complete


def _elsewhere(situation: Texts, values: Any, alone: assay.Question, number: int) -> None:
    again, _, _ = _answer(situation, alone)
    width = again.shape[1]
    compared("alone", again[0].double().numpy(), values[number, :width].double().numpy())
    chunks = _question(
        situation, _given(situation.texts, situation.form), batch_size=situation.batch_size
    )
    again, _, _ = _answer(situation, chunks)
    compared("in chunks", again.double().numpy(), values.double().numpy())
