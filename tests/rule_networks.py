"""Small networks of every kind of operation, for what hears a forward operation by operation.

Each is a module in double precision with random weights and a batch of inputs; `NETWORKS` holds them
by name, in the spelling that a user would write.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from toys import randn, randomised

DOUBLE = torch.float64


class Calls(nn.Module):
    """Layers by name, and a function of them and the inputs that is the forward."""

    def __init__(self, forward: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self._forward = forward

    def forward(self, *inputs: Any) -> Any:
        return self._forward(self.layers, *inputs)


def calls(forward: Callable[..., Any], seed: int = 0, **layers: nn.Module) -> nn.Module:
    """A network of layers and a function, in double precision, evaluation mode and random weights."""
    return randomised(Calls(forward, **layers), seed).double()


@dataclass(frozen=True, eq=False)
class Case:
    """A network with the shape of one input.

    Settings:
        make: makes the network.
        shape: of one input.
    """

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]

    def inputs(self, seed: int = 0, rows: int = 3) -> Tensor:
        return randn(rows, *self.shape, seed=100 + seed, dtype=DOUBLE)


def linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias)


def image_net(middle: Callable[[nn.ModuleDict, Tensor], Tensor], seed: int = 0) -> nn.Module:
    """A convolution, what is in the middle of 4 channels of 6 x 6, and a dense layer."""

    def forward(n: nn.ModuleDict, x: Tensor) -> Tensor:
        h = middle(n, n["stem"](x))
        return n["head"](functional.adaptive_avg_pool2d(h, 2).flatten(1))

    return calls(
        forward, seed, stem=nn.Conv2d(2, 4, 3, padding=1), head=linear(16, 3),
        norm=nn.BatchNorm2d(4), again=nn.Conv2d(4, 4, 3, padding=1), group=nn.GroupNorm(2, 4),
        instance=nn.InstanceNorm2d(4, affine=True), prelu=nn.PReLU(4),
    )  # fmt: skip


def image(middle: Callable[[nn.ModuleDict, Tensor], Tensor]) -> Case:
    return Case(lambda: image_net(middle), (2, 6, 6))


def vector_net(middle: Callable[[nn.ModuleDict, Tensor], Tensor], seed: int = 0) -> nn.Module:
    """A dense layer of 8, what is in the middle, and one of 3."""

    def forward(n: nn.ModuleDict, x: Tensor) -> Tensor:
        return n["head"](middle(n, n["stem"](x)))

    return calls(
        forward, seed, stem=linear(5, 8), head=linear(8, 3), again=linear(8, 8),
        gate=linear(8, 8), norm=nn.LayerNorm(8), batch=nn.BatchNorm1d(8), bilinear=nn.Bilinear(8, 8, 8),
        rms=nn.RMSNorm(8),
    )  # fmt: skip


def vector(middle: Callable[[nn.ModuleDict, Tensor], Tensor]) -> Case:
    return Case(lambda: vector_net(middle), (5,))


def sequence_net(middle: Callable[[nn.ModuleDict, Tensor], Any], **layers: nn.Module) -> nn.Module:
    """Steps of 6 numbers, what is in the middle, and a dense layer over their mean."""

    def forward(n: nn.ModuleDict, x: Tensor) -> Tensor:
        h = middle(n, n["stem"](x))
        return n["head"](h.mean(1))

    return calls(forward, stem=linear(4, 6), head=linear(6, 3), **layers)


def sequence(
    middle: Callable[[nn.ModuleDict, Tensor], Any], make: Callable[[], dict[str, nn.Module]]
) -> Case:  # fmt: skip
    return Case(lambda: sequence_net(middle, **make()), (5, 4))


def _residual(n: nn.ModuleDict, h: Tensor) -> Tensor:
    return torch.relu(n["norm"](n["again"](torch.relu(h))) + h)


def _dense(n: nn.ModuleDict, h: Tensor) -> Tensor:
    h = torch.cat([h, torch.relu(n["again"](h))], 1)
    return h[:, :4] + h[:, 4:]


def _self_attention(n: nn.ModuleDict, h: Tensor, **how: Any) -> Tensor:
    given: Tensor = n["attention"](h, h, h, **how)[0]
    return h + given


def _masked(n: nn.ModuleDict, h: Tensor) -> Tensor:
    mask = torch.full((5, 5), -math.inf, dtype=h.dtype).triu(1)
    return _self_attention(n, h, attn_mask=mask, need_weights=False)


def _sdpa(h: Tensor, **how: Any) -> Tensor:
    heads = h.unflatten(-1, (2, 3)).transpose(1, 2)
    given = functional.scaled_dot_product_attention(heads, 2 * heads, heads + 1, **how)
    return given.transpose(1, 2).flatten(2)


def _mha() -> dict[str, nn.Module]:
    return {"attention": nn.MultiheadAttention(6, 2, batch_first=True)}


def _encoder(norm_first: bool, activation: str) -> nn.Module:
    layer = nn.TransformerEncoderLayer(
        6, 2, 12, 0.1, activation, batch_first=True, norm_first=norm_first
    )
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def _written_view(h: Tensor) -> Tensor:
    h = h.clone()
    h[:, :2] = torch.relu(h[:, :2])
    return h


def _parametrised(kind: Callable[[nn.Module], nn.Module]) -> nn.Module:
    net = randomised(nn.Sequential(linear(5, 8), nn.ReLU(), linear(8, 3)), 3)
    kind(net[0])
    return net.eval().double()


IMAGES = {
    "relu": image(lambda n, h: torch.relu(h)),
    "batch_norm": image(lambda n, h: functional.relu(n["norm"](n["again"](torch.relu(h))))),
    "batch_norm first": image(lambda n, h: n["again"](torch.relu(n["norm"](torch.relu(h))))),
    "residual": image(_residual),
    "dense": image(_dense),
    "max_pool 2": image(lambda n, h: functional.max_pool2d(h, 2)),
    "max_pool of relu": image(lambda n, h: functional.max_pool2d(torch.relu(h), 2)),
    "max_pool 3 1": image(lambda n, h: functional.max_pool2d(torch.relu(h), 3, 1, 1)),
    "max_pool 3 2 ceil": image(lambda n, h: functional.max_pool2d(h, 3, 2, 1, ceil_mode=True)),
    "max_pool dilated": image(lambda n, h: functional.max_pool2d(h, 2, 1, 0, 2)),
    "max_pool module": image(lambda n, h: nn.MaxPool2d(2, stride=1, padding=1)(h)),
    "max_pool indices": image(
        lambda n, h: functional.max_pool2d(h, kernel_size=2, return_indices=True)[0]
    ),
    "max_pool tensor": image(lambda n, h: torch.max_pool2d(h, [3, 3], [2, 2])),
    "adaptive_max": image(lambda n, h: functional.adaptive_max_pool2d(h, 3)),
    "lp_pool": image(lambda n, h: functional.lp_pool2d(h, 2, 2)),
    "avg_pool": image(lambda n, h: functional.avg_pool2d(torch.relu(h), 3, 2, 1, ceil_mode=True)),
    "group_norm": image(lambda n, h: n["group"](h)),
    "instance_norm": image(lambda n, h: n["instance"](h)),
    "prelu": image(lambda n, h: n["prelu"](h)),
    "leaky in place": image(lambda n, h: functional.leaky_relu_(h * 1.5, 0.2)),
    "pad": image(lambda n, h: functional.pad(h, (1, 0, 2, 1), value=0.7)),
    "pad reflect": image(lambda n, h: functional.pad(h, (1, 1, 1, 1), mode="reflect")),
    "pad circular": image(lambda n, h: functional.pad(h, (1, 1, 1, 1), mode="circular")),
    "interpolate": image(lambda n, h: functional.interpolate(h, scale_factor=2, mode="bilinear")),
    "interpolate bicubic": image(lambda n, h: functional.interpolate(h, size=9, mode="bicubic")),
    "upsample": image(lambda n, h: nn.Upsample(scale_factor=2)(torch.relu(h))),
    "pixel_shuffle": image(lambda n, h: functional.pixel_shuffle(h, 2).repeat(1, 4, 1, 1)),
    "amax": image(lambda n, h: h + h.amax((2, 3), keepdim=True)),
    "squeeze and excite": image(lambda n, h: h * torch.sigmoid(h.mean((2, 3), keepdim=True))),
    "local response": image(lambda n, h: functional.local_response_norm(h, 2)),
    "unfold": image(lambda n, h: functional.unfold(h, 2).unflatten(1, (4, 4))),
    "maxout": image(lambda n, h: torch.maximum(h, n["again"](h))),
    "hardswish": image(lambda n, h: functional.hardswish(h)),
    "relu6": image(lambda n, h: functional.relu6(3 * h)),
    "normalize": image(lambda n, h: functional.normalize(h, dim=1)),
}  # fmt: skip

VECTORS = {
    "plain": vector(lambda n, h: h),
    "relu": vector(lambda n, h: torch.relu(h)),
    "reused": vector(lambda n, h: torch.relu(n["again"](torch.relu(n["again"](torch.relu(h)))))),
    "gelu": vector(lambda n, h: functional.gelu(h)),
    "gelu tanh": vector(lambda n, h: functional.gelu(h, approximate="tanh")),
    "silu": vector(lambda n, h: functional.silu(h)),
    "elu in place": vector(lambda n, h: functional.elu_(h * 1)),
    "softplus": vector(lambda n, h: functional.softplus(h, 2.0)),
    "tanh": vector(lambda n, h: h.tanh()),
    "sigmoid": vector(lambda n, h: h.sigmoid()),
    "mish": vector(lambda n, h: functional.mish(h)),
    "glu": vector(lambda n, h: functional.glu(torch.cat([h, n["gate"](h)], -1))),
    "swiglu": vector(lambda n, h: functional.silu(n["gate"](h)) * n["again"](h)),
    "softmax": vector(lambda n, h: torch.softmax(h, -1)),
    "log_softmax": vector(lambda n, h: functional.log_softmax(h, dim=1)),
    "logsumexp": vector(lambda n, h: h - torch.logsumexp(h, 1, keepdim=True)),
    "softmin": vector(lambda n, h: functional.softmin(h, dim=-1)),
    "layer_norm": vector(lambda n, h: n["norm"](h)),
    "rms_norm": vector(lambda n, h: n["rms"](h)),
    "rms by hand": vector(lambda n, h: h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)),
    "batch_norm": vector(lambda n, h: n["batch"](h)),
    "square": vector(lambda n, h: h * h),
    "square in place": vector(lambda n, h: (h + 0).mul_(h)),
    "cube": vector(lambda n, h: h * h * h),
    "pow": vector(lambda n, h: h**2),
    "sum of itself": vector(lambda n, h: h + h),
    "difference": vector(lambda n, h: torch.relu(h) - n["again"](h)),
    "rsub": vector(lambda n, h: 1 - torch.sigmoid(h)),
    "quotient": vector(lambda n, h: h / (1 + h.abs())),
    "divided by signal": vector(lambda n, h: 1 / (2 + torch.relu(h))),
    "div in place": vector(lambda n, h: (h * 1).div_(1 + torch.exp(n["gate"](h)))),
    "normalize": vector(lambda n, h: functional.normalize(h)),
    "norm": vector(lambda n, h: h / h.norm(dim=-1, keepdim=True)),
    "std": vector(lambda n, h: (h - h.mean(1, keepdim=True)) / h.std(1, keepdim=True)),
    "var": vector(lambda n, h: h * torch.rsqrt(h.var(1, unbiased=False, keepdim=True) + 1e-5)),
    "max dim": vector(lambda n, h: h + h.max(1, keepdim=True)[0]),
    "max dim values": vector(lambda n, h: h - h.max(dim=1, keepdim=True).values),
    "min dim": vector(lambda n, h: h + h.min(1, keepdim=True)[0]),
    "amin": vector(lambda n, h: h + h.amin(1, keepdim=True)),
    "amax dims": vector(lambda n, h: h + h.view(-1, 2, 4).amax((1, 2)).unsqueeze(1)),
    "maximum": vector(lambda n, h: torch.maximum(h, n["gate"](h))),
    "minimum": vector(lambda n, h: torch.minimum(h, n["gate"](h))),
    "maximum of zero": vector(lambda n, h: torch.maximum(h, torch.zeros_like(h))),
    "clamp": vector(lambda n, h: h.clamp(-0.5, 0.5)),
    "clamp in place": vector(lambda n, h: (h * 2).clamp_(min=0)),
    "written view": vector(lambda n, h: _written_view(h)),
    "chunk": vector(lambda n, h: torch.cat([part * 2 for part in h.chunk(2, 1)], 1)),
    "unbind": vector(lambda n, h: torch.stack(list(reversed(h.unbind(1))), 1)),
    "transposed": vector(lambda n, h: (h.T + 0).T),
    "roll and flip": vector(lambda n, h: h.roll(1, 1) + h.flip(1)),
    "gather": vector(lambda n, h: h.gather(1, torch.arange(7, -1, -1).expand(len(h), 8))),
    "index": vector(lambda n, h: h[:, [1, 0, 3, 2, 5, 4, 7, 6]]),
    "where constant": vector(lambda n, h: torch.where(torch.arange(8) < 4, h, -h)),
    "masked_fill": vector(lambda n, h: h.masked_fill(torch.arange(8) < 4, 0.5)),
    "cumsum": vector(lambda n, h: h.cumsum(1)),
    "einsum 1": vector(lambda n, h: torch.einsum("bi,ij->bj", h, n["again"].weight)),
    "einsum 2": vector(lambda n, h: torch.einsum("bi,bi,->bi", h, h.tanh(), torch.tensor(2.0).double())),
    "einsum two signals": vector(lambda n, h: torch.einsum("bi,bj->bij", h, n["gate"](h)).sum(1)),
    "bmm": vector(lambda n, h: torch.bmm(h.view(-1, 2, 4), h.view(-1, 4, 2)).flatten(1).repeat(1, 2)),
    "broadcast product": vector(lambda n, h: h * h.mean(1, keepdim=True)),
    "outer": vector(lambda n, h: (h.unsqueeze(2) * h.unsqueeze(1)).mean(2)),
    "matmul": vector(lambda n, h: torch.matmul(h.unsqueeze(1), n["gate"](h).view(-1, 8, 1)).squeeze(1) + h),
    "bilinear": vector(lambda n, h: n["bilinear"](h, n["gate"](h))),
    "bilinear constant": vector(lambda n, h: n["bilinear"](h, torch.ones_like(h))),
    "matrix on the right": vector(lambda n, h: h @ n["again"].weight),
    "matrix on the left": vector(lambda n, h: (n["again"].weight @ h.T).T),
    "addmm": vector(lambda n, h: torch.addmm(n["again"].bias, h, n["again"].weight)),
    "addmm scaled": vector(lambda n, h:
        torch.addmm(n["again"].bias, h, n["again"].weight, beta=0.5, alpha=2)
    ),
    "add alpha": vector(lambda n, h: torch.add(h, torch.relu(h), alpha=2)),
    "addcmul": vector(lambda n, h: torch.addcmul(h, h.tanh(), n["gate"](h))),
    "lerp": vector(lambda n, h: torch.lerp(h, torch.relu(h), 0.3)),
    "tied": vector(lambda n, h: functional.linear(torch.relu(n["again"](h)), n["again"].weight.t())),
    "exp log": vector(lambda n, h: torch.log(1 + torch.exp(h))),
    "dropout": vector(lambda n, h: functional.dropout(h, 0.5, training=False)),
    "relu into sum": vector(lambda n, h: torch.relu(h).add_(h)),
    "iadd": vector(lambda n, h: _iadd(n, h)),
    "cosine": vector(lambda n, h: h * functional.cosine_similarity(h, n["gate"](h), dim=1).unsqueeze(1)),
    "sin": vector(lambda n, h: h.sin() + torch.cos(h)),
    "weight norm": Case(lambda: _parametrised(parametrizations.weight_norm), (5,)),
    "spectral norm": Case(lambda: _parametrised(parametrizations.spectral_norm), (5,)),
}  # fmt: skip


def _iadd(n: nn.ModuleDict, h: Tensor) -> Tensor:
    y = torch.relu(h)
    y += n["again"](h)
    y *= 2
    y -= 1
    y /= 3
    return y


def _lstm_cells(n: nn.ModuleDict, h: Tensor) -> Tensor:
    state, given = None, []
    for step in h.unbind(1):
        state = n["cell"](step, state)
        given.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(given, 1)


SEQUENCES = {
    "attention": sequence(_self_attention, _mha),
    "attention causal": sequence(_masked, _mha),
    "attention without weights": sequence(
        lambda n, h: _self_attention(n, h, need_weights=False), _mha
    ),
    "attention key padding": sequence(
        lambda n, h: _self_attention(
            n, h, key_padding_mask=torch.tensor([False] * 4 + [True]).expand(len(h), 5)
        ), _mha,
    ),
    "sdpa": sequence(lambda n, h: h + _sdpa(h), dict),
    "sdpa causal": sequence(lambda n, h: h + _sdpa(h, is_causal=True), dict),
    "sdpa mask": sequence(
        lambda n, h: h + _sdpa(h, attn_mask=torch.ones(5, 5, dtype=torch.bool).tril()), dict
    ),
    "sdpa scale": sequence(lambda n, h: h + _sdpa(h, scale=0.3), dict),
    "encoder": sequence(lambda n, h: n["encoder"](h), lambda: {"encoder": _encoder(False, "relu")}),
    "encoder norm first": sequence(
        lambda n, h: n["encoder"](h), lambda: {"encoder": _encoder(True, "gelu")}
    ),
    "lstm": sequence(lambda n, h: n["rnn"](h)[0], lambda: {"rnn": nn.LSTM(6, 6, batch_first=True)}),
    "lstm both ways": sequence(
        lambda n, h: n["rnn"](h)[0],
        lambda: {"rnn": nn.LSTM(6, 3, 2, batch_first=True, bidirectional=True)},
    ),
    "lstm projected": sequence(
        lambda n, h: n["rnn"](h)[0], lambda: {"rnn": nn.LSTM(6, 8, batch_first=True, proj_size=6)}
    ),
    "gru": sequence(lambda n, h: n["rnn"](h)[0], lambda: {"rnn": nn.GRU(6, 6, batch_first=True)}),
    "rnn": sequence(lambda n, h: n["rnn"](h)[0], lambda: {"rnn": nn.RNN(6, 6, batch_first=True)}),
    "rnn relu": sequence(
        lambda n, h: n["rnn"](h)[0],
        lambda: {"rnn": nn.RNN(6, 6, batch_first=True, nonlinearity="relu", bias=False)},
    ),
    "lstm cell": sequence(_lstm_cells, lambda: {"cell": nn.LSTMCell(6, 6)}),
    "gru cell": sequence(_lstm_cells, lambda: {"cell": nn.GRUCell(6, 6)}),
    "rnn cell": sequence(_lstm_cells, lambda: {"cell": nn.RNNCell(6, 6)}),
    "conv1d": sequence(
        lambda n, h: torch.relu(n["conv"](h.transpose(1, 2))).transpose(1, 2),
        lambda: {"conv": nn.Conv1d(6, 6, 3, padding=2, dilation=2, groups=3)},
    ),
    "conv padding same": sequence(
        lambda n, h: torch.relu(n["conv"](h.transpose(1, 2))).transpose(1, 2),
        lambda: {"conv": nn.Conv1d(6, 6, 3, padding="same")},
    ),
    "conv padding circular": sequence(
        lambda n, h: torch.relu(n["conv"](h.transpose(1, 2))).transpose(1, 2),
        lambda: {"conv": nn.Conv1d(6, 6, 3, padding=1, padding_mode="circular")},
    ),
    "conv_transpose1d": sequence(
        lambda n, h: torch.relu(n["conv"](h.transpose(1, 2))).transpose(1, 2),
        lambda: {"conv": nn.ConvTranspose1d(6, 6, 3, stride=2, padding=1, groups=2)},
    ),
    "conv_transpose batch norm": sequence(
        lambda n, h: torch.relu(n["norm"](n["conv"](h.transpose(1, 2)))).transpose(1, 2),
        lambda: {"conv": nn.ConvTranspose1d(6, 6, 3, groups=2), "norm": nn.BatchNorm1d(6)},
    ),
}  # fmt: skip

NETWORKS: dict[str, Case] = {
    **{f"image: {name}": case for name, case in IMAGES.items()},
    **{f"vector: {name}": case for name, case in VECTORS.items()},
    **{f"sequence: {name}": case for name, case in SEQUENCES.items()},
}


def _in_place(h: Tensor) -> Tensor:
    return functional.relu(h, inplace=True)


RELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "function": functional.relu,
    "of torch": torch.relu,
    "method": Tensor.relu,
    "in place": _in_place,
    "method in place": Tensor.relu_,
    "of torch in place": torch.relu_,
    "freshly built": lambda h: nn.ReLU()(h),
    "freshly built in place": lambda h: nn.ReLU(inplace=True)(h),
    "clamp": lambda h: h.clamp(min=0),
    "clamp in place": lambda h: h.clamp_(min=0),
    "clamp_min": lambda h: torch.clamp_min(h, 0),
    "maximum": lambda h: torch.maximum(h, torch.zeros_like(h)),
    "max": lambda h: torch.max(h, torch.zeros(())),
    "threshold": lambda h: functional.threshold(h, 0.0, 0.0),
    "leaky of 0": lambda h: functional.leaky_relu(h, 0.0),
    "leaky in place": lambda h: nn.LeakyReLU(0.0, inplace=True)(h),
    "hardtanh": lambda h: functional.hardtanh(h, 0.0, 1e6),
    "slice written": lambda h: _written(h),
}
"""A rectifier in every spelling."""


def _written(h: Tensor) -> Tensor:
    h[:] = torch.relu(h)
    return h


SUMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "operator": lambda x, y: x + y,
    "of torch": torch.add,
    "method": lambda x, y: x.add(y),
    "method in place": lambda x, y: x.add_(y),
    "operator in place": operator.iadd,
    "of three": lambda x, y: torch.add(input=x, other=y),
    "stacked": lambda x, y: torch.stack([x, y]).sum(0),
    "builtin": lambda x, y: sum([x, y], torch.zeros(())),
    "minus minus": lambda x, y: x - (-y),
    "scaled": lambda x, y: torch.add(x, y / 2, alpha=2),
}
"""A sum of two signals in every spelling."""
