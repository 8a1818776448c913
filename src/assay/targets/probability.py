"""Log-probabilities, log-odds and centred logits: functions of all outputs around one of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from assay.engine import count_clipped
from assay.errors import TargetError
from assay.settings import Settings
from assay.targets.conversion import as_target
from assay.targets.output import Predicted
from assay.targets.target import Outputs, Target, Targets

_SURELY = 1e-4  # from 1 that sums of probabilities in single precision may be


_ROUNDINGS = 64  # by which a probability may lie outside of [0, 1]


class _OfOutput(Settings, Target):
    """A function of all outputs around one of them."""

    output: Target
    probabilities: bool | None
    _words: ClassVar[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "output", as_target(self.output))
        if self.output.at_layer()[1] is not None:
            raise TargetError(
                expected=f"one of the model's outputs in {type(self).__name__}",
                got=repr(self.output),
                advice="Units of a layer are no classes: explain the neuron itself.",
            )

    def told(self, outputs: Outputs) -> Target:
        # The name of what the model gives tells what has to be done with it.
        target = replace(self, output=self.output.told(outputs))  # type: ignore[type-var]
        said = target.probabilities
        known = outputs.probabilities
        if said is None:
            return replace(target, probabilities=known)  # type: ignore[type-var]
        if known is not None and said != known:
            kinds = {True: "probabilities", False: "scores"}
            raise TargetError(
                expected=f"{kinds[said]} as outputs, for {self!r}",
                got=f"{outputs.model}, which gives {kinds[known]}",
                advice="Leave probabilities= out: it is known of this model.",
            )
        return target

    def described(self, outputs: Outputs, n: int) -> list[str]:
        return [f"{self._words} {part}" for part in self.output.described(outputs, n)]

    def choose(self, outputs: Tensor) -> Target:
        # One probability has odds of its own; one logit is one of two, or of none.
        alone = outputs.dim() == 1 or outputs.shape[1:] == (1,)
        if not (self.probabilities and alone) and (outputs.dim() != 2 or outputs.shape[1] < 2):
            raise TargetError(
                expected=f"outputs of shape (n, classes) with two classes or more for {self!r}",
                got=tuple(outputs.shape),
                advice=(
                    "Explain an output as it is with Output(0), or wrap the model to give both; of "
                    f"one probability say {type(self).__name__}(0, probabilities=True)."
                ),
            )
        # A softmax of probabilities is a number as well, and a wrong one: nobody would notice.
        if self.probabilities is None and _sum_to_one(outputs):
            raise TargetError(
                expected=f"to know what the outputs are, for {self!r}",
                got="numbers in [0, 1] that add up to 1: probabilities, by their looks",
                advice=(
                    "Say it: probabilities=True in the target, or wrap(model, probabilities=True); "
                    "False for logits."
                ),
            )
        if self.probabilities:
            check_probabilities(outputs, self)
        return replace(self, output=self.output.choose(outputs))  # type: ignore[type-var]

    def sized(self, n: int) -> Target:
        return replace(self, output=self.output.sized(n))  # type: ignore[type-var]

    def take(self, rows: Tensor) -> Target:
        return replace(self, output=self.output.take(rows))  # type: ignore[type-var]

    def joined(self, others: Targets) -> Target:
        outputs = [other.output for other in others if isinstance(other, _OfOutput)]
        return replace(self, output=self.output.joined(outputs))  # type: ignore[type-var]


@final
@dataclass(frozen=True)
class LogProb(_OfOutput):
    """log p of one output: log softmax of logits, z_c - log sum_k exp z_k, or log of probabilities.

    Settings:
        output: which output; the predicted one where nothing is said.
        probabilities: whether the model's outputs are probabilities. An estimator's are known by
            the name of its method; else they are logits, and what looks like probabilities is
            refused until it is said. A probability of 0 is held at the smallest number above it;
            `facts["clipped"]` says of how many rows.

    Units: nats, at most 0. Shapes: outputs (n, classes), two or more of logits. Errors: TargetError for
    outputs that cannot be what was said, and for one logit, which has no softmax.

    >>> LogProb(0, probabilities=True).score(torch.tensor([[0.5, 0.5]]), torch.tensor([0]))
    tensor([-0.6931])
    """

    output: Target = Predicted()
    probabilities: bool | None = None
    _words = "log-probability of"

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        if self.probabilities:
            p = self.output.score(outputs, rows)
            check_probabilities(p, self)
            # A softmax may underflow to 0; the logarithm of the least number is -87 or -708.
            least = torch.finfo(p.dtype).tiny
            count_clipped(int((p.detach() < least).sum()))
            return p.clamp_min(least).log()
        _check_several(outputs, self)
        return self.output.score(outputs.log_softmax(1), rows)


@final
@dataclass(frozen=True)
class Centred(_OfOutput):
    """One logit less the mean of all: z_c - mean_k z_k, which a constant added to all leaves as it is.

    (Shrikumar et al. 2017, section 3.6, for softmax outputs.) Of probabilities it is log p_c - mean_k
    log p_k, the same number. Over all classes the values add up to 0, and so do attributions that
    are linear in the target.

    Settings:
        output: which output; the predicted one where nothing is said.
        probabilities: whether the model's outputs are probabilities, as in `LogProb`.

    Units: those of the logits. Errors: TargetError for a single output, and for numbers that
    look like probabilities until it is said what they are.

    >>> Centred(0).score(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]))
    tensor([1.])
    """

    output: Target = Predicted()
    probabilities: bool | None = None
    _words = "centred logit of"

    @property
    def linear(self) -> bool:
        return self.output.linear and not self.probabilities

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        _check_several(outputs, self)
        if self.probabilities:
            check_probabilities(outputs, self)
            least = torch.finfo(outputs.dtype).tiny
            count_clipped(int((outputs.detach() < least).any(1).sum()))
            outputs = outputs.clamp_min(least).log()
        return self.output.score(outputs, rows) - outputs.mean(1)


@final
@dataclass(frozen=True)
class LogOdds(_OfOutput):
    """log (p_c / (1 - p_c)) of one output; of logits z_c - log sum_{k != c} exp z_k.

    Settings:
        output: which output; the predicted one where nothing is said.
        probabilities: whether the model's outputs are probabilities. An estimator's are known by
            the name of its method; else they are logits, and what looks like probabilities is
            refused until it is said. Probabilities of 0 and 1 are held one rounding away from it
            (36.04 in double precision); `facts["clipped"]` says of how many rows.

    Values are of E log-odds under a removal with several draws; shap's `link="logit"` explains the
    log-odds of the expectation.

    Units: nats; 0 is even odds. Shapes: outputs (n, classes), two or more of logits, or one probability.
    Errors: TargetError for outputs that cannot be what was said, and for one logit.

    >>> LogOdds(0, probabilities=True).score(torch.tensor([[0.75, 0.25]]), torch.tensor([0])).exp()
    tensor([3.])
    """

    output: Target = Predicted()
    probabilities: bool | None = None
    _words = "log-odds of"

    def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
        if self.probabilities:
            p = self.output.score(outputs, rows)
            check_probabilities(p, self)
            # Certain predictions are held one rounding away from infinite odds.
            eps = torch.finfo(outputs.dtype).eps
            count_clipped(int(((p < eps) | (p > 1 - eps)).sum()))
            return torch.logit(p, eps=eps)
        _check_several(outputs, self)
        # z_c - log sum_{k != c} exp z_k keeps the precision that 1 - p would lose
        # near p = 1.
        classes = torch.arange(outputs.shape[1], device=outputs.device).expand_as(outputs)
        # Scoring the class numbers themselves tells which class is meant, row by
        # row.
        target_class = self.output.score(classes, rows).unsqueeze(1)
        others = outputs.masked_fill(classes == target_class, -torch.inf).logsumexp(1)
        return self.output.score(outputs, rows) - others


def _check_several(outputs: Tensor, target: Target) -> None:
    """Refuses logits of classes that are not there: one number has no softmax."""
    if outputs.dim() < 2 or outputs.shape[1] < 2:
        raise TargetError(
            expected=f"outputs of two classes or more for {target!r}",
            got=f"outputs of shape {tuple(outputs.shape)}",
            advice="Explain the number itself, target=0, or let the model give a column per class.",
        )


def _sum_to_one(outputs: Tensor) -> bool:
    """Whether outputs (n, classes) look like probabilities."""
    numbers = outputs.detach()
    inside = bool(((numbers >= 0) & (numbers <= 1)).all())
    if not inside or not numbers.is_floating_point():
        return False
    return bool(((numbers.sum(1) - 1).abs() < _SURELY).all())


def check_probabilities(numbers: Tensor, target: Target) -> None:
    """Refuses numbers that cannot be probabilities, beyond rounding."""
    plain = numbers.detach()
    slack = _ROUNDINGS * torch.finfo(plain.dtype).eps if plain.is_floating_point() else 0.0
    outside = (plain < -slack) | (plain > 1 + slack)
    if bool(outside.any()):
        raise TargetError(
            expected=f"probabilities, numbers from 0 to 1, for {target!r}",
            got=f"{float(plain[outside][0]):.6g}",
            advice=(
                "Explain logits by probabilities=False, or a method that gives probabilities: "
                "wrap(model, output='predict_proba')."
            ),
        )
