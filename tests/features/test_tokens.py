"""Tokens of sequences of numbers: padding owns nothing, names come from a vocabulary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import assay
from assay.errors import AssayError, InputError, KindError

VOCABULARY = {"[PAD]": 0, "[MASK]": 1, "so": 2, "good": 3, "not": 4}
NUMBERS = torch.tensor([[2, 3, 0, 0], [4, 2, 3, 2]])


def good(rows: torch.Tensor) -> torch.Tensor:
    """1 for 'good', -3 more beside 'not': an interaction of the two."""
    is_good, is_not = (rows == 3).any(1).float(), (rows == 4).any(1).float()
    return is_good - 3 * is_good * is_not


def question(numbers: Any = NUMBERS, padding: Any = 0, vocabulary: Any = None) -> assay.Question:
    features = assay.Tokens(padding, vocabulary)
    return assay.Question(good, numbers, features=features, removal=assay.MaskToken(1))


def test_padding_receives_nothing_and_is_never_masked() -> None:
    assert question().partition.labels.tolist() == [[0, 1, -1, -1], [0, 1, 2, 3]]
    rows = torch.zeros(2, dtype=torch.int64)
    asked = question().masked(rows, torch.zeros(2, 4, dtype=torch.bool), rows)
    assert asked.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0]]
    answer = assay.ExactShapley()(question())
    # 'good' alone is 1; beside 'not' both share -3: 1 - 1.5 and -1.5.
    expected = [[0.0, 1.0, 0.0, 0.0], [-1.5, 0.0, -0.5, 0.0]]
    np.testing.assert_allclose(answer.values, expected, atol=1e-10)


@pytest.mark.parametrize("method", [assay.ExactShapley(), assay.KernelShap(), assay.Occlusion()])
def test_it_does_not_matter_where_and_how_far_rows_are_padded(method: assay.Method) -> None:
    alone = method(question(torch.tensor([[4, 2, 3]]))).values[0]
    before = torch.tensor([[0, 0, 4, 2, 3]])
    behind = torch.tensor([[4, 2, 3, 0, 0], [2, 2, 2, 2, 2]])
    for numbers in (before, behind):
        values = method(question(numbers)).values[0]
        np.testing.assert_allclose(values[:3], alone, atol=1e-10)
        assert values[3:].tolist() == [0.0] * (len(values) - 3)


@pytest.mark.parametrize(
    "vocabulary",
    [VOCABULARY, {number: token for token, number in VOCABULARY.items()}, list(VOCABULARY)],
)
def test_names_are_those_of_the_vocabulary(vocabulary: Any) -> None:
    answer = assay.ExactShapley()(question(vocabulary=vocabulary))
    assert answer.names_of(0) == ("so", "good")
    assert answer.names_of(1) == ("not", "so", "good", "so")
    assert question(NUMBERS[:1], vocabulary=vocabulary).partition.names == ("so", "good")
    assert question().partition.own_names == (("2", "3"), ("4", "2", "3", "2"))
    # Thousands of words are no line of a report.
    assert repr(assay.Tokens(0, VOCABULARY)) == "Tokens(padding=0, vocabulary=<5>)"


def test_several_numbers_may_be_no_tokens_and_none_may() -> None:
    assert question(padding=(0, 4)).partition.labels.tolist() == [[0, 1, -1, -1], [-1, 0, 1, 2]]
    assert question(padding=()).partition.labels.tolist() == [[0, 1, 2, 3]] * 2
    # A number that eight bits cannot hold fills no place.
    small = question(NUMBERS.to(torch.uint8), padding=-100)
    assert small.partition.labels.tolist() == [[0, 1, 2, 3]] * 2


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: assay.Tokens("0"), KindError, "padding"),
        (lambda: assay.Tokens(0, vocabulary=3), KindError, "get_vocab"),
        (
            lambda: assay.Question(good, NUMBERS.float(), features=assay.Tokens(0)),
            KindError,
            r"ids.long\(\)",
        ),
        (lambda: question(NUMBERS[:, :, None]), InputError, r"\(n, length\)"),
        (lambda: question((NUMBERS, NUMBERS)), InputError, "attention mask as context"),
        (lambda: question(torch.zeros_like(NUMBERS)), InputError, "no padding"),
        (
            lambda: assay.Question(len, ["a text"], features=assay.Tokens(0)),
            InputError,
            r"Texts take Words\(\)",
        ),
    ],
)
def test_what_has_no_tokens_is_refused(make: Any, error: type[AssayError], words: str) -> None:
    with pytest.raises(error, match=words):
        make()
