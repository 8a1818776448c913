"""Texts as inputs: reading, words as features, masks, and classifiers on strings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import assay
from assay.errors import InputError, KindError, ModelError
from assay.inputs.texts import TextLayout

CPU = torch.device("cpu")
MASK = assay.MaskToken("[MASK]")


def points(texts: list[str]) -> np.ndarray:
    """1 for 'good', -2 for 'not', and 4 for both: an interaction."""
    return np.array(
        [
            float("good" in t) - 2.0 * ("not" in t) + 5.0 * ("good" in t and "not" in t)
            for t in texts
        ]
    )


@given(
    st.lists(st.text(max_size=30).filter(lambda text: text.strip() != ""), min_size=1, max_size=4)
)
def test_a_text_comes_back_as_it_was(texts: list[str]) -> None:
    layout = TextLayout.of(texts, CPU)
    assert layout.fold(layout.flatten(texts))[0] == texts


def test_words_receive_what_the_definition_gives_them() -> None:
    answer = assay.ExactShapley()(assay.Question(points, ["it is not good"]))
    # v = g - 2 n + 5 g n at (1, 1): the interaction is split evenly
    assert answer.names == ("it", "is", "not", "good")
    np.testing.assert_allclose(answer.values[0], [0.0, 0.0, -2.0 + 2.5, 1.0 + 2.5], atol=1e-10)


def test_absent_words_are_dropped_or_masked_and_marks_follow_their_word() -> None:
    seen: list[str] = []

    def listen(texts: list[str]) -> np.ndarray:
        seen.extend(texts)
        return np.zeros(len(texts))

    mask = torch.tensor([[True, False, True]])
    assay.Question(listen, ['"One, two; three!"']).value(mask)
    assay.Question(listen, ['"One, two; three!"'], removal=assay.MaskToken("[MASK]")).value(mask)
    assert '"One, three!"' in seen
    assert '"One, [MASK] three!"' in seen


def test_a_bag_of_words_is_one_feature_for_every_occurrence() -> None:
    question = assay.Question(points, ["good good Good film"], features=assay.Words(bag=True))
    assert question.partition.names == ("good", "film")
    assert question.value(torch.tensor([[False, True]])).item() == 0.0


def test_a_short_text_beside_a_long_one_has_nothing_where_it_has_no_words() -> None:
    crowd = assay.ExactShapley()(assay.Question(points, ["good", "this is not so good"]))
    alone = assay.ExactShapley()(assay.Question(points, ["good"]))
    assert crowd.values[0, 1:].abs().max() == 0
    torch.testing.assert_close(crowd.values[0, :1], alone.values[0])
    assert crowd.base.tolist() == [0.0, 0.0]


def test_identity_is_the_text_and_not_its_code() -> None:
    together = assay.Question(points, ["good film", "bad film"])
    assert together.keys[1] == assay.Question(points, ["bad film"]).keys[0]


@pytest.mark.parametrize(
    "hold",
    [
        tuple,
        np.array,
        lambda texts: np.array(texts, dtype=object),
        pd.Series,
        lambda texts: pd.Series(texts, index=[70, 80], dtype=object),
        lambda texts: pd.Series(texts).astype("category"),
        pd.Index,
    ],
)
def test_texts_are_taken_from_whatever_holds_them(hold) -> None:
    texts = ["a good film", "not this"]
    question = assay.Question(points, hold(texts))
    assert question.layout.fold(question.x)[0] == texts
    assert question.prediction.tolist() == [1.0, -2.0]


def test_half_a_letter_is_a_text_too() -> None:
    question = assay.Question(points, ["good \ud83d"])
    assert question.keys.shape == (1,)
    assert question.layout.fold(question.x)[0] == ["good \ud83d"]


@pytest.mark.parametrize("wordless", ["", " ", "...", "?! "])
def test_a_text_without_a_word_gets_zeros_and_refuses_no_other(wordless: str) -> None:
    beside = assay.ExactShapley()(assay.Question(points, [wordless, "not good"]))
    alone = assay.ExactShapley()(assay.Question(points, ["not good"]))
    assert beside.values[0].tolist() == [0.0, 0.0]
    assert beside.values[1].tolist() == alone.values[0].tolist()
    assert beside.names_of(0) == ()
    assert beside.facts["players"] == [0, 2]
    assert not beside.top(1)[0].any()


def test_a_column_of_one_category_is_a_table() -> None:
    def is_red(table: pd.DataFrame) -> np.ndarray:
        return np.array([float(colour == "red") for colour in table["colour"]])

    rows = pd.DataFrame({"colour": ["red", "dark blue"]})
    question = assay.Question(is_red, rows, removal=assay.Background(rows))
    assert question.prediction.tolist() == [1.0, 0.0]


def test_a_pipeline_on_strings_is_asked_with_strings() -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    model.fit(["good film", "bad film", "good", "bad"], [1, 0, 1, 0])
    question = assay.Question(model, ["a good film"], target=1)
    answer = assay.ExactShapley()(question)
    assert answer.values[0].argmax() == 1
    expected = model.predict_proba(["a good film"])[0, 1] - model.predict_proba([""])[0, 1]
    assert float(answer.values.sum()) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: assay.Question(points, "one string"), KindError, "list"),
        (lambda: assay.Question(points, ["..."]), InputError, "at least one word"),
        (lambda: assay.Question(points, ["good"], removal=assay.MaskToken(3)), KindError, "string"),
        (lambda: assay.Question(points, ["", ""]), InputError, "at least one word"),
        (lambda: assay.Question(points, ["good", None]), InputError, "None as input 1.*Leave"),
        (lambda: assay.Question(points, pd.Series(["a", np.nan])), InputError, "nan as input 1"),
        (lambda: assay.Question(points, [b"good"]), InputError, r"b'good' as input 0.*decode"),
        (lambda: assay.Question(points, np.array([["good"]])), KindError, r"ravel\(\).tolist"),
        (lambda: assay.Question(points, np.array("good")), KindError, r"ravel\(\).tolist"),
        (
            lambda: assay.Question(points, pd.DataFrame({"review": ["a good film", "bad"]})),
            KindError,
            r"frame\['review'\].tolist\(\)",
        ),
        (
            lambda: assay.Question(points, ["good"], removal=assay.Background(["bad"])),
            InputError,
            r'got Background.*MaskToken\("\[MASK\]"\)',
        ),
        (
            lambda: assay.Question(
                points, pd.DataFrame({"a": ["good"]}), features=assay.Words(), removal=MASK
            ),
            InputError,
            r"frame\['a'\].tolist\(\)",
        ),
        (
            lambda: assay.Question(points, pd.DataFrame({"a": ["so good"]}), removal=MASK),
            KindError,
            r"frame\['a'\].tolist\(\)",
        ),
        (
            lambda: assay.Question(points, torch.ones(1, 2).long(), removal=MASK),
            KindError,
            "tokenizer.mask_token_id",
        ),
        (
            lambda: assay.Question(points, torch.ones(1, 2).long(), features=assay.Words()),
            InputError,
            r"Tokens\(padding=0\)",
        ),
        (
            lambda: assay.Question(points, ["good"]).score(torch.tensor([[99]])),
            InputError,
            "codes from 99 to 99",
        ),
        (
            lambda: assay.Question(points, ["good"], removal=assay.Baseline(0.0)),
            InputError,
            "MaskToken",
        ),
        (
            lambda: assay.Question(lambda t: np.zeros(3), ["good"]).prediction,
            ModelError,
            "one output row",
        ),
        (lambda: assay.Question(lambda t: np.array(t), ["good"]).prediction, KindError, "numbers"),
        (
            lambda: assay.Question(points, torch.zeros(2, 3), features=assay.Words()),
            InputError,
            "texts",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(make, error, words) -> None:
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize("text", ["good film  ", "  good film", "\tgood\n\n", "  "])
def test_spaces_at_either_end_stay(text: str) -> None:
    seen: list[str] = []

    def model(texts: list[str]) -> np.ndarray:
        seen.extend(texts)
        return np.array([float(len(each)) for each in texts])

    assert assay.Question(model, [text, "film"]).prediction.tolist() == [len(text), 4]
    assert text in seen
