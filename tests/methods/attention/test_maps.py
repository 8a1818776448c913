"""Which maps are heard, of whom, and which are refused: every spelling, masks, shapes, grids."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import assay
from assay.errors import AbilityError, InputError, KindError, SettingError
from assay.methods.base import Method
from toys import randn, randomised, tanh_net

DOUBLE = torch.float64
EXACT = {"rtol": 0, "atol": 1e-10}
WIDTH, HEADS = 4, 2
ALL: tuple[Callable[..., Method], ...] = (
    assay.AttentionRollout,
    assay.RawAttention,
    assay.AttentionRelevance,
    assay.TransformerRelevance,
)


class Mixer(nn.Module):
    """An encoder of one kind of layer, and a head that reads the first token."""

    def __init__(self, mix: Callable[..., Tensor], depth: int = 2, **parts: nn.Module) -> None:
        super().__init__()
        self.mix = mix
        self.parts = nn.ModuleList(
            nn.ModuleDict({"attention": nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)})
            for _ in range(depth)
        )
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor, **context: Any) -> Tensor:
        for part in self.parts:
            x = torch.tanh(x + self.mix(part["attention"], x, **context))
        return self.head(x[:, 0])


def mixer(mix: Callable[..., Tensor], depth: int = 2) -> nn.Module:
    return randomised(Mixer(mix, depth), 4).double()


def split(layer: nn.MultiheadAttention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (rows, heads, tokens, width of a head)."""
    all_three = functional.linear(x, layer.in_proj_weight, layer.in_proj_bias)
    q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in all_three.chunk(3, -1))
    return q, k, v


def join(layer: nn.MultiheadAttention, mixed: Tensor) -> Tensor:
    out: Tensor = layer.out_proj(mixed.transpose(1, 2).flatten(2))
    return out


def module(layer: Any, x: Tensor) -> Tensor:
    return layer(x, x, x, need_weights=False)[0]


def module_with_weights(layer: Any, x: Tensor) -> Tensor:
    return layer(x, x, x)[0]


def length_first(layer: Any, x: Tensor) -> Tensor:
    turned = x.transpose(0, 1)
    given = functional.multi_head_attention_forward(
        turned, turned, turned, WIDTH, HEADS, layer.in_proj_weight, layer.in_proj_bias, None, None,
        False, 0.0, layer.out_proj.weight, layer.out_proj.bias, training=False,
    )  # fmt: skip
    return given[0].transpose(0, 1)


def fused(layer: Any, x: Tensor) -> Tensor:
    return join(layer, functional.scaled_dot_product_attention(*split(layer, x)))


def by_hand(layer: Any, x: Tensor) -> Tensor:
    q, k, v = split(layer, x)
    weights = functional.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1)
    return join(layer, functional.dropout(weights, 0.1, training=False) @ v)


def by_einsum(layer: Any, x: Tensor) -> Tensor:
    q, k, v = (part.transpose(1, 2) for part in split(layer, x))
    scores = torch.einsum("bqhd,bkhd->bqhk", q, k) / math.sqrt(q.shape[-1])
    mixed = torch.einsum("bqhk,bkhd->bqhd", scores.softmax(-1), v)
    out: Tensor = layer.out_proj(mixed.flatten(2))
    return out


def transposed(layer: Any, x: Tensor) -> Tensor:
    q, k, v = split(layer, x)
    weights = (k @ q.mT / math.sqrt(q.shape[-1])).softmax(-2)
    return join(layer, (v.mT @ weights).mT)


def merged(layer: Any, x: Tensor) -> Tensor:
    q, k, v = (part.flatten(0, 1) for part in split(layer, x))
    weights = (torch.bmm(q, k.mT) / math.sqrt(q.shape[-1])).softmax(-1)
    return join(layer, torch.bmm(weights, v).unflatten(0, (len(x), HEADS)))


def merged_heads_first(layer: Any, x: Tensor) -> Tensor:
    q, k, v = (part.transpose(0, 1).flatten(0, 1) for part in split(layer, x))
    bias = torch.zeros(1, 1, 1, dtype=x.dtype)
    scores = torch.baddbmm(bias, q, k.mT, beta=0.0, alpha=1 / math.sqrt(q.shape[-1]))
    mixed = torch.bmm(scores.softmax(-1), v).unflatten(0, (HEADS, len(x))).transpose(0, 1)
    return join(layer, mixed)


