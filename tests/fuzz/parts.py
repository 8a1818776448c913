"""Parts of random networks on rows of numbers: (n, width) to (n, width).

Each is a way of writing a forward that people use and tracers, hooks and chunks trip over. A part
says by `traits` what is known of it: "random" (draws in its forward), "crowd" (rows see each
other), "state" (what is kept between calls changes the outputs).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize
from torch.utils.checkpoint import checkpoint


class Dense(nn.Module):
    """A linear map and an activation."""

    def __init__(self, width: int, activation: nn.Module) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.linear(x))


class InPlace(nn.Module):
    """Writes into what it made itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.linear(x)
        h.clamp_(-2, 2)
        h += 0.5
        h[:, 0] = h[:, 0] * 2
        return h.sin_()


class BreaksBackward(nn.Module):
    """Overwrites what its own slope needs: it has outputs and no gradient."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.linear(x).tanh()
        h += 0.5
        return h


class WritesInput(nn.Module):
    """Writes into what it was handed, as `ReLU(inplace=True)` in front does."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(0.5).add_(1.0)


class ReadsThenOverwrites(nn.Module):
    """Its inner layer's output is overwritten by what comes behind it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.inner(x).mul_(1.5))


class BranchOnDefault(nn.Module):
    """An argument whose default decides the way, and one that nobody hands over."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor, scale: float | None = None, *, flip: bool = False) -> Tensor:
        if scale is None:
            scale = 0.7
        h = torch.sigmoid(self.linear(x)) * scale
        return -h if flip else h


class BranchOnType(nn.Module):
    """Does something else for what is no tensor, or no float."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Any) -> Tensor:
        if not isinstance(x, Tensor):
            x = torch.as_tensor(x)
        if x.dtype not in (torch.float32, torch.float64):
            x = x.to(self.linear.weight.dtype)
        if x.requires_grad or torch.is_grad_enabled():
            return functional.softplus(self.linear(x))
        return functional.softplus(self.linear(x))


class BranchOnShape(nn.Module):
    """Loops over columns and asks for the width, never for the number of rows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width) * 0.5)

    def forward(self, x: Tensor) -> Tensor:
        total = torch.zeros_like(x[:, 0])
        for column in range(x.shape[1]):
            total = total + x[:, column] * self.weight[column]
        if x.size(-1) % 2:
            return torch.stack([total, *x.unbind(1)[1:]], dim=1).tanh()
        return x * total[:, None].sigmoid()


class BranchOnValue(nn.Module):
    """A way for each row by its own values, without a Python branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        positive = (x.sum(1, keepdim=True) > 0).expand_as(x)
        return torch.where(positive, self.first(x), self.second(x).sin())


class Routed(nn.Module):
    """A mixture of experts: rows are picked, answered by their expert and put back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(width, width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        out = torch.zeros_like(x)
        choice = (x[:, 0] > 0).long()
        for number, expert in enumerate(self.experts):
            rows = (choice == number).nonzero().squeeze(1)
            if len(rows):
                out.index_add_(0, rows, expert(x[rows]).tanh())
        return out


class Caches(nn.Module):
    """Keeps its last activation and counts its calls; the answer does not depend on it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.last: Tensor | None = None
        self.seen: list[int] = []
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        h = self.linear(x).tanh()
        self.last = h
        self.seen.append(len(x))
        self.calls += 1
        return h


class KeepsByBuffer(nn.Module):
    """Adds to a buffer what it has seen; the answer does not depend on it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
        return x.sin()


class CountsCalls(nn.Module):
    """Answers by how often it was called: a recurrent state that is not reset."""

    traits = frozenset({"state"})

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.linear(x) * (1 + 0.1 * self.calls)


class CountsInBuffer(nn.Module):
    """The same with the number in a buffer."""

    traits = frozenset({"state"})

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.tanh() * (1 + 0.1 * self.calls)


class Remembers(nn.Module):
    """Mixes in the hidden state of the last call, when it fits."""

    traits = frozenset({"state"})

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(width, width)
        self.hidden: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.hidden is None or len(self.hidden) != len(x):
            self.hidden = torch.zeros_like(x)
        self.hidden = self.cell(x, self.hidden).detach()
        return self.hidden + x


class _Pair(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.linear(x)
        return h.tanh(), h.sum(1)


class TupleInside(nn.Module):
    """A layer that gives a tuple."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pair = _Pair(width)

    def forward(self, x: Tensor) -> Tensor:
        h, total = self.pair(x)
        return h + 0.1 * total[:, None]


class _Named(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"hidden": self.linear(x), "width": x.shape[1]}


class DictInside(nn.Module):
    """A layer that gives a dict with a tensor and a number."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.named = _Named(width)

    def forward(self, x: Tensor) -> Tensor:
        found = self.named(x)
        return functional.gelu(found["hidden"]) / found["width"] ** 0.5


class _Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class OwnFunction(nn.Module):
    """A custom autograd function."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return _Cube.apply(self.linear(x).tanh())


class StraightThrough(nn.Module):
    """Rounds, with the slope of not rounding."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return _Straight.apply(2 * x) + x.sin()


class NoGrad(nn.Module):
    """A part of the forward without gradients."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            gate = self.linear(x).sigmoid()
        return x * gate


class EnableGrad(nn.Module):
    """Asks for a gradient inside its own forward, as energies and score models do."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            point = x.detach().clone().requires_grad_()
            energy = self.linear(point).tanh().sum()
            (force,) = torch.autograd.grad(energy, point)
        return x + force


class Views(nn.Module):
    """Views, transposes, chunks and a write through a view."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        h = x.clone()
        h.view(-1, self.width)[:, -1].mul_(2)
        h = h.t().contiguous().t()
        left, right = h.split([1, self.width - 1], dim=1)
        return torch.cat([right, left.exp().clamp(max=5)], dim=1).flip(1).roll(1, 1)


class RowsOfView(nn.Module):
    """`.view` where rows that are not contiguous would fail."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.view(x.size(0), -1)).cos()


class Shared(nn.Module):
    """One layer used twice."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.act = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.linear(self.act(self.linear(x))))


class TwoNames(nn.Module):
    """One layer under two names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one = nn.Linear(width, width)
        self.other = self.one

    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.one(x).tanh())


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one = nn.Linear(width, width, bias=False)
        self.other = nn.Linear(width, width)
        self.other.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.one(x).relu())


