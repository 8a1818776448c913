"""Small models with known answers, and one way to ask every method about them: what the contract
tests run on.

A new method needs no line here if it can be made without settings; otherwise one line in CASES.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import assay
from assay.inputs.tensors import TensorLayout
from assay.methods.base import Method

FEATURES = 4


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64).to(dtype)


def randomised(net: nn.Module, seed: int = 0) -> nn.Module:
    """The module in evaluation mode, with weights drawn from a seed and running statistics away
    from their defaults.
    """
    with torch.no_grad():
        for i, parameter in enumerate(net.parameters()):
            fan = max(1, parameter[0].numel() if parameter.dim() > 1 else 1)
            parameter.copy_(randn(*parameter.shape, seed=1000 * seed + i) / fan**0.5)
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.copy_(randn(*module.running_mean.shape, seed=seed + 7) * 0.3)
                module.running_var.copy_(
                    randn(*module.running_var.shape, seed=seed + 8).abs() + 0.5
                )
    return net.eval()


def tanh_net(
    seed: int = 0, inputs: int = FEATURES, outputs: int = 3, activation: type[nn.Module] = nn.Tanh
) -> nn.Module:
    return randomised(
        nn.Sequential(nn.Linear(inputs, 8), activation(), nn.Linear(8, outputs)), seed
    )


def relu_net(seed: int = 0) -> nn.Module:
    return tanh_net(seed, activation=nn.ReLU)


def linear_net(seed: int = 0) -> nn.Module:
    return randomised(nn.Linear(FEATURES, 3), seed)


class Largest(nn.Module):
    """The largest input; a weight of no effect gives it a number type."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x.amax(1)


class Residual(nn.Module):
    """Convolutions with batch norms around a shortcut, functional activations, a pool and a head."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.norm0 = nn.BatchNorm2d(channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.norm0(self.stem(x)))
        inner = torch.nn.functional.softplus(self.norm1(self.first(h)))
        h = torch.nn.functional.softplus(self.norm2(self.second(inner)) + h)
        return self.head(h.mean((2, 3)))


class Pooled(nn.Module):
    """A small picture of as many pixels as there are features: a convolution, its mean, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.act = nn.Tanh()
        self.head = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.act(self.conv(x.reshape(-1, 1, 2, 2)))
        return self.head(maps.mean((2, 3)))


class Attending(nn.Module):
    """A transformer whose tokens are the features, with a class token before them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(1, 4)
        self.start = nn.Parameter(torch.zeros(1, 1, 4))
        self.places = nn.Parameter(torch.zeros(1, FEATURES + 1, 4))
        layer = nn.TransformerEncoderLayer(4, 2, 6, 0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x.reshape(len(x), -1, 1))
        tokens = torch.cat([self.start.expand(len(x), -1, -1), tokens], 1) + self.places
        return self.head(self.encoder(tokens)[:, 0])


def attending_net() -> nn.Module:
    """An `Attending` of random weights."""
    return randomised(Attending(), 2)


def pooled_net() -> nn.Module:
    """A `Pooled` of random weights."""
    return randomised(Pooled())


def counting(module: nn.Module, log: list[int]) -> nn.Module:
    """The module, which now notes the rows of every call; a tracer that passes it by sees nothing
    of it.
    """
    plain = module.forward

    def forward(x: Tensor) -> Any:
        log.append(len(x))
        return plain(x)

    module.forward = forward
    return module


class Breaks(nn.Module):
    """Raises at one of its calls, in the middle of the forward, after it has written to itself."""

    def __init__(self, inner: nn.Module, at: int) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, FEATURES)
        self.inner = inner
        self.norm = nn.BatchNorm1d(FEATURES)
        self.seen: list[Tensor] = []
        self.last: Tensor | None = None
        self.register_buffer("calls", torch.zeros(1))
        # No state that could be put back: how often it was called is the world's to know.
        self._calls = itertools.count(1)
        self._at = at

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.first(x.flatten(1)))
        self.last = h
        self.seen.append(h)
        self.calls.add_(1)
        if next(self._calls) > self._at:
            raise RuntimeError("the forward broke on purpose")
        return self.inner(h)


def state(net: nn.Module) -> dict[str, Any]:
    """Everything about a module that must be found again."""
    found: dict[str, Any] = {}
    for name, part in net.named_modules():
        found[f"{name} attributes"] = {key: id(value) for key, value in vars(part).items()}
        found[f"{name} training"] = part.training
        for hooks in (
            "_forward_hooks",
            "_forward_pre_hooks",
            "_backward_hooks",
            "_backward_pre_hooks",
        ):
            found[f"{name} {hooks}"] = list(getattr(part, hooks))
        for key, value in vars(part).items():
            if isinstance(value, list):
                found[f"{name} {key} members"] = [id(each) for each in value]
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        found[f"{name} numbers"] = (
            tensor.dtype,
            tensor.detach().clone().tolist(),
            tensor.requires_grad,
            id(tensor),
        )
        found[f"{name} grad"] = (
            None if tensor.grad is None else (id(tensor.grad), tensor.grad.tolist())
        )
    return found


@dataclass(frozen=True)
class Case:
    """A method with the kind of model and removal it is asked about in the contract tests."""

    method: Method
    net: Callable[[], nn.Module] = tanh_net
    removal: Any = field(default_factory=lambda: assay.Baseline(0.1))
    own_draws: bool = False
    """Whether inputs have draws of their own, hashed from their bytes: another number type then has
    other draws.
    """
    settings_evaluate: bool = True
    """Whether the repr evaluates back; not where a setting is a function or an array."""
    evaluations: Callable[[int], tuple[int, int]] | None = None
    """Rows (forward only, forward and backward) that n inputs cost, the clean outputs and the base
    included.
    """
    reuse_model: bool = True
    """Whether the method only asks the question's model."""
    credited: int = FEATURES
    """How many features are given credit."""
    shape: tuple[int, ...] = ()
    """The shape of an input, where it is not a row of features."""

    def ask(self, x: Any, net: Any = None, **more: Any) -> assay.Question:
        net = self.net() if net is None else net
        if self.shape:
            x = x.reshape(len(x), *self.shape)
        return assay.Question(net, x, **{"target": 0, "removal": self.removal, **more})


