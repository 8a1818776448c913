"""What smoothing does to sensitivity and infidelity: two inequalities, both sides of each.

An explanation averaged over a kernel, phi_k(x) = E_z[phi(z)], z = x + noise, is no more sensitive
than the average of the sensitivities there, and under a condition its infidelity is bounded by the
average of theirs (Yeh et al. 2019, section 4). Both hold for any kernel and any law, and so for the
finite samples that are drawn here: a side is not an estimate that could miss the other by chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.answers.named import Named
from assay.errors import InputError, SettingError
from assay.methods.base import Method
from assay.numerics import rng
from assay.perturbations import Perturbation
from assay.question.question import Question

_ROUNDING = 1e-9  # of the larger side, which a sum may be off by


@final
@dataclass(frozen=True, eq=False)
class Inequality:
    """left <= right, input by input.

    Fields:
        left, right: the sides, (n,), float64; the right one is infinite where the theorem says
            nothing.
        constants: what it is made of by name, (n,) each.
    """

    left: Tensor
    right: Tensor
    constants: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "constants", Named(self.constants))

    @property
    def holds(self) -> Tensor:
        """Whether it does, (n,), up to rounding."""
        return self.left <= self.right + _ROUNDING * torch.maximum(self.left, self.right.abs())

    @property
    def applies(self) -> Tensor:
        """Whether the theorem says anything, (n,)."""
        return self.right.isfinite()


def smoothed_sensitivity(
    method: Method,
    question: Question,
    *,
    noise: float = 0.1,
    copies: int = 20,
    radius: float = 0.1,
    draws: int = 20,
    seed: int = 0,
) -> Inequality:
    """The largest change of a smoothed explanation against the mean of the largest changes.

    max_d |phi_k(x + d) - phi_k(x)| <= E_z[max_d |phi(z + d) - phi(z)|]
    (Yeh et al. 2019, section 4, the theorem on sensitivity; without the norm they divide by)

    Settings:
        method: the explanation that is smoothed.
        noise, copies: the kernel, normal with that standard deviation, and its draws.
        radius, draws: steps d, uniform in the box |d|_inf <= radius, the same at every copy.

    Cost: copies (draws + 1) explanations per input.

    >>> import assay
    >>> question = assay.Question(lambda x: (x**3).sum(1), torch.ones(2, 3, dtype=torch.float64))
    >>> bool(smoothed_sensitivity(assay.Gradient(), question).holds.all())
    True
    """
    _check(noise, copies, radius, draws)
    elements = question.x.shape[1]
    copied = _copies(question, noise, copies, seed)
    streams = rng.streams(seed, question.keys, "steps of the theorem")
    # The same steps at every copy: the theorem compares maxima over one set of d.
    steps = (streams.uniform((0, draws), elements, question.x.dtype) * 2 - 1) * radius
    # At every copy (n, copies, 1 + draws, elements): the copy itself first.
    moves = torch.cat([torch.zeros_like(steps[:, :1]), steps], dim=1)
    points = copied.unsqueeze(2) + moves.unsqueeze(1)
    values = _explained(method, question, points, seed)
    change = values[:, :, 1:] - values[:, :, :1]
    # The mean over copies before the norm is the change of the smoothed explanation.
    left = change.mean(1).norm(dim=2).amax(1)
    right = change.norm(dim=3).amax(2).mean(1)
    return Inequality(left, right)


def smoothed_infidelity(
    method: Method,
    question: Question,
    perturbation: Perturbation,
    *,
    noise: float = 0.1,
    copies: int = 20,
    draws: int = 50,
    seed: int = 0,
) -> Inequality:
    """The infidelity of a smoothed explanation against the mean of the infidelities.

    INFD(phi_k, x) <= C2 / (1 - 2 sqrt(C1)) E_z[INFD(phi, z)]  where C1 < 1/4, with
    a = I . phi(z) - (f(x) - f(x - I)) and b = (f(z) - f(z - I)) - (f(x) - f(x - I)):
    C1 = E[b^2] / E[a^2], C2 = E_I[(E_z a)^2] / E[a^2]
    (Yeh et al. 2019, section 4, the theorem on infidelity)

    C1 says how much the model differs within the kernel, C2 <= 1 how much of the error averaging
    takes away. Both are those of each input, which bounds more tightly than the largest of all.

    Settings:
        method: the explanation that is smoothed; it gives slopes.
        perturbation: the law of the steps I, drawn at x and taken at every z.
        noise, copies: the kernel, normal with that standard deviation, and its draws.
        draws: steps I of each input.

    Cost: copies (2 draws + 1) evaluations and copies explanations per input. Errors: InputError for
    a method that gives no slopes.

    >>> import assay
    >>> question = assay.Question(lambda x: (x**3).sum(1), torch.ones(2, 3, dtype=torch.float64))
    >>> law = assay.GaussianNoise(1.0)
    >>> bool(smoothed_infidelity(assay.Gradient(), question, law).holds.all())
    True
    """
    _check(noise, copies, 1.0, draws)
    if method.kind is not Kind.SLOPE or not question.partition.identity:
        raise InputError(
            expected="a method of slopes, of features that own one element each",
            got=f"{method!r} of {question.features!r}",
            advice="The theorem multiplies explanations by steps: ask Gradient() of Elements().",
        )
    copied = _copies(question, noise, copies, seed)
    count = perturbation.size(question, draws)
    step = perturbation.draw(question, seed, (0, count)).step
    values = _explained(method, question, copied.unsqueeze(2), seed)[:, :, 0]
    account = torch.einsum("nkd,nmd->nmk", step.to(torch.float64), values)
    # What the model loses at the input (n, 1, k), and at each copy (n, copies, k).
    here = _losses(question, question.x.unsqueeze(1), step)
    there = _losses(question, copied, step)
    mismatch = account - here
    drift = there - here
    power = mismatch.square().mean((1, 2))
    # Accounts are linear in the explanation: their mean over copies is that of the smoothed one.
    left = mismatch.mean(1).square().mean(1)
    mean = (account - there).square().mean((1, 2))
    # Where no account misses anything, both sides are 0.
    first = torch.where(power > 0, drift.square().mean((1, 2)) / power, 0.0)
    second = torch.where(power > 0, left / power, 0.0)
    gap = 1 - 2 * first.sqrt()
    # From C1 = 1/4 on the theorem says nothing, and any left side is allowed.
    right = torch.where(gap > 0, second / gap * mean, torch.inf)
    return Inequality(left, right, {"C1": first, "C2": second, "mean": mean})


def _check(noise: float, copies: int, radius: float, draws: int) -> None:
    if not noise > 0 or not radius > 0 or copies < 1 or draws < 1:
        raise SettingError(
            expected="positive noise and radius, and at least one copy and one draw",
            got=f"noise={noise}, radius={radius}, copies={copies}, draws={draws}",
            advice="A tenth of the inputs' range and 20 copies are usual.",
        )


def _copies(question: Question, noise: float, copies: int, seed: int) -> Tensor:
    """Draws of the kernel around each input: (n, copies, elements)."""
    x = question.x
    streams = rng.streams(seed, question.keys, "kernel")
    return x.unsqueeze(1) + noise * streams.normal((0, copies), x.shape[1], x.dtype)


def _explained(method: Method, question: Question, points: Tensor, seed: int) -> Tensor:
    """The explanations at points (n, m, k, elements): (n, m, k, features), float64."""
    n, m, k = points.shape[:3]
    owners = torch.arange(n, device=points.device).repeat_interleave(m * k)
    with torch.no_grad():
        method.check(question)
        values = method.estimate(question.at(points.flatten(0, 2), owners), seed).values
    return values.to(torch.float64).view(n, m, k, -1)


def _losses(question: Question, points: Tensor, step: Tensor) -> Tensor:
    """What the target loses by steps (n, k, elements) from points (n, m, elements): (n, m, k)."""
    n, m = points.shape[:2]
    moved = points.unsqueeze(2) - step.unsqueeze(1)
    clean = question.score(points).to(torch.float64).unsqueeze(2)
    return clean - question.score(moved.flatten(1, 2)).to(torch.float64).view(n, m, -1)