class _Scaled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight * 0.5


class Parametrised(nn.Module):
    """A weight that is computed from others."""

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        linear = nn.Linear(width, width)
        if kind == "weight norm":
            linear = parametrizations.weight_norm(linear)
        elif kind == "spectral norm":
            linear = parametrizations.spectral_norm(linear)
        elif kind == "orthogonal":
            linear = parametrizations.orthogonal(linear)
        elif kind == "old weight norm":
            linear = nn.utils.weight_norm(linear)
        else:
            parametrize.register_parametrization(linear, "weight", _Scaled())
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).tanh()


class Hooked(nn.Module):
    """Hooks that change what goes in, comes out, or comes back."""

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.kept: list[Any] = []
        if kind == "forward":
            self.linear.register_forward_hook(lambda m, i, o: o.tanh())
        elif kind == "pre":
            self.linear.register_forward_pre_hook(lambda m, i: (i[0] * 2,))
        elif kind == "kwargs":
            self.linear.register_forward_hook(lambda m, a, k, o: o.sin(), with_kwargs=True)
        elif kind == "store":
            self.linear.register_forward_hook(lambda m, i, o: self.kept.append(o.shape))
        elif kind == "backward":
            self.linear.register_full_backward_hook(lambda m, i, o: (i[0] * 0.5,))
        else:
            self.linear.weight.register_hook(lambda grad: grad * 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class Norms(nn.Module):
    """Normalisation within a row, or by running statistics."""

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        self.norm: nn.Module
        if kind == "batch":
            self.norm = nn.BatchNorm1d(width)
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)
        elif kind == "layer":
            self.norm = nn.LayerNorm(width)
        elif kind == "group":
            self.norm = nn.GroupNorm(1, width)
        else:
            self.norm = nn.RMSNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class BatchStatistics(nn.Module):
    """Batch norm without running statistics: rows see each other."""

    traits = frozenset({"crowd"})

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(torch.cat([x, torch.zeros_like(x[:1])]))[: len(x)]


class PythonBranchOnBatch(nn.Module):
    """A Python branch on all rows at once."""

    traits = frozenset({"crowd"})

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        if float(x.detach().sum()) > 0:
            return x.tanh()
        return x.tanh() * 2


class Noisy(nn.Module):
    """Draws in its forward, in evaluation mode too."""

    traits = frozenset({"random"})

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "dropout":
            return functional.dropout(x, 0.3, training=True)
        return x + 0.1 * torch.randn_like(x)


class Attends(nn.Module):
    """Self-attention over the columns of a row."""

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.lift = nn.Linear(1, 4)
        if kind == "multihead":
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        elif kind == "encoder":
            self.attention = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.1, batch_first=True)
        self.drop = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.lift(x[:, :, None])
        if self.kind == "multihead":
            h, _ = self.attention(h, h, h)
        elif self.kind == "encoder":
            h = self.attention(h)
        else:
            h = functional.scaled_dot_product_attention(h, h, h)
        return self.drop(h).squeeze(2)


class Recurrent(nn.Module):
    """A recurrent layer that walks along the columns."""

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        make = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[kind]
        self.cell = make(1, 3, batch_first=True, bidirectional=kind == "gru")
        self.drop = nn.LazyLinear(1)
        self.drop(torch.zeros(1, 6 if kind == "gru" else 3))

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.cell(x.unsqueeze(-1))
        return self.drop(h)[..., 0]