def background() -> assay.Background:
    return assay.Background(randn(6, FEATURES, seed=77))


def curved(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    return b + a**2 * (x - b)


def _slopes(steps: int) -> Callable[[int], tuple[int, int]]:
    return lambda n: (n + 1, n * steps)


def _told(n: int) -> tuple[int, int]:
    """The inputs go forward once, on the way to their slopes."""
    return 1, n


def _asked(masks: int) -> Callable[[int], tuple[int, int]]:
    return lambda n: (n + 1 + n * masks, 0)


CAMS = (
    "CAM", "GradCam", "GradCamPlusPlus", "XGradCam", "HiResCam", "LayerCam", "ScoreCam",
    "AblationCam", "EigenCam",
)  # fmt: skip

OF_TREES = frozenset({"TreeShap", "TreeInteractions"})
"""Methods that read trees, which no network has: tests/methods/trees holds them to the contract."""

ATTENTION = ("AttentionRollout", "RawAttention", "AttentionRelevance", "TransformerRelevance")

_CASES: dict[str, Callable[[type[Any]], Case]] = {
    "Gradient": lambda kind: Case(kind(), evaluations=_told),
    "InputXGradient": lambda kind: Case(kind(), evaluations=_told),
    "Absolute": lambda kind: Case(kind(assay.Gradient()), evaluations=_told),
    "TimesInput": lambda kind: Case(kind(assay.Gradient()), evaluations=_told),
    "Smoothed": lambda kind: Case(
        kind(assay.Gradient(), noise=0.1, draws=8), own_draws=True, evaluations=_slopes(8)
    ),
    "IntegratedGradients": lambda kind: Case(kind(steps=16), evaluations=_slopes(16)),
    "ExactIntegratedGradients": lambda kind: Case(kind(), net=relu_net),
    "Conductance": lambda kind: Case(kind(steps=16), evaluations=_slopes(16)),
    "InternalInfluence": lambda kind: Case(
        kind(assay.LineDistribution(steps=16)), evaluations=_slopes(16)
    ),
    "Path": lambda kind: Case(
        kind(curved, steps=8), settings_evaluate=False, evaluations=_slopes(8)
    ),
    "ExpectedGradients": lambda kind: Case(
        kind(draws=24), removal=background(), own_draws=True, evaluations=lambda n: (n + 6, 24 * n)
    ),
    "ExactShapley": lambda kind: Case(kind(), evaluations=_asked(2**FEATURES)),
    "ExactInteractions": lambda kind: Case(
        kind(), evaluations=_asked(2**FEATURES), credited=FEATURES**2
    ),
    "LowOrderShap": lambda kind: Case(kind(), evaluations=_asked(2**FEATURES)),
    "PermutationShapley": lambda kind: Case(kind(orderings=8)),
    "SamplingShapley": lambda kind: Case(kind(draws=6), removal=background()),
    "KernelShap": lambda kind: Case(kind()),
    "LinearShap": lambda kind: Case(kind(), net=linear_net),
    "MaxShap": lambda kind: Case(kind(), net=Largest),
    **{name: lambda kind: Case(kind(), net=pooled_net, shape=(1, 2, 2)) for name in CAMS},
    "FullGrad": lambda kind: Case(kind(), net=pooled_net, shape=(1, 2, 2)),
    **{name: lambda kind: Case(kind(), net=attending_net) for name in ATTENTION},
    "Guided": lambda kind: Case(kind(assay.GradCam()), net=pooled_net, shape=(1, 2, 2)),
    "Rise": lambda kind: Case(kind(masks=64)),
    "Optimal": lambda kind: Case(
        kind(assay.ShapleyKernel()), evaluations=lambda n: (n + 1 + n * (2**FEATURES - 2), 0)
    ),
    "ShapleyRegression": lambda kind: Case(
        _regression(kind), settings_evaluate=False, reuse_model=False
    ),
}


def _regression(kind: type[Any]) -> Method:
    from sklearn.linear_model import LinearRegression

    rows = randn(30, FEATURES, seed=5).numpy().astype(np.float64)
    return kind(LinearRegression(), rows, rows @ np.arange(1.0, FEATURES + 1))


def case_of(name: str, kind: type[Any]) -> Case:
    """The case of a method; one without a line above is made without settings, or fails here with
    what to do.
    """
    if name in _CASES:
        return _CASES[name](kind)
    try:
        return Case(kind())
    except TypeError as error:
        raise AssertionError(
            f"{name} needs settings ({error}): give it one line in _CASES of tests/toys.py"
        ) from error


def takes_numbers(question: assay.Question) -> bool:
    layout = question.layout
    return isinstance(layout, TensorLayout) and all(
        dtype.is_floating_point for dtype in layout.dtypes
    )