def heads_first(layer: Any, x: Tensor) -> Tensor:
    q, k, v = (part.transpose(0, 1) for part in split(layer, x))
    weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
    return join(layer, (weights @ v).transpose(0, 1))


def head_by_head(layer: Any, x: Tensor) -> Tensor:
    mixed = []
    for q, k, v in zip(*(part.unbind(1) for part in split(layer, x))):
        mixed.append((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v)
    return join(layer, torch.stack(mixed, 1))


SPELLINGS = {
    each.__name__: each
    for each in (
        module, module_with_weights, length_first, by_hand, by_einsum, transposed, merged,
        merged_heads_first, head_by_head,
    )
}  # fmt: skip


def inputs(n: int = 3, tokens: int = 5) -> Tensor:
    return randn(n, tokens, WIDTH, seed=6, dtype=DOUBLE)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_attention_is_heard_in_every_spelling(spelling: str, kind: Callable[..., Method]) -> None:
    plain = kind()(assay.Question(mixer(fused), inputs(), target=1))
    other = kind()(assay.Question(mixer(SPELLINGS[spelling]), inputs(), target=1))
    torch.testing.assert_close(other.values, plain.values, **EXACT)
    assert other.facts["layers"] == 2


def test_as_many_inputs_as_heads_are_not_taken_for_each_other() -> None:
    """Weights (heads, inputs, ...) of as many inputs as heads have the shape of (inputs, heads, ...)."""
    with pytest.raises(AbilityError, match="attention weights"):
        assay.AttentionRollout()(assay.Question(mixer(heads_first), inputs(HEADS), target=1))
    for n in (HEADS, 2 * HEADS):
        plain = assay.AttentionRollout()(assay.Question(mixer(fused), inputs(n), target=1))
        other = assay.AttentionRollout()(assay.Question(mixer(by_hand), inputs(n), target=1))
        torch.testing.assert_close(other.values, plain.values, **EXACT)


def by_weights(net: Any, x: Tensor, **how: Any) -> list[Tensor]:
    """The weights that `nn.MultiheadAttention` gives, layer by layer: (rows, heads, tokens, tokens)."""
    maps = []
    for part in net.parts:
        mixed, weights = part["attention"](x, x, x, average_attn_weights=False, **how)
        maps.append(weights.detach())
        x = torch.tanh(x + mixed)
    return maps


def test_raw_attention_is_what_need_weights_gives() -> None:
    net, x = mixer(module), inputs()
    maps = by_weights(net, x)
    for layer in (0, 1, -1, -2):
        answer = assay.RawAttention(layer=layer)(assay.Question(net, x, target=1))
        tokens = answer.values.view(3, 5, WIDTH)[..., 0]
        torch.testing.assert_close(tokens, maps[layer].mean(1)[:, 0], **EXACT)
    for heads, expected in (("max", maps[-1].amax(1)), ("min", maps[-1].amin(1))):
        answer = assay.RawAttention(heads=heads)(assay.Question(net, x, target=1))
        torch.testing.assert_close(answer.values.view(3, 5, WIDTH)[..., 0], expected[:, 0], **EXACT)


def test_a_layer_that_there_is_not_is_refused() -> None:
    for layer in (2, -3):
        with pytest.raises(InputError, match="a layer from 0 to 1"):
            assay.RawAttention(layer=layer)(assay.Question(mixer(module), inputs(), target=1))


def test_the_token_that_is_read_is_seen_or_said() -> None:
    net, x = mixer(module), inputs()
    seen = assay.RawAttention()(assay.Question(net, x, target=1)).values
    said = assay.RawAttention(token=0)(assay.Question(net, x, target=1)).values
    other = assay.RawAttention(token=-1)(assay.Question(net, x, target=1)).values
    torch.testing.assert_close(seen, said, **EXACT)
    last = by_weights(net, x)[-1].mean(1)[:, -1]
    torch.testing.assert_close(other.view(3, 5, WIDTH)[..., 0], last, **EXACT)
    with pytest.raises(AbilityError, match="a token of the 5"):
        assay.RawAttention(token=5)(assay.Question(net, x, target=1))


# --- torch's encoder, its fast path, and masks


class TorchEncoder(nn.Module):
    def __init__(self, depth: int, heads: int, norm_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            8, heads, 6, 0.0, batch_first=True, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor, padding: Tensor | None = None, causal: bool = False) -> Tensor:
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        h = self.encoder(
            x,
            mask=mask if causal else None,
            src_key_padding_mask=None if padding is None else padding,
        )
        return self.head(h[:, 0] if not causal else h[:, -1])


def encoder_by_hand(
    net: Any, x: Tensor, padding: Tensor, causal: bool
) -> tuple[Tensor, list[Tensor]]:
    """The outputs of one input (tokens, 8), and the weights (heads, tokens, tokens) of each layer."""
    tokens = len(x)
    allowed = ~padding[None].expand(tokens, -1)
    if causal:
        allowed = allowed & torch.ones(tokens, tokens, dtype=torch.bool).tril()
    maps = []
    for layer in net.encoder.layers:
        attend = layer.self_attn

        def attention(h: Tensor, attend: Any = attend) -> Tensor:
            three = functional.linear(h, attend.in_proj_weight, attend.in_proj_bias).chunk(3, -1)
            q, k, v = (part.unflatten(-1, (attend.num_heads, -1)).movedim(1, 0) for part in three)
            scores = q @ k.mT / math.sqrt(q.shape[-1])
            weights = scores.masked_fill(~allowed, -math.inf).softmax(-1)
            maps.append(weights)
            return attend.out_proj((weights @ v).movedim(0, 1).flatten(1))

        if layer.norm_first:
            x = x + attention(layer.norm1(x))
            x = x + layer.linear2(functional.relu(layer.linear1(layer.norm2(x))))
        else:
            x = layer.norm1(x + attention(x))
            x = layer.norm2(x + layer.linear2(functional.relu(layer.linear1(x))))
    return net.head(x[-1] if causal else x[0]), maps


@given(
    depth=st.integers(1, 3),
    heads=st.sampled_from([1, 2, 4]),
    tokens=st.integers(2, 6),
    norm_first=st.booleans(),
    causal=st.booleans(),
    lengths=st.lists(st.integers(1, 6), min_size=3, max_size=3),
    seed=st.integers(0, 1000),
)
def test_random_encoders_with_masks_are_as_written_out_by_hand(
    depth: int,
    heads: int,
    tokens: int,
    norm_first: bool,
    causal: bool,
    lengths: list[int],
    seed: int,
) -> None:
    net = randomised(TorchEncoder(depth, heads, norm_first), seed).double()
    x = randn(3, tokens, 8, seed=seed, dtype=DOUBLE)
    # What a causal last token reads is never padding: rows are padded behind for the first token.
    kept = torch.tensor([tokens if causal else min(length, tokens) for length in lengths])
    padding = torch.arange(tokens)[None] >= kept[:, None]
    context = {"padding": assay.Aligned(padding), "causal": assay.Shared(causal)}
    question = assay.Question(net, x, target=2, context=context)
    answers = {
        kind: kind()(question).values.view(3, tokens, 8)[..., 0]
        for kind in (assay.RawAttention, assay.AttentionRollout, assay.AttentionRelevance)
    }
    for row in range(3):
        score, maps = encoder_by_hand(net, x[row].clone().requires_grad_(), padding[row], causal)
        slopes = torch.autograd.grad(score[2], maps)
        rolled, carried = torch.eye(tokens, dtype=DOUBLE), torch.eye(tokens, dtype=DOUBLE)
        for weights, slope in zip(maps, slopes):
            mixed = weights.detach().mean(0) + torch.eye(tokens, dtype=DOUBLE)
            rolled = mixed / mixed.sum(1, keepdim=True) @ rolled
            carried = carried + (slope * weights).detach().clamp_min(0).mean(0) @ carried
        at = -1 if causal else 0
        for kind, expected in (
            (assay.RawAttention, maps[-1].detach().mean(0)),
            (assay.AttentionRollout, rolled),
            (assay.AttentionRelevance, carried),
        ):
            torch.testing.assert_close(answers[kind][row], expected[at], **EXACT)
        # What was masked out gets nothing.
        assert not bool(answers[assay.AttentionRollout][row][padding[row]].any())


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_queries_that_see_no_key_mix_nothing(kind: Callable[..., Method]) -> None:
    """Rows padded before, in a causal network: the first tokens see nothing at all."""
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    mask[:, :2] = False

    def blind(layer: Any, x: Tensor) -> Tensor:
        mixed = functional.scaled_dot_product_attention(*split(layer, x), attn_mask=mask)
        return join(layer, mixed.flip(2))

    answer = kind(token=0)(assay.Question(mixer(blind), inputs(), target=1))
    assert bool(torch.isfinite(answer.values).all())


def test_the_fast_path_answers_and_the_maps_are_heard() -> None:
    """Without slopes torch runs an encoder layer as one kernel, which nobody hears."""
    net = randomised(TorchEncoder(2, 2, False), 1).double()
    x = randn(2, 4, 8, seed=3, dtype=DOUBLE)
    calls = []
    plain = torch._transformer_encoder_layer_fwd

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return plain(*args, **kwargs)

    torch._transformer_encoder_layer_fwd = counted
    try:
        answer = assay.AttentionRollout()(assay.Question(net, x, target=0))
    finally:
        torch._transformer_encoder_layer_fwd = plain
    assert calls
    assert answer.facts["maps"] == "2 x 4 x 4, 2 x 4 x 4"


# --- closed forms


def test_rollout_of_uniform_attention_and_of_one_layer() -> None:
    def uniform(layer: Any, x: Tensor) -> Tensor:
        weights = (0 * (x @ x.mT)).softmax(-1)
        return weights @ x

    tokens = 5
    for depth in (1, 2, 3):
        answer = assay.AttentionRollout()(assay.Question(mixer(uniform, depth), inputs(), target=1))
        row = answer.values.view(3, tokens, WIDTH)[..., 0]
        expected = torch.full((3, tokens), (1 - 2.0**-depth) / tokens, dtype=DOUBLE)
        expected[:, 0] += 2.0**-depth
        torch.testing.assert_close(row, expected, **EXACT)
        torch.testing.assert_close(row.sum(1), torch.ones(3, dtype=DOUBLE), **EXACT)


def test_attention_to_oneself_alone_moves_nothing() -> None:
    def alone(layer: Any, x: Tensor) -> Tensor:
        eye = torch.eye(x.shape[1], dtype=torch.bool)
        weights = (x @ x.mT).masked_fill(~eye, -math.inf).softmax(-1)
        return weights @ x

    net = mixer(alone)
    first = torch.eye(5, dtype=DOUBLE)[0].expand(3, -1)
    for method in (assay.AttentionRollout(), assay.RawAttention()):
        answer = method(assay.Question(net, inputs(), target=1))
        torch.testing.assert_close(answer.values.view(3, 5, WIDTH)[..., 0], first, **EXACT)


def test_relevance_of_one_layer_and_head() -> None:
    def single(layer: Any, x: Tensor) -> Tensor:
        return (x @ x.mT).softmax(-1) @ x

    net, x = mixer(single, 1), inputs()
    leaf = x.clone()
    weights = (leaf @ leaf.mT).softmax(-1).requires_grad_()
    score = net.head(torch.tanh(leaf + weights @ leaf)[:, 0])[:, 1].sum()
    (slopes,) = torch.autograd.grad(score, weights)
    expected = torch.eye(5, dtype=DOUBLE) + (weights * slopes).detach().clamp_min(0)
    answer = assay.AttentionRelevance()(assay.Question(net, x, target=1))
    torch.testing.assert_close(answer.values.view(3, 5, WIDTH)[..., 0], expected[:, 0], **EXACT)


# --- refusals


def windows(layer: Any, x: Tensor) -> Tensor:
    """Attention inside halves of the tokens."""
    halves = x.unflatten(1, (2, -1)).flatten(0, 1)
    return fused(layer, halves).unflatten(0, (len(x), 2)).flatten(1, 2)


def talking(layer: Any, x: Tensor) -> Tensor:
    """Heads whose weights are mixed before they are used."""
    q, k, v = split(layer, x)
    weights = (q @ k.mT).softmax(-1)
    mixed = torch.einsum("gh,bhqk->bgqk", torch.eye(HEADS, dtype=x.dtype) + 0.1, weights)
    return join(layer, mixed @ v)


def over_queries(layer: Any, x: Tensor) -> Tensor:
    """Weights that add up to 1 over the queries, as of slots."""
    q, k, v = split(layer, x)
    return join(layer, 2 * (q @ k.mT).softmax(-2) @ v)


def pooled(layer: Any, x: Tensor) -> Tensor:
    mixed = fused(layer, x.unflatten(1, (-1, 2)).mean(2))
    return mixed.repeat_interleave(2, 1)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("mix", [windows, talking, over_queries, pooled])
def test_what_has_no_map_over_all_tokens_is_refused(
    mix: Callable[..., Tensor], kind: Callable[..., Method]
) -> None:
    with pytest.raises((AbilityError, InputError)):
        kind()(assay.Question(mixer(mix), inputs(3, 6), target=1))


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_network_without_attention_is_refused(kind: Callable[..., Method]) -> None:
    with pytest.raises(AbilityError, match="a network with attention"):
        kind()(assay.Question(tanh_net(), randn(2, 4), target=0))
    # Probabilities are a softmax, too.
    with pytest.raises(AbilityError, match="a network with attention"):
        kind()(assay.Question(nn.Sequential(tanh_net(), nn.Softmax(1)).eval(), randn(2, 4)))


def test_one_layer_that_cannot_be_read_is_not_left_out() -> None:
    """A map of the other layers would be taken for one of the network."""

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = mixer(fused, 1), mixer(talking, 1)

        def forward(self, x: Tensor) -> Tensor:
            part = self.one.parts[0]["attention"]
            x = torch.tanh(x + talking(part, x))
            return self.one(x)

    with pytest.raises(AbilityError, match="something else is made of"):
        assay.AttentionRollout()(assay.Question(Mixed().double(), inputs(), target=1))


def test_a_target_that_hangs_on_no_attention_is_refused() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mixer(fused)

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.net(x)[:, 0] * 0, x.sum((1, 2))], 1)

    for target in (0, 1):
        with pytest.raises(AbilityError, match="a target that hangs on attention"):
            assay.AttentionRelevance()(assay.Question(Beside(), inputs(), target=target))


