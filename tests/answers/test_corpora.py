"""Trigger words: credit gathered over texts, with intervals and p values that can be trusted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

import assay
from assay.errors import AssayError, InputError, KindError, SettingError


def answer(texts: list[list[tuple[str, float]]], targets: list[str] | None = None) -> Any:
    """An answer by hand: for each text its words and their credit."""
    width = max(map(len, texts))
    values = torch.zeros(len(texts), width, dtype=torch.float64)
    for row, text in zip(values, texts):
        row[: len(text)] = torch.tensor([credit for _, credit in text], dtype=torch.float64)
    ends = torch.zeros(len(texts))
    return assay.Attribution(
        values,
        ends,
        ends,
        tuple(f"word {place}" for place in range(width)),
        (width,),
        "contribution",
        own_names=tuple(tuple(word for word, _ in text) for text in texts),
        targets=targets,
    )


def holm_twin(p: list[float]) -> list[float]:
    """Holm (1979), step by step."""
    order = sorted(range(len(p)), key=p.__getitem__)
    adjusted, largest = [0.0] * len(p), 0.0
    for step, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - step) * p[place]))
        adjusted[place] = largest
    return adjusted


def twin(
    texts: list[list[tuple[str, float]]], targets: list[str], length: int, least: int
) -> dict[tuple[str, str], tuple[int, int, float, float]]:
    """Texts, first places, mean and adjusted p value of each run, text by text."""
    credit: dict[tuple[str, str], list[float]] = {}
    first: dict[tuple[str, str], int] = {}
    for text, target in zip(texts, targets):
        here: dict[str, float] = {}
        for start in range(len(text)):
            run = text[start : start + length]
            if len(run) == length:
                words = " ".join(word.lower() for word, _ in run)
                here[words] = here.get(words, 0.0) + sum(number for _, number in run)
        best = None
        for words, total in here.items():
            credit.setdefault((target, words), []).append(total)
            if best is None or total > here[best]:
                best = words
        if best is not None:
            first[target, best] = first.get((target, best), 0) + 1
    kept = {key: values for key, values in credit.items() if len(values) >= least}
    p = []
    for values in kept.values():
        same = max(values) == min(values)
        student = (1.0 if values[0] == 0 else 0.0) if same else float(ttest_1samp(values, 0).pvalue)
        p.append(max(student, 2.0 ** (1 - len(values))))
    return {
        key: (len(values), first.get(key, 0), math.fsum(values) / len(values), adjusted)
        for (key, values), adjusted in zip(kept.items(), holm_twin(p))
    }


WORD = st.sampled_from(["how", "How", "many", "é", "E\u0301", "是", "to tal"])
TEXT = st.lists(st.tuples(WORD, st.integers(-4, 4).map(float)), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(st.tuples(TEXT, st.sampled_from("ab")), min_size=2, max_size=20),
    length=st.integers(1, 3),
)
def test_numbers_are_those_of_the_definition(texts: Any, length: int) -> None:
    rows, targets = [list(row) for row, _ in texts], [target for _, target in texts]
    found = assay.trigger_words(answer(rows, targets), length=length, least=2)
    # The twin folds case alone: composed and decomposed marks are made alike here.
    plain = [[(word.replace("E\u0301", "é"), credit) for word, credit in row] for row in rows]
    expected = twin(plain, targets, length, 2)
    assert {(word.target, word.words) for word in found} == set(expected)
    for word in found:
        count, first, mean, p = expected[word.target, word.words]
        assert (word.texts, word.first) == (count, first)
        assert word.mean == pytest.approx(mean, abs=1e-12)
        assert word.p == pytest.approx(p, abs=1e-10)
        # Fewer than 8 texts give no interval.
        assert math.isnan(word.low) == math.isnan(word.high) == (count < 8)
        assert count < 8 or word.low <= word.mean <= word.high


def test_they_are_sorted_by_class_and_by_what_they_add_at_least() -> None:
    rows = [[("sure", 2.0), ("odd", 9.0 * (number % 2)), ("no", -1.0)] for number in range(8)]
    found = assay.trigger_words(answer(rows, ["b"] * 8))
    assert [word.words for word in found] == ["sure", "odd", "no"]
    both = assay.trigger_words(answer([*rows, *rows], ["b"] * 8 + ["a"] * 8))
    assert [word.target for word in both] == ["a"] * 3 + ["b"] * 3


def test_words_without_an_interval_stand_behind_those_with_one() -> None:
    rows = [
        [("often", 1.0), *([("rare", 9.0), ("least", 3.0)] * (number < 7))] for number in range(8)
    ]
    found = assay.trigger_words(answer(rows, ["b"] * 8))
    assert [word.words for word in found] == ["often", "rare", "least"]
    assert [math.isnan(word.low) for word in found] == [False, True, True]


def test_what_is_always_the_same_says_no_more_than_its_signs() -> None:
    rows = [[("same", 1.0)]] * 8
    (word,) = assay.trigger_words(answer(rows))
    assert (word.low, word.high, word.p) == (1.0, 1.0, 2.0**-7)
    (nothing,) = assay.trigger_words(answer([[("none", 0.0)]] * 5))
    assert nothing.p == 1.0


def test_alike_words_are_seldom_called_triggers() -> None:
    """Under no effect, skewed or not, the share of corpora with any p <= .05 is at most some .05."""
    generator = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        credit = generator.normal(size=(12, 6))
        rows = [
            [(f"w{place}", float(number)) for place, number in enumerate(row)] for row in credit
        ]
        hits += any(word.p <= 0.05 for word in assay.trigger_words(answer(rows)))
    assert hits <= 20  # of 200; 10 are expected at most, 20 has a chance of .002


def test_a_word_that_decides_is_found_and_one_that_does_not_is_not() -> None:
    texts = [
        f"how many {thing} of {place}" for thing in ("cars", "dogs", "oxen") for place in "xyz"
    ]

    def count(texts: list[str]) -> np.ndarray:
        return np.array([3.0 * ("many" in text) - 1.0 * ("dogs" in text) for text in texts])

    credit = assay.ExactShapley()(assay.Question(count, texts))
    found = {word.words: word for word in assay.trigger_words(credit, least=3)}
    assert found["many"].mean == pytest.approx(3.0)
    assert found["many"].first == 9
    assert found["dogs"].mean == pytest.approx(-1.0)
    assert found["how"].p == 1.0
    pairs = {word.words: word for word in assay.trigger_words(credit, length=2)}
    assert pairs["how many"].mean == pytest.approx(3.0)
    assert "many how" not in pairs


def test_nothing_that_is_common_enough_is_an_empty_answer() -> None:
    assert assay.trigger_words(answer([[("a", 1.0)], [("b", 1.0)]])) == ()


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"length": 0}, InputError, "in a row"),
        ({"least": 1}, InputError, "2 texts"),
        ({"length": 1.5}, KindError, "length"),
        ({"level": 1.0}, SettingError, "level"),
        ({"seed": "a"}, KindError, "seed"),
    ],
)
def test_settings_that_mean_nothing_are_refused(
    settings: Any, error: type[AssayError], words: str
) -> None:
    with pytest.raises(error, match=words) as refusal:
        assay.trigger_words(answer([[("a", 1.0)]] * 5), **settings)
    assert refusal.value.advice


def test_an_answer_without_words_is_refused() -> None:
    plain = assay.Gradient()(assay.Question(torch.nn.Linear(2, 1), torch.ones(3, 2), target=0))
    with pytest.raises(InputError, match="share") as refusal:
        assay.trigger_words(plain)
    assert "TokenWords" in refusal.value.advice


def test_words_without_an_interval_stand_behind_the_others_by_their_mean() -> None:
    texts = [[("sure", 0.1)]] * 8 + [[("small", 3.0)]] * 6 + [[("large", 5.0)]] * 6
    found = assay.trigger_words(answer(texts))
    assert [word.words for word in found] == ["sure", "large", "small"]
    assert [math.isnan(word.low) for word in found] == [False, True, True]
