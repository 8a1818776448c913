"""Random torch modules: stacks of parts on rows of numbers, and networks on images, series, volumes,
sequences, tokens and several tensors.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from fuzz.parts import PARTS, dense
from fuzz.predictors import Predictor


class Out(nn.Module):
    """The network with its outputs in another form."""

    def __init__(self, net: nn.Module, form: str) -> None:
        super().__init__()
        self.net = net
        self.form = form

    def forward(self, *xs: Tensor, **context: Any) -> Any:
        out = self.net(*xs, **context)
        if self.form == "tuple":
            return out, out.sum(1)
        if self.form == "dict":
            return {"logits": out, "note": "text"}
        if self.form == "column":
            return out[:, 0]
        if self.form == "nested":
            return {"all": [out]}
        if self.form == "grid":
            return out[:, :, None] * torch.ones(2, dtype=out.dtype)
        return out


def _pool(dims: int, draw: random.Random) -> nn.Module:
    kind = draw.choice(("AdaptiveAvgPool", "AdaptiveMaxPool"))
    return getattr(nn, f"{kind}{dims}d")(1)


class Convolutions(nn.Module):
    """Convolutions with norms, shortcuts and pools, in one, two or three dimensions."""

    def __init__(self, dims: int, channels: int, outputs: int, draw: random.Random) -> None:
        super().__init__()
        conv = getattr(nn, f"Conv{dims}d")
        width = draw.choice((2, 4))
        groups = draw.choice((1, 2))
        padding = draw.choice(("zeros", "reflect", "circular"))
        self.stem = conv(channels, width, 3, padding=1, padding_mode=padding)
        self.norm = draw.choice((
            lambda: getattr(nn, f"BatchNorm{dims}d")(width),
            lambda: nn.GroupNorm(1, width),
            lambda: getattr(nn, f"InstanceNorm{dims}d")(width),
            nn.Identity,
        ))()  # fmt: skip
        stride = draw.choice((1, 2))
        self.inner = conv(width, width, 3, padding=1, groups=groups, stride=stride)
        self.shortcut = draw.random() < 0.5 and stride == 1
        self.act = draw.choice(
            (nn.ReLU(), nn.ReLU(inplace=True), nn.SiLU(), nn.Hardswish(inplace=True))
        )
        self.between = draw.choice((
            nn.Identity(), getattr(nn, f"MaxPool{dims}d")(2, ceil_mode=True),
            getattr(nn, f"Dropout{dims}d")(0.2), nn.Upsample(scale_factor=2),
            getattr(nn, f"ConvTranspose{dims}d")(width, width, 2, stride=2),
        ))  # fmt: skip
        self.pool = _pool(dims, draw)
        self.view = draw.choice(("flatten", "view", "reshape", "mean"))
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.norm(self.stem(x)))
        inner = self.inner(h)
        h = self.act(inner + h) if self.shortcut else self.act(inner)
        h = self.between(h)
        if self.view == "mean":
            return self.head(h.flatten(2).mean(2))
        h = self.pool(h)
        if self.view == "view":
            return self.head(h.view(h.size(0), -1))
        return self.head(h.reshape(len(h), -1) if self.view == "reshape" else h.flatten(1))


class Tokens(nn.Module):
    """Embeddings, something along the words, and a head; with a mask if one is handed over."""

    def __init__(self, outputs: int, draw: random.Random) -> None:
        super().__init__()
        self.kind = draw.choice(("mean", "gru", "encoder", "bag", "conv", "positions"))
        self.embedding = nn.Embedding(11, 4, padding_idx=draw.choice((None, 0)))
        self.positions = nn.Embedding(32, 4)
        self.gru = nn.GRU(4, 4, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.bag = nn.EmbeddingBag(11, 4, mode=draw.choice(("sum", "mean")))
        self.conv = nn.Conv1d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, outputs)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.kind == "bag":
            return self.head(self.bag(ids))
        h = self.embedding(ids)
        if self.kind == "gru":
            return self.head(self.gru(h)[0][:, -1])
        if self.kind == "encoder":
            h = self.encoder(h, src_key_padding_mask=None if mask is None else mask == 0)
        elif self.kind == "conv":
            h = self.conv(h.transpose(1, 2)).transpose(1, 2)
        elif self.kind == "positions":
            h = h * self.positions(torch.arange(ids.shape[1]))
        weight = torch.ones_like(ids) if mask is None else mask
        weight = weight[..., None].to(h.dtype)
        return self.head((h * weight).sum(1) / weight.sum(1).clamp_min(1))


class Steps(nn.Module):
    """A sequence of vectors."""

    def __init__(self, width: int, outputs: int, draw: random.Random) -> None:
        super().__init__()
        self.kind = draw.choice(("lstm", "attention", "loop", "permute"))
        self.lstm = nn.LSTM(width, 4, batch_first=True)
        self.attention = nn.MultiheadAttention(width, 1, batch_first=True)
        self.cell = nn.RNNCell(width, 4)
        self.head = nn.Linear(4, outputs)
        self.other = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "lstm":
            return self.head(self.lstm(x)[1][0][-1])
        if self.kind == "attention":
            return self.other(self.attention(x, x, x)[0].mean(1))
        if self.kind == "loop":
            h = None
            for step in range(x.shape[1]):
                h = self.cell(x[:, step], h)
            return self.head(h)
        return self.other(x.permute(1, 0, 2).cumsum(0)[-1])


class Two(nn.Module):
    """Two tensors, one of them an image."""

    def __init__(self, outputs: int, draw: random.Random) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.linear = nn.Linear(3, 2)
        self.head = nn.Linear(2, outputs)

    def forward(self, image: Tensor, row: Tensor) -> Tensor:
        return self.head(self.conv(image).relu().mean((2, 3)) * self.linear(row).sigmoid())


class WithContext(nn.Module):
    """Takes a scale and a gate beside its inputs."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, scale: Tensor | None = None, power: float = 1.0) -> Tensor:
        out = self.net(x)
        if scale is not None:
            out = out * scale.to(out.dtype).reshape(-1, 1)
        return out * power