def test_rollout_refuses_cross_attention_by_name() -> None:
    class Crossed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
            self.head = nn.Linear(WIDTH, 3)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.head((x + self.attention(x, y, y)[0])[:, 0])

    net = randomised(Crossed()).double()
    # Of as many tokens: by their number alone it would be self-attention.
    pair = inputs(2), inputs(2) + 1
    with pytest.raises(AbilityError, match="self-attention alone"):
        assay.AttentionRollout()(assay.Question(net, pair, target=0))
    answer = assay.AttentionRelevance()(assay.Question(net, pair, target=0))
    first, second = answer.values.view(2, 2, 5, WIDTH)[..., 0].unbind(1)
    # x is itself, y what x sees of it.
    torch.testing.assert_close(first, torch.eye(5, dtype=DOUBLE)[0].expand(2, -1), **EXACT)
    assert bool((second > 0).any())


@pytest.mark.parametrize(
    "settings",
    [{"heads": "sum"}, {"interpolation": "cubic"}, {"grid": (0, 4)}],
    ids=lambda settings: next(iter(settings)),
)
def test_bad_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises((SettingError, KindError)):
        assay.AttentionRollout(**settings)


# --- images


class Vision(nn.Module):
    """Patches by a convolution or by hand, tokens before them, and an encoder."""

    def __init__(self, stem: str = "conv", before: int = 1) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, WIDTH, 2, 2)
        self.tokens = nn.Parameter(torch.zeros(1, before, WIDTH))
        self.encoder = mixer(fused)
        self.stem = stem

    def forward(self, x: Tensor) -> Tensor:
        if self.stem == "conv":
            tokens = self.patches(x).flatten(2).mT
        else:
            rows = functional.unfold(x, 2, stride=2).mT
            tokens = functional.linear(rows, self.patches.weight.flatten(1), self.patches.bias)
        return self.encoder(torch.cat([self.tokens.expand(len(x), -1, -1), tokens], 1))


