"""Encoders of the transformers library from a configuration: each attention implementation gives the
maps that the library itself hands out, and the slopes at them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torchvision_names  # noqa: F401  before transformers, which asks torchvision

import pytest
import torch
from torch import Tensor

import assay
from assay.methods.base import Method

transformers = pytest.importorskip("transformers", reason="needs the extra 'test'")

DOUBLE = torch.float64

# These round the weights of their eager attention to single precision, whatever goes in.
SINGLE = ("llama", "vit")
IMPLEMENTATIONS = ("eager", "sdpa")
IDS = torch.tensor([[2, 5, 6, 7, 3, 0, 0], [2, 8, 9, 10, 11, 12, 3]])
ALL: tuple[Callable[..., Method], ...] = (
    assay.AttentionRollout,
    assay.RawAttention,
    assay.AttentionRelevance,
    assay.TransformerRelevance,
)


def made(name: str, implementation: str) -> Any:
    small = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
    if name == "bert":
        config = transformers.BertConfig(
            vocab_size=20, hidden_size=8, max_position_embeddings=16, num_labels=3,
            attn_implementation=implementation, **small,
        )  # fmt: skip
        kind = transformers.BertForSequenceClassification
    elif name == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=20, n_embd=8, n_layer=2, n_head=2, n_positions=16, num_labels=3,
            pad_token_id=0, bos_token_id=2, eos_token_id=3, attn_implementation=implementation,
        )  # fmt: skip
        kind = transformers.GPT2ForSequenceClassification
    elif name == "llama":
        # Two queries share a key, places are turned into queries and keys.
        config = transformers.LlamaConfig(
            vocab_size=20, hidden_size=16, num_key_value_heads=2, max_position_embeddings=16,
            num_labels=3, pad_token_id=0, bos_token_id=2, eos_token_id=3,
            attn_implementation=implementation, **{**small, "num_attention_heads": 4},
        )  # fmt: skip
        kind = transformers.LlamaForSequenceClassification
    else:
        config = transformers.ViTConfig(
            hidden_size=8, image_size=16, patch_size=4, num_labels=3,
            attn_implementation=implementation, **small,
        )  # fmt: skip
        kind = transformers.ViTForImageClassification
    net = kind(config).eval().double()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            drawn = torch.randn(parameter.shape, generator=draw, dtype=DOUBLE)
            parameter.copy_(drawn * 0.3)
    return net


def asked(name: str, net: Any) -> assay.Question:
    model = assay.wrap(net, output="logits")
    if name == "vit":
        draw = torch.Generator().manual_seed(3)
        pictures = torch.rand(2, 3, 16, 16, generator=draw, dtype=DOUBLE)
        return assay.Question(model, pictures, target=1, features=assay.Patches(4))
    return assay.Question(
        model,
        IDS,
        target=1,
        removal=assay.MaskToken(4),
        context={"attention_mask": assay.Aligned((IDS != 0).long())},
    )


def by_the_library(name: str, net: Any) -> tuple[list[Tensor], list[Tensor], list[int]]:
    """Weights and slopes of every layer, and the token that each row's answer is read at."""
    if name == "vit":
        pictures = torch.rand(
            2, 3, 16, 16, generator=torch.Generator().manual_seed(3), dtype=DOUBLE
        )
        given = net(pictures, output_attentions=True)
        read = [0, 0]
    else:
        mask = (IDS != 0).long()
        given = net(input_ids=IDS, attention_mask=mask, output_attentions=True)
        read = [0, 0] if name == "bert" else [4, 6]
    maps = list(given.attentions)
    slopes = torch.autograd.grad(given.logits[:, 1].sum(), maps)
    return [each.detach() for each in maps], list(slopes), read


def close(one: Tensor, other: Tensor, tolerance: float) -> None:
    scale = max(1.0, float(one.abs().max()))
    torch.testing.assert_close(one, other, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "vit"])
def test_maps_and_slopes_are_those_of_the_library(name: str, implementation: str) -> None:
    maps, slopes, read = by_the_library(name, made(name, "eager"))
    rows, tokens = torch.arange(2), maps[0].shape[-1]
    rolled = carried = torch.eye(tokens, dtype=DOUBLE).expand(2, -1, -1)
    for weights, slope in zip(maps, slopes):
        mixed = weights.mean(1) + torch.eye(tokens, dtype=DOUBLE)
        rolled = mixed / mixed.sum(2, keepdim=True) @ rolled
        carried = carried + (weights * slope).clamp_min(0).mean(1) @ carried
    question = asked(name, made(name, implementation))
    before = tokens - 16 if name == "vit" else 0
    for method, expected in (
        (assay.RawAttention(interpolation="nearest"), maps[-1].mean(1)),
        (assay.AttentionRollout(interpolation="nearest"), rolled),
        (assay.AttentionRelevance(interpolation="nearest"), carried),
    ):
        rounded = implementation == "sdpa" and name in SINGLE
        values = method(question).values
        close(values, expected[rows, read][:, before:], 1e-6 if rounded else 1e-10)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "vit"])
def test_every_implementation_has_one_answer(name: str, kind: Callable[..., Method]) -> None:
    one, other = (
        kind()(asked(name, made(name, implementation))).values for implementation in IMPLEMENTATIONS
    )
    close(one, other, 1e-6 if name in SINGLE else 1e-10)
    if name != "vit":
        # What the mask hides gets nothing.
        assert not bool(one[0, 5:].any())
