"""Words of tokens: pieces of a word are one feature, and a piece of two words is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import assay
from assay.errors import AssayError, InputError, KindError
from assay.inputs.segmentation import pieces_of

TEXTS = ["not raisins!", "so good"]
# [CLS] not rai ##sins ! [SEP] and [CLS] so good [SEP] [PAD] [PAD]
IDS = torch.tensor([[8, 2, 3, 4, 5, 9], [8, 6, 7, 9, 0, 0]])
OFFSETS = [
    [(0, 0), (0, 3), (4, 7), (7, 11), (11, 12), (0, 0)],
    [(0, 0), (0, 2), (3, 7), (0, 0), (0, 0), (0, 0)],
]
WEIGHTS = torch.tensor([0.0, 0, 1, 2, 4, 8, 16, 32, 64, 128])


def total(ids: torch.Tensor) -> torch.Tensor:
    """The sum of the tokens' weights."""
    return WEIGHTS[ids].sum(1)


def question(
    ids: Any = IDS, texts: Any = TEXTS, offsets: Any = OFFSETS, **settings: Any
) -> assay.Question:
    features = assay.TokenWords(texts, offsets, **settings)
    return assay.Question(total, ids, features=features, removal=assay.MaskToken(1))


def test_pieces_of_a_word_are_one_feature_and_places_without_text_are_none() -> None:
    asked = question()
    assert asked.partition.labels.tolist() == [[-1, 0, 1, 1, 1, -1], [-1, 0, 1, -1, -1, -1]]
    answer = assay.ExactShapley()(asked)
    assert answer.names_of(0) == ("not", "raisins")
    # The mark follows its word; [CLS] and [SEP] stay, and have no credit.
    assert answer.values.tolist() == [[1.0, 14.0], [16.0, 32.0]]
    assert answer.base.tolist() == [192.0, 192.0]


def test_another_split_makes_a_mark_a_word() -> None:
    answer = assay.ExactShapley()(question(split=r"\w+|[^\w\s]"))
    assert answer.names_of(0) == ("not", "raisins", "!")
    assert answer.values[0].tolist() == [1.0, 6.0, 8.0]


def test_offsets_come_as_tensors_arrays_or_lists() -> None:
    expected = question().partition.labels.tolist()
    for offsets in (torch.tensor(OFFSETS), np.array(OFFSETS), tuple(map(tuple, OFFSETS))):
        assert question(offsets=offsets).partition.labels.tolist() == expected


def test_the_space_before_a_word_is_its_own_and_bytes_of_one_emoji_are_one_word() -> None:
    # Byte pairs: "so", " 😡" in three tokens of bytes, each of which says the whole.
    asked = question(torch.tensor([[2, 3, 4, 5]]), ["so 😡"], [[(0, 2), (2, 4), (3, 4), (3, 4)]])
    assert asked.partition.labels.tolist() == [[0, 1, 1, 1]]
    assert asked.partition.names == ("so", "😡")


def test_a_token_of_two_words_is_refused_by_name() -> None:
    with pytest.raises(InputError) as refusal:
        question(torch.tensor([[2, 3]]), ["one of the few"], [[(0, 3), (3, 10)]])
    assert "' of the'" in refusal.value.got
    assert "'of' and 'the'" in refusal.value.got
    assert "text 0" in refusal.value.got
    # A mark before the first word is nobody's, and no second word.
    assert question(torch.tensor([[2]]), ['"so'], [[(0, 3)]]).partition.labels.tolist() == [[0]]


def test_words_that_were_cut_off_are_none() -> None:
    answer = assay.ExactShapley()(question(torch.tensor([[2, 3]]), ["a b c d"], [[(2, 3), (6, 7)]]))
    assert tuple(answer.names) == ("b", "d")


def test_some_of_the_inputs_keep_their_own_words() -> None:
    one = assay.ExactShapley()(question().part(1, 2))
    assert one.values.tolist() == [[16.0, 32.0]]
    assert one.names_of(0) == ("so", "good")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: assay.TokenWords("a text", OFFSETS), KindError, "list of texts"),
        (lambda: assay.TokenWords(TEXTS, 3), KindError, "pair for each token"),
        (lambda: assay.TokenWords(TEXTS, OFFSETS, split=""), InputError, "regular expression"),
        (
            lambda: assay.Question(total, IDS.float(), features=assay.TokenWords(TEXTS, OFFSETS)),
            KindError,
            "integers for TokenWords",
        ),
        (lambda: question(ids=IDS[:, :5]), InputError, "with 5 offsets for each"),
        (lambda: question(ids=IDS[:1]), InputError, "1 texts"),
        (lambda: question(texts=["not", "so good"]), InputError, "from 0 to 3"),
        (lambda: question(offsets=[[(0, 0)] * 6] * 2), InputError, "lies in a word"),
        (
            lambda: assay.Question(len, ["a"], features=assay.TokenWords(["a"], [[(0, 1)]])),
            InputError,
            r"Words\(\)",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, error: type[AssayError], words: str) -> None:
    with pytest.raises(error, match=words) as refusal:
        make()
    assert refusal.value.advice