def vision(stem: str = "conv", before: int = 1) -> nn.Module:
    return randomised(Vision(stem, before), 8).double()


def picture() -> Tensor:
    return randn(2, 1, 4, 6, seed=9, dtype=DOUBLE)


def test_the_grid_is_the_convolution_s_or_is_said() -> None:
    for before in (1, 3):
        of_conv, of_rows = (
            method(assay.Question(vision(stem, before), picture(), target=0)).values
            for stem, method in (
                ("conv", assay.AttentionRollout()),
                ("rows", assay.AttentionRollout(grid=(2, 3))),
            )
        )
        torch.testing.assert_close(of_conv, of_rows, **EXACT)
    with pytest.raises(InputError, match="the grid that the 7 tokens lie on"):
        assay.AttentionRollout()(assay.Question(vision("rows"), picture(), target=0))


@pytest.mark.parametrize("grid", [(3, 3), (1, 2), (2, 2), (8, 8)])
def test_a_grid_that_does_not_fit_the_tokens_is_refused(grid: tuple[int, int]) -> None:
    if grid == (2, 2):
        grid = (1, 3)
    with pytest.raises(InputError, match="to fit the tokens"):
        assay.AttentionRollout(grid=grid)(assay.Question(vision(), picture(), target=0))


def test_tokens_before_the_grid_are_left_out_and_patches_are_laid_on_pixels() -> None:
    net, x = vision(before=2), picture()
    tokens = torch.cat([net.tokens.expand(2, -1, -1), net.patches(x).flatten(2).mT], 1)
    whole = assay.AttentionRollout()(assay.Question(net.encoder, tokens.detach(), target=0))
    grid = whole.values.view(2, 8, WIDTH)[:, 2:, 0].view(2, 1, 2, 3)
    nearest = assay.AttentionRollout(interpolation="nearest")(
        assay.Question(net, x, target=0, features=assay.Patches(2))
    )
    torch.testing.assert_close(nearest.values.view(2, 1, 2, 3), grid, **EXACT)
    smooth = assay.AttentionRollout()(assay.Question(net, x, target=0, features=assay.Pixels()))
    expected = functional.interpolate(grid, size=(4, 6), mode="bilinear", align_corners=False)
    torch.testing.assert_close(smooth.values, expected.flatten(1), **EXACT)
    assert smooth.kind == "weight"