class Cells(nn.Module):
    """A recurrent cell in a Python loop."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(1, width)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for column in x.split(1, dim=1):
            state = self.cell(column, state)
        return state[0]


class Sorted(nn.Module):
    """Order statistics and sums along the row."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        top, where = x.sort(dim=1, descending=True)
        return top.cumsum(1).scatter_add(1, where, x)


class OtherPrecision(nn.Module):
    """Computes a part in another number type."""

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype).tanh().to(x.dtype)


class Spectrum(nn.Module):
    """Goes through complex numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x, dim=1)
        spectrum[:, 0] = spectrum[:, 0] * 0.5
        return torch.fft.irfft(spectrum, n=x.shape[1], dim=1)


class Checkpointed(nn.Module):
    """Computes its activations again on the way back."""

    def __init__(self, width: int, reentrant: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self._inner, x, use_reentrant=self.reentrant)

    def _inner(self, x: Tensor) -> Tensor:
        return self.linear(x).tanh()


class Buckets(nn.Module):
    """Embeds the bucket that a number falls into: no slope through it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 1)
        self.register_buffer("edges", torch.tensor([-1.0, 0.0, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        buckets = torch.bucketize(x.detach().contiguous(), self.edges.to(x.dtype))
        return self.embedding(buckets).squeeze(-1) + x


class Bilinear(nn.Module):
    """A product of a row with itself, and a distance."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bilinear = nn.Bilinear(width, width, width)
        self.centres = nn.Parameter(torch.randn(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.bilinear(x, x).tanh() + torch.cdist(x, self.centres)


class Plain(nn.Module):
    """Weights that no module declared."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weights = [torch.randn(width, width) / width**0.5]

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.weights[0].to(x.dtype)).erf()


class Script(nn.Module):
    """A scripted inner part."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = torch.jit.script(nn.Sequential(nn.Linear(width, width), nn.Tanh()))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Mapped(nn.Module):
    """A forward for one row, mapped over all."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.func.vmap(lambda row: row * (row @ self.weight).tanh())(x)


class SetsGradMode(nn.Module):
    """Leaves gradients switched off behind itself, as old code does."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        before = torch.is_grad_enabled()
        torch.set_grad_enabled(False)
        scale = x.abs().amax(1, keepdim=True) + 1
        torch.set_grad_enabled(before)
        return x / scale


class Detached(nn.Module):
    """Nothing of it has a slope."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.data.sign() + x.detach()


class Undefined(nn.Module):
    """Not a number for some rows."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return (x + 1).log() + x.sqrt().nan_to_num(0.0)


class Raises(nn.Module):
    """Fails for some rows."""

    traits = frozenset({"crowd"})

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        if bool((x.detach().sum(1) > 3).any()):
            raise ValueError("sums above three are not served")
        return x


ACTIVATIONS = (
    nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid, nn.SiLU, nn.ELU, nn.Softplus, nn.Mish, nn.Identity,
    nn.Hardswish, nn.LeakyReLU,
)  # fmt: skip


def dense(width: int, draw: Any) -> nn.Module:
    return Dense(width, draw.choice(ACTIVATIONS)())


def _kinds(part: type[nn.Module], *kinds: Any) -> Any:
    def make(width: int, draw: Any) -> nn.Module:
        return part(width, draw.choice(kinds))

    return make


def _alone(part: type[nn.Module]) -> Any:
    def make(width: int, draw: Any) -> nn.Module:
        return part(width)

    return make


PARTS: dict[str, Any] = {
    "dense": dense,
    "parametrised": _kinds(
        Parametrised, "weight norm", "spectral norm", "orthogonal", "old weight norm", "scaled"
    ),
    "hooked": _kinds(Hooked, "forward", "pre", "kwargs", "store", "backward", "weight"),
    "norms": _kinds(Norms, "batch", "layer", "group", "rms"),
    "noisy": _kinds(Noisy, "dropout", "normal"),
    "attends": _kinds(Attends, "multihead", "encoder", "function"),
    "recurrent": _kinds(Recurrent, "lstm", "gru", "rnn"),
    "other precision": _kinds(OtherPrecision, torch.float64, torch.float16, torch.bfloat16),
    "checkpointed": _kinds(Checkpointed, True, False),
} | {
    part.__name__: _alone(part)
    for part in (
        InPlace, BreaksBackward, WritesInput, ReadsThenOverwrites, BranchOnDefault, BranchOnType,
        BranchOnShape, BranchOnValue, Routed, Caches, KeepsByBuffer, CountsCalls, CountsInBuffer, Remembers,
        TupleInside, DictInside, OwnFunction, StraightThrough, NoGrad, EnableGrad, Views,
        RowsOfView, Shared, TwoNames, Tied, BatchStatistics, PythonBranchOnBatch, Cells, Sorted,
        Spectrum, Buckets, Bilinear, Plain, Script, Mapped, SetsGradMode, Detached, Undefined,
        Raises,
    )
}  # fmt: skip


def fan(module: nn.Module) -> float:
    return math.sqrt(sum(p.numel() for p in module.parameters()))