ALPHABET = "ab é😡中न्'\".,! \u0301\u200d"


@settings(max_examples=200, deadline=None)
@given(data=st.data(), text=st.text(alphabet=ALPHABET, min_size=1, max_size=14))
def test_pooling_over_any_cut_of_words_is_the_credit_of_words(data: Any, text: str) -> None:
    """Whatever pieces a tokenizer cuts words into, their weights add up to the words'."""
    words = [word for word, _ in pieces_of(text) if word]
    if not words:
        return
    # Cut every piece of the text (word and what follows it) anywhere.
    offsets, owners, place, number = [], [], 0, -1
    for word, behind in pieces_of(text):
        number += word != ""
        width = len(word) + len(behind)
        cuts = sorted(data.draw(st.sets(st.integers(1, width - 1)))) if width > 1 else []
        for start, stop in zip([0, *cuts], [*cuts, width]):
            offsets.append((place + start, place + stop))
            owners.append(number if word else None)
        place += width
    ids = torch.arange(len(offsets))[None]
    weights = torch.tensor(
        data.draw(st.lists(st.integers(-9, 9), min_size=ids.numel(), max_size=ids.numel()))
    )
    table = torch.cat([weights, torch.zeros(1, dtype=torch.int64)]).double()
    asked = assay.Question(
        lambda rows: table[rows].sum(1),
        ids,
        features=assay.TokenWords([text], [offsets]),
        removal=assay.MaskToken(len(offsets)),
    )
    # The slow twin: one token at a time, into a dictionary by word.
    slow = [0.0] * len(words)
    for owner, weight in zip(owners, weights.tolist()):
        if owner is not None:
            slow[owner] += weight
    assert tuple(asked.partition.names) == tuple(words)
    changed = asked.partition.pool(table[ids])
    assert changed.tolist() == [slow]


def test_a_network_of_hugging_face_gives_credit_to_whole_words() -> None:
    """A real tokenizer's pieces and offsets, and a BERT behind its word embeddings."""
    import torchvision_names  # noqa: F401  before transformers, which asks torchvision

    transformers = pytest.importorskip("transformers", reason="needs the extra 'test'")
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra 'architectures'")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += ["how", "many", "rai", "##sin", "##s", "are", "dry", "?"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    pieces = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    pieces.normalizer = tokenizers.normalizers.BertNormalizer()
    pieces.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    pieces.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=pieces, pad_token="[PAD]", mask_token="[MASK]"
    )
    texts = ["How many raisins are dry?", "raisins!"]
    encoded = tokenizer(texts, padding=True, return_tensors="pt", return_offsets_mapping=True)
    config = transformers.BertConfig(
        vocab_size=len(tokens),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = transformers.BertForSequenceClassification(config).double().eval()
    asked = assay.Question(
        assay.wrap(net, output="logits"),
        {"input_ids": encoded["input_ids"]},
        1,
        features=assay.TokenWords(texts, encoded["offset_mapping"]),
        removal=assay.MaskToken(tokenizer.mask_token_id),
        context={"attention_mask": assay.Aligned(encoded["attention_mask"])},
    )
    before = assay.ExactShapley()(asked)
    assert before.own_names == (("How", "many", "raisins", "are", "dry"), ("raisins",))
    layer = "bert.embeddings.word_embeddings"
    behind = assay.ExactShapley()(asked.after(layer, features=assay.Inherited()))
    torch.testing.assert_close(behind.values, before.values, rtol=0, atol=1e-12)
    for removal in (None, assay.Baseline(0.0)):
        features = assay.Inherited()
        path = assay.IntegratedGradients(64)(asked.after(layer, features=features, removal=removal))
        assert path.gap is not None
        assert float(path.gap.abs().max()) < 1e-9
        assert path.values[1, 1:].tolist() == [0.0] * 4