def test_inputs_that_are_no_tokens_are_refused() -> None:
    def summed(layer: Any, x: Tensor) -> Tensor:
        return fused(layer, x)

    net = mixer(summed)

    class Longer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x.unflatten(1, (-1, 2)).flatten(2)[..., :WIDTH])

    with pytest.raises(InputError, match="to fit the tokens"):
        assay.AttentionRollout()(assay.Question(Longer(), inputs(3, 6), target=0))


# --- ids


class Language(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(9, WIDTH), nn.Embedding(8, WIDTH)
        self.encoder = mixer(padded)

    def forward(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        h = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        out: Tensor = self.encoder(h, mask=attention_mask)
        return out


def padded(layer: Any, x: Tensor, mask: Tensor) -> Tensor:
    return layer(x, x, x, key_padding_mask=mask == 0, need_weights=False)[0]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_ids_get_one_number_a_token(kind: Callable[..., Method]) -> None:
    net = randomised(Language(), 2).double()
    ids = torch.tensor([[1, 4, 5, 2, 0], [1, 6, 2, 0, 0]])
    mask = (ids != 0).long()
    question = assay.Question(
        net,
        ids,
        target=1,
        features=assay.Tokens(padding=0),
        removal=assay.MaskToken(3),
        context={"attention_mask": assay.Aligned(mask)},
    )
    answer = kind()(question)
    assert answer.values.shape == (2, 4)
    behind = kind()(question.after("words")).values.view(2, 5, WIDTH)[..., 0]
    torch.testing.assert_close(answer.values[0], behind[0, :4], **EXACT)
    torch.testing.assert_close(answer.values[1, :3], behind[1, :3], **EXACT)
    assert float(answer.values[1, 3]) == 0
    # Padding mixes nothing: longer padding changes no number.
    longer = torch.cat([ids, torch.zeros(2, 2, dtype=torch.int64)], 1)
    again = kind()(
        assay.Question(
            net, longer, target=1, features=assay.Tokens(padding=0), removal=assay.MaskToken(3),
            context={"attention_mask": assay.Aligned((longer != 0).long())},
        )
    )  # fmt: skip
    torch.testing.assert_close(again.values, answer.values, **EXACT)
