"""Model parameter randomisation: an explanation of a network without its training should differ.

Adebayo et al. (2018, "Sanity checks for saliency maps", section 3): layers are drawn anew one after
the other, from the output to the input, and the explanation is compared with that of the trained
network. Weights are drawn from a normal distribution with the mean and the deviation of the tensor
that they replace, or shuffled within it; both keep what a method could read off the size of weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn

from assay.answers.attribution import Attribution
from assay.answers.score import Direction
from assay.errors import SettingError
from assay.metrics.base import Reading
from assay.metrics.sanity.asking import SanityCheck, asked_of, network_of, rank_correlation
from assay.numerics import rng
from assay.question.question import Question


@final
@dataclass(frozen=True)
class ModelRandomisation(SanityCheck):
    """How alike an explanation is to those of the network with layers drawn anew.

    mean over layers l of the rank correlation of phi(f, x) and phi(f_l, x), f_l with the layers from
    the output down to l drawn anew      (Adebayo et al. 2018, section 3.1)

    Settings:
        method: the method that is asked again; `compare` fills it in.
        weights: "normal" draws them with each tensor's own mean and deviation, "shuffled" permutes
            them within their tensor.
        cascading: whether layers above stay drawn anew; else each layer is drawn anew alone.
        absolute: whether magnitudes are ranked in the score; details have both.

    The trained network itself is no part of the mean. Layers are the modules that hold parameters of
    their own, in the reverse order in which the network registers them. The network is copied: the
    one that was handed over is not touched. Details, each (n,): `signed` and `absolute`, means over
    layers, and `all`, the score with every layer drawn anew.

    Cost: one explanation per input and layer. Lower is better: nearer to 0 is more dependent on the
    network; a constant explanation has no rank and no score. Errors: InputError for what is no
    network or has no weights, SettingError for other weights.

    >>> import torch, assay
    >>> net = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.ReLU(), torch.nn.Linear(6, 2))
    >>> question = assay.Question(net, torch.rand(4, 5), target=0)
    >>> score = ModelRandomisation(assay.Gradient())(question, assay.Gradient()(question))
    >>> sorted(score.details)
    ['absolute', 'all', 'signed']
    """

    weights: Literal["normal", "shuffled"] = "normal"
    cascading: bool = True
    absolute: bool = False
    direction: ClassVar[Direction] = "lower"
    cost: ClassVar[str] = "an explanation for each layer"
    why: ClassVar[str] = "an explanation is constant"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights not in ("normal", "shuffled"):
            raise SettingError(
                expected="the weights 'normal' or 'shuffled' for ModelRandomisation",
                got=repr(self.weights),
                advice="Leave it out: normal ones are usual.",
            )

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        super().check(question, attributions)
        layers = layers_of(network_of(question, repr(self)))
        if not layers:
            raise SettingError(
                expected="a network with weights for ModelRandomisation",
                got=f"{question.model.name}, which has none",
                advice="Nothing in it could be drawn anew.",
            )

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        method = self.required_method()
        signed: list[list[Tensor]] = [[] for _ in attributions]
        absolute: list[list[Tensor]] = [[] for _ in attributions]
        for network in self._randomised(question, seed):
            # Once for all attributions, which have no part in the random network's explanation.
            values = method.estimate(asked_of(question, network), seed).values
            for which, answer in enumerate(attributions):
                signed[which].append(rank_correlation(answer.values, values))
                absolute[which].append(rank_correlation(answer.values.abs(), values.abs()))
        readings = []
        for raw, magnitude in zip(signed, absolute):
            # Both are measured in any case: details show the one that is not the score.
            chosen = magnitude if self.absolute else raw
            # The last network, either way, is the one with all layers drawn anew.
            everything = chosen[-1]
            # Drawn one by one, all of them together are no layer.
            layers = slice(None) if self.cascading else slice(-1)
            details = {
                "signed": torch.stack(raw[layers]).mean(0),
                "absolute": torch.stack(magnitude[layers]).mean(0),
                "all": everything,
            }
            readings.append(Reading(torch.stack(chosen[layers]).mean(0), None, details))
        return readings

    def _randomised(self, question: Question, seed: int) -> Iterator[nn.Module]:
        """Copies of the network with layers drawn anew, from the output on; last with all of them."""
        network = network_of(question, repr(self))
        names = layers_of(network)
        for name in names:
            # A fresh copy: each layer alone is drawn anew in the trained network.
            if not self.cascading:
                network = network_of(question, repr(self))
            self._draw(network, name, seed)
            yield network
        if not self.cascading:
            network = network_of(question, repr(self))
            for name in names:
                self._draw(network, name, seed)
            yield network

    def _draw(self, network: nn.Module, name: str, seed: int) -> None:
        """Draws the parameters of one layer anew."""
        layer = network.get_submodule(name)
        with torch.no_grad():
            for part, parameter in layer.named_parameters(recurse=False):
                # By the parameter's name: its draw does not depend on which layers came before.
                generator = rng.shared(seed, f"weights of {name}.{part}")
                flat = parameter.detach().flatten()
                order = torch.from_numpy(generator.permutation(len(flat))).to(flat.device)
                if self.weights == "shuffled":
                    parameter.copy_(flat[order].view_as(parameter))
                    continue
                normal = torch.from_numpy(generator.standard_normal(len(flat))).to(flat)
                # The corrected deviation of a single weight would be NaN.
                deviation = flat.std(correction=0)
                parameter.copy_((flat.mean() + deviation * normal).view_as(parameter))


def layers_of(network: nn.Module) -> list[str]:
    """The modules that hold parameters of their own, from the last registered to the first."""
    names = [
        name
        for name, module in network.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
    return names[::-1]
