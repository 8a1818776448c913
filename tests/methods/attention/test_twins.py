"""Every method of attention beside a second program: a small transformer written out in numpy, with
its maps, their slopes by a complex step, and the paper's relevance layer by layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

import assay
from toys import randn, randomised

Array = NDArray[Any]
EXACT = {"rtol": 0, "atol": 1e-10}
TOKENS, WIDTH, HEADS, CLASSES = 4, 4, 2, 3
STABILISER = 1e-9  # of the z-plus rule


class Block(nn.Module):
    """Attention and a dense layer, each behind a norm and beside a skip."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 6), nn.Linear(6, width)

    def forward(self, h: Tensor) -> Tensor:
        n = self.before(h)
        q, k, v = (
            part(n).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)
        h = h + self.out(mixed.transpose(1, 2).flatten(2))
        return h + self.down(torch.tanh(self.up(self.between(h))))


class Encoder(nn.Module):
    def __init__(self, depth: int = 2, read: str = "first") -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(depth))
        self.head = nn.Linear(WIDTH, CLASSES)
        self.read = read

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x[:, 0] if self.read == "first" else x.mean(1))


def encoder(depth: int = 2, read: str = "first", seed: int = 3) -> nn.Module:
    return randomised(Encoder(depth, read), seed).double()


# --- the same in numpy, one input at a time


def weights(layer: nn.Linear) -> tuple[Array, Array]:
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()


def dense(layer: nn.Linear, x: Array) -> Array:
    w, b = weights(layer)
    return x @ w.T + b


