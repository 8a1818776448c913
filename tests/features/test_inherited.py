"""Behind a layer that keeps places, the features before it: names, padding and groups come along."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assay
from assay.errors import InputError

IDS = torch.tensor([[2, 3, 0, 0], [4, 2, 3, 5]])
VOCABULARY = ["[PAD]", "[MASK]", "so", "good", "not", "bad"]


class Reader(nn.Module):
    """An embedding, a product of neighbours that sees the order of words, two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        words = self.embedding(input_ids)
        if attention_mask is not None:
            words = words * attention_mask[:, :, None].to(words.dtype)
        return self.head(torch.tanh(words).sum(1) + (words[:, 1:] * words[:, :-1]).sum(1))


@pytest.fixture
def reader() -> Reader:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Reader().double().eval()


def asked(reader: nn.Module, features: Any = None, ids: Tensor = IDS) -> assay.Question:
    return assay.Question(
        reader,
        ids,
        1,
        features=features or assay.Tokens(padding=0, vocabulary=VOCABULARY),
        removal=assay.MaskToken(1),
        context={"attention_mask": assay.Aligned((ids != 0).long())},
    )


def twin(reader: Reader, row: Tensor, absent: Tensor, steps: int = 4000) -> list[float]:
    """Integrated gradients of one text along the straight way between embeddings, by the midpoint
    rule, one token after the other.
    """
    with torch.no_grad():
        start = absent.clone()
        end = reader.embedding(row)
        # Padding stays what it is.
        start[row == 0] = end[row == 0]
    credit = [0.0] * len(row)
    mask = (row != 0).double()[:, None]
    for step in range(steps):
        words = (start + (step + 0.5) / steps * (end - start)).requires_grad_()
        shown = words * mask
        hidden = torch.tanh(shown).sum(0) + (shown[1:] * shown[:-1]).sum(0)
        (slope,) = torch.autograd.grad(reader.head(hidden)[1], words)
        for place in range(len(row)):
            credit[place] += float((slope[place] * (end - start)[place]).sum()) / steps
    return credit


@pytest.mark.parametrize("baseline", ["mask token", "zero"])
def test_credit_of_tokens_is_the_path_integral_by_definition(reader: Reader, baseline: str) -> None:
    removal = assay.Baseline(0.0) if baseline == "zero" else None
    behind = asked(reader).after("embedding", features=assay.Inherited(), removal=removal)
    answer = assay.IntegratedGradients(32)(behind)
    assert answer.names_of(0) == ("so", "good")
    assert answer.names_of(1) == ("not", "so", "good", "bad")
    for number, row in enumerate(IDS):
        with torch.no_grad():
            masked = reader.embedding(torch.ones_like(row))
        absent = torch.zeros_like(masked) if baseline == "zero" else masked
        expected = twin(reader, row, absent)
        torch.testing.assert_close(
            answer.values[number], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6
        )
    assert answer.values[0, 2:].tolist() == [0.0, 0.0]
    assert float(answer.gap.abs().max()) < 1e-10


def test_methods_of_masks_and_of_slopes_ask_the_same_players(reader: Reader) -> None:
    before = assay.ExactShapley()(asked(reader))
    behind = assay.ExactShapley()(asked(reader).after("embedding", features=assay.Inherited()))
    torch.testing.assert_close(behind.values, before.values, rtol=0, atol=1e-12)
    assert behind.own_names == before.own_names


def test_words_of_tokens_keep_their_names_behind_the_embedding(reader: Reader) -> None:
    words = assay.TokenWords(
        ["so good", "notso good bad"],
        [[(0, 2), (3, 7), (0, 0), (0, 0)], [(0, 3), (3, 5), (6, 10), (11, 14)]],
    )
    single = asked(reader).after("embedding", features=assay.Inherited())
    pooled = asked(reader, words).after("embedding", features=assay.Inherited())
    tokens = assay.IntegratedGradients(16)(single).values
    answer = assay.IntegratedGradients(16)(pooled)
    assert answer.names_of(1) == ("notso", "good", "bad")
    expected = [
        [*tokens[0, :2].tolist(), 0.0],
        [float(tokens[1, :2].sum()), *tokens[1, 2:].tolist()],
    ]
    torch.testing.assert_close(
        answer.values, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12
    )


def test_some_of_the_inputs_inherit_their_own_features(reader: Reader) -> None:
    behind = asked(reader).after("embedding", features=assay.Inherited())
    whole = assay.IntegratedGradients(8)(behind)
    for number in range(2):
        # Taken before the activations are computed, and after.
        for part in (
            behind.part(number, number + 1),
            asked(reader).part(number, number + 1).after("embedding", features=assay.Inherited()),
        ):
            alone = assay.IntegratedGradients(8)(part)
            torch.testing.assert_close(alone.values[0], whole.values[number], rtol=0, atol=1e-12)
            assert tuple(alone.names_of(0)) == tuple(whole.names_of(number))


def test_several_layers_inherit_from_as_many_inputs() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Embedding(5, 2)
            self.other = nn.Embedding(5, 3)

        def forward(self, question: Tensor, table: Tensor) -> Tensor:
            return self.one(question).sum((1, 2)) * self.other(table).sum((1, 2))

    ids = (torch.tensor([[1, 2]]), torch.tensor([[3, 4, 2]]))
    labels = assay.Labels((torch.tensor([0, 1]), torch.tensor([2, 2, -1])))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = Pair().double()
    before = assay.Question(net, ids, features=labels, removal=assay.Baseline((0, 0)))
    behind = before.after(["one", "other"], features=assay.Inherited())
    expected = assay.ExactShapley()(before).values
    torch.testing.assert_close(assay.ExactShapley()(behind).values, expected, rtol=0, atol=1e-12)


def test_a_layer_without_the_places_and_a_question_before_any_are_refused(reader: Reader) -> None:
    with pytest.raises(InputError, match="in front") as refusal:
        assay.Gradient()(asked(reader).after("head", features=assay.Inherited()))
    assert "Labels" in refusal.value.advice
    with pytest.raises(InputError, match="behind a layer"):
        assay.Question(reader, IDS, 1, features=assay.Inherited())


def test_another_question_before_is_another_question_behind(reader: Reader) -> None:
    words = assay.TokenWords(["ab", "abcd"], [[(0, 1), (1, 2), (0, 0), (0, 0)], [(0, 1)] * 4])
    digests = {
        asked(reader, features).after("embedding", features=assay.Inherited()).digest
        for features in (None, words, assay.Tokens(0, VOCABULARY[::-1]))
    }
    assert len(digests) == 3