def _seeded(make: Any, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(random.Random(seed))


def _finish(net: nn.Module, draw: random.Random, dtype: torch.dtype, training: bool) -> nn.Module:
    net = net.to(dtype)
    net.train(training)
    if draw.random() < 0.3:
        for parameter in net.parameters():
            parameter.requires_grad_(draw.random() < 0.5)
    if draw.random() < 0.2:
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.ones_like(parameter)
    if draw.random() < 0.1:
        for module in net.modules():
            if draw.random() < 0.3:
                module.train(True)
    return net


FORMS = (None,) * 8 + ("tuple", "dict", "column", "nested", "grid")
DTYPES = (torch.float64,) * 5 + (torch.float32,) * 5 + (torch.float16, torch.bfloat16)


def rows(draw: random.Random) -> Predictor:
    """A stack of parts on rows of numbers."""
    width = draw.choice((2, 3, 4, 5))
    names = [draw.choice(list(PARTS)) for _ in range(draw.choice((1, 1, 2, 3)))]
    outputs = draw.choice((1, 2, 3))
    context = draw.random() < 0.1

    def make(inner: random.Random) -> nn.Module:
        stack = [(f"part{i}", PARTS[name](width, inner)) for i, name in enumerate(names)]
        if inner.random() < 0.4:
            stack.insert(0, ("first", dense(width, inner)))
        stack.append(("head", nn.Linear(width, outputs)))
        net: nn.Module = nn.Sequential(OrderedDict(stack))
        return WithContext(net) if context else net

    traits = frozenset().union(*(getattr(m, "traits", ()) for m in _seeded(make, 0).modules()))
    return _predictor(draw, make, "+".join(names), ((width,),), traits, outputs, context)


def _predictor(
    draw: random.Random,
    make: Any,
    kind: str,
    shapes: tuple[tuple[int, ...], ...],
    traits: frozenset[str],
    outputs: int,
    context: bool = False,
    tokens: bool = False,
) -> Predictor:
    seed = draw.randrange(10**6)
    form = draw.choice(FORMS)
    dtype = draw.choice(DTYPES)
    training = draw.random() < 0.06

    def fresh() -> nn.Module:
        def whole(inner: random.Random) -> nn.Module:
            net = make(inner)
            net = Out(net, form) if form else net
            return _finish(net, inner, dtype, training)

        return _seeded(whole, seed)

    return Predictor(
        family="network", kind=kind, fresh=fresh, shapes=shapes, dtype=dtype, traits=traits,
        form=form, outputs=outputs, context=context, tokens=tokens,
    )  # fmt: skip


def images(draw: random.Random) -> Predictor:
    dims = draw.choice((1, 2, 2, 2, 3))
    channels = draw.choice((1, 2, 3))
    sides = {1: (7,), 2: draw.choice(((4, 4), (5, 3), (6, 6))), 3: (3, 4, 3)}[dims]
    outputs = draw.choice((1, 3))

    def make(inner: random.Random) -> nn.Module:
        return Convolutions(dims, channels, outputs, inner)

    return _predictor(draw, make, f"conv{dims}d", ((channels, *sides),), frozenset(), outputs)


def tokens(draw: random.Random) -> Predictor:
    outputs = draw.choice((1, 2, 3))
    length = draw.choice((3, 5))
    make = lambda inner: Tokens(outputs, inner)  # noqa: E731
    return _predictor(draw, make, "tokens", ((length,),), frozenset(), outputs, tokens=True)


def steps(draw: random.Random) -> Predictor:
    outputs = draw.choice((1, 2))
    shape = (draw.choice((2, 3)), draw.choice((1, 2)))
    make = lambda inner: Steps(shape[1], outputs, inner)  # noqa: E731
    return _predictor(draw, make, "steps", (shape,), frozenset(), outputs)


def two(draw: random.Random) -> Predictor:
    make = lambda inner: Two(3, inner)  # noqa: E731
    return _predictor(draw, make, "two tensors", ((1, 3, 2), (3,)), frozenset(), 3)


def network(draw: random.Random) -> Predictor:
    """Any of these."""
    kind = draw.choices((rows, images, tokens, steps, two), (6, 3, 1, 1, 1))[0]
    return kind(draw)