def norm(layer: nn.LayerNorm, x: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    size = np.sqrt((centred**2).mean(-1, keepdims=True) + layer.eps)
    return centred / size * layer.weight.detach().numpy() + layer.bias.detach().numpy()


def heads(x: Array) -> Array:
    return x.reshape(len(x), HEADS, -1).transpose(1, 0, 2)


def softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.real.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def step(block: Any, h: Array, given: Array | None, trace: list[Array]) -> Array:
    """One block; `given` stands in for its attention weights."""
    n = norm(block.before, h)
    q, k, v = (heads(dense(part, n)) for part in (block.query, block.key, block.value))
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
    attention = softmax(scores) if given is None else given
    mixed = attention @ v
    joined = mixed.transpose(1, 0, 2).reshape(len(h), -1)
    added = dense(block.out, joined)
    middle = h + added
    m = norm(block.between, middle)
    up = dense(block.up, m)
    down = dense(block.down, np.tanh(up))
    trace += [h, n, q, k, v, scores, attention, mixed, joined, added, middle, m, up, down]
    return middle + down


PARTS = 14


def run(net: Any, x: Array, given: dict[int, Array] | None = None) -> tuple[Array, list[Array]]:
    trace: list[Array] = []
    h = x
    for i, block in enumerate(net.blocks):
        h = step(block, h, (given or {}).get(i), trace)
    read = h[0] if net.read == "first" else h.mean(0)
    trace.append(h)
    return dense(net.head, read[None])[0], trace


def maps_and_slopes(net: Any, x: Array, target: int) -> tuple[list[Array], list[Array]]:
    """The weights of every layer, and the slope at each of them by a complex step."""
    maps = [run(net, x)[1][PARTS * i + 6] for i in range(len(net.blocks))]
    slopes = []
    for i, attention in enumerate(maps):
        slope = np.zeros_like(attention)
        for place in np.ndindex(attention.shape):
            moved = attention.astype(complex)
            moved[place] += 1e-30j
            slope[place] = run(net, x.astype(complex), {i: moved})[0][target].imag / 1e-30
        slopes.append(slope)
    return maps, slopes


def read_rows(net: Any, matrix: Array) -> Array:
    return matrix[0] if net.read == "first" else matrix.mean(0)


# --- the methods


def rollout(net: Any, x: Array, target: int) -> Array:
    total = np.eye(TOKENS)
    for attention in maps_and_slopes(net, x, target)[0]:
        mixed = attention.mean(0) + np.eye(TOKENS)
        total = mixed / mixed.sum(1, keepdims=True) @ total
    return read_rows(net, total)


def raw(net: Any, x: Array, target: int) -> Array:
    return read_rows(net, maps_and_slopes(net, x, target)[0][-1].mean(0))


def relevance(net: Any, x: Array, target: int) -> Array:
    total = np.eye(TOKENS)
    for attention, slope in zip(*maps_and_slopes(net, x, target)):
        total = total + np.maximum(slope * attention, 0).mean(0) @ total
    return read_rows(net, total)


def z_plus(w: Array, x: Array, relevance_out: Array) -> Array:
    up, down = np.maximum(w, 0), np.minimum(w, 0)
    above, below = np.maximum(x, 0), np.minimum(x, 0)
    share = relevance_out / (above @ up.T + below @ down.T + STABILISER)
    return above * (share @ up) + below * (share @ down)


def shared(layer: nn.Linear, x: Array, relevance_out: Array) -> Array:
    return z_plus(weights(layer)[0], x, relevance_out)


def branches(a: Array, b: Array, relevance_out: Array) -> tuple[Array, Array]:
    share = relevance_out / (a + b)
    one, other = a * share, b * share
    size = abs(one.sum()) + abs(other.sum())
    whole = relevance_out.sum()
    return (
        one * abs(one.sum()) / size * whole / one.sum(),
        other * abs(other.sum()) / size * whole / other.sum(),
    )


def of_attention(net: Any, x: Array, target: int) -> list[Array]:
    """The relevance of every layer's weights, from 1 at the target."""
    _, trace = run(net, x)
    last = trace[-1]
    read = last[0] if net.read == "first" else last.mean(0)
    back = z_plus(weights(net.head)[0][target : target + 1], read[None], np.ones((1, 1)))
    r = np.zeros_like(last)
    if net.read == "first":
        r[0] = back[0]
    else:
        # A mean is a sum with fixed weights, stabilised.
        r = last / len(last) * (back[0] / (read + 1e-6 * np.sign(read)))
    found = []
    for i in reversed(range(len(net.blocks))):
        block = net.blocks[i]
        parts = trace[PARTS * i : PARTS * (i + 1)]
        _, n, q, k, v, scores, attention, mixed, joined, added, middle, m, up, down = parts
        h = parts[0]
        r_middle, r_down = branches(middle, down, r)
        # Activation and norm hand on what they get.
        r_middle = r_middle + shared(block.up, m, shared(block.down, np.tanh(up), r_down))
        r_h, r_added = branches(h, added, r_middle)
        r_mixed = heads(shared(block.out, joined, r_added))
        share = r_mixed / mixed / 2
        r_attention = attention * (share @ v.transpose(0, 2, 1))
        r_value = v * (attention.transpose(0, 2, 1) @ share)
        found.append(r_attention)
        share = r_attention / (scores * np.sqrt(q.shape[-1])) / 2
        r_query, r_key = q * (share @ k), k * (share.transpose(0, 2, 1) @ q)
        r_n = sum(
            shared(layer, n, each.transpose(1, 0, 2).reshape(len(n), -1))
            for layer, each in (
                (block.query, r_query),
                (block.key, r_key),
                (block.value, r_value),
            )
        )
        r = r_h + r_n
    return found[::-1]


def transformer_relevance(net: Any, x: Array, target: int) -> Array:
    total = np.eye(TOKENS)
    _, slopes = maps_and_slopes(net, x, target)
    for slope, worth in zip(slopes, of_attention(net, x, target)):
        total = total + np.maximum(slope * worth, 0).mean(0) @ total
    return read_rows(net, total)


TWINS = {
    "AttentionRollout": rollout,
    "RawAttention": raw,
    "AttentionRelevance": relevance,
    "TransformerRelevance": transformer_relevance,
}


@pytest.mark.parametrize("read", ["first", "mean"])
@pytest.mark.parametrize("name", TWINS)
def test_every_method_is_what_its_formula_gives_written_out(name: str, read: str) -> None:
    net, x = encoder(read=read), randn(3, TOKENS, WIDTH, seed=11, dtype=torch.float64)
    expected = np.stack([TWINS[name](net, row.numpy(), 1) for row in x])
    answer = assay.METHODS[name]()(assay.Question(net, x, target=1))
    values = answer.values.view(3, TOKENS, WIDTH)
    scale = max(1.0, float(np.abs(expected).max()))
    torch.testing.assert_close(values[..., 0] / scale, torch.as_tensor(expected) / scale, **EXACT)
    # Every number of a token has the token's credit.
    assert bool((values == values[..., :1]).all())


# --- two rows of tokens


class Cross(nn.Module):
    """A stream of queries that attends to another, one head, no norms: what is left is attention."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor, y: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        scores = self.query(x) @ self.key(y).mT
        attention = scores.softmax(-1) if given is None else given
        return attention @ self.value(y), attention


class Pair(nn.Module):
    """Two inputs that look at themselves and at each other at once; then one of them at both."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(Cross() for _ in range(6))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.heard(x, y)[0]

    def heard(self, x: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = []

        def mixed(i: int, one: Tensor, other: Tensor) -> Tensor:
            given, attention = self.steps[i](one, other)
            maps.append(attention)
            return torch.tanh(one + given)

        x, y = mixed(0, x, x), mixed(1, y, y)
        x, y = mixed(2, x, y), mixed(3, y, x)
        x = mixed(5, mixed(4, x, x), y)
        return self.head(x[:, 0]), maps


def test_two_inputs_that_look_at_each_other_follow_equations_5_to_11() -> None:
    net: Any = randomised(Pair(), 5).double()
    x = randn(2, 3, WIDTH, seed=1, dtype=torch.float64)
    y = randn(2, 5, WIDTH, seed=2, dtype=torch.float64)
    outputs, maps = net.heard(x.clone().requires_grad_(), y.clone().requires_grad_())
    slopes = torch.autograd.grad(outputs[:, 2].sum(), maps)
    answer = assay.AttentionRelevance()(assay.Question(net, (x, y), target=2))
    for row in range(2):
        worth = [np.maximum((g * a).detach()[row].numpy(), 0) for a, g in zip(maps, slopes)]
        r_x, r_y = np.eye(3), np.eye(5)
        r_xy, r_yx = np.zeros((3, 5)), np.zeros((5, 3))
        # Each looks at itself: equations 6 and 7.
        r_x, r_xy = r_x + worth[0] @ r_x, r_xy + worth[0] @ r_xy
        r_y, r_yx = r_y + worth[1] @ r_y, r_yx + worth[1] @ r_yx
        # Each looks at the other, as both were: equations 8 to 11.
        r_xy, r_x, r_yx, r_y = (
            r_xy + scaled(r_x).T @ worth[2] @ scaled(r_y),
            r_x + worth[2] @ r_yx,
            r_yx + scaled(r_y).T @ worth[3] @ scaled(r_x),
            r_y + worth[3] @ r_xy,
        )
        r_x, r_xy = r_x + worth[4] @ r_x, r_xy + worth[4] @ r_xy
        r_xy, r_x = (
            r_xy + scaled(r_x).T @ worth[5] @ scaled(r_y),
            r_x + worth[5] @ r_yx,
        )
        tokens = answer.values.view(2, 8, WIDTH)[row, :, 0].numpy()
        np.testing.assert_allclose(tokens, np.concatenate([r_x[0], r_xy[0]]), rtol=0, atol=1e-10)


def scaled(r: Array) -> Array:
    """Equations 8 and 9, and the identity."""
    mixed = r - np.eye(len(r))
    rows = mixed.sum(1, keepdims=True)
    return mixed / np.where(rows == 0, 1.0, rows) + np.eye(len(r))
