"""What a target loses without each channel of a layer.

Every channel is asked by itself, in rows that are large and of which little changes: they are written
in place. Where all that follows the layer is affine (global average pooling and a linear head, say)
the loss of a channel is the sum of its slopes times its activations, exactly, and one backward pass
gives that of all channels. That it is affine is seen from the operations of a forward, not guessed
from its answers, and one channel is asked all the same.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from assay.errors import AssayError
from assay.methods.cam.maps import Layer
from assay.models.base import Ability
from assay.models.networks.guarantees.breakpoints import Watch
from assay.question.question import Question

_BEHIND = 1 / 16
"""Work and memory of a row behind a layer, relative to one of a whole network with as many elements:
that makes some sixteen times as many numbers of a picture as it has, the rest hardly more than came.
"""

_MANY = 1 << 22  # numbers of all rows together from which looking for an affine rest pays

_SAME = 1e-4  # relative difference of a score up to which it is what the slopes say


def losses_of_channels(layer: Layer, activations: Tensor) -> Tensor:
    """f - f without channel k, (n, channels) in double precision, for activations (n, channels,
    *places) of the layer.
    """
    without = _WithoutChannel(layer, activations.shape[1])
    total = activations.shape[1] * layer.question.x.numel()
    # To look takes a forward and a backward pass, which a small layer does not pay back.
    slopes = affine_slopes(layer.question) if total >= _MANY else None
    if slopes is not None:
        maps = layer.unfolded(slopes).to(torch.float64) * activations.to(torch.float64)
        losses = maps.flatten(2).sum(2)
        if without.confirms(losses):
            return losses
    return without.losses()


def affine_slopes(question: Question) -> Tensor | None:
    """The slopes (n, elements) of a target that is an affine function of the question's inputs, as
    the operations of a forward say; None where it is not, or where that cannot be seen.
    """
    if Ability.GRADIENT not in question.model.abilities:
        return None
    watch = Watch(question.model.name)
    target = question.fixed_target
    is_straight: list[bool] = []

    def make(numbers: Tensor) -> tuple[Tensor, Tensor]:
        rows = question.x[numbers]
        watch.begin(rows, torch.zeros(0, dtype=torch.float64), joined=False)
        return rows, numbers

    def use(numbers: Tensor, owners: Tensor, outputs: Tensor) -> None:
        passed = watch.finish([target.score(outputs, owners)], repr(target))
        # An operation that could bend anywhere is kept, whether this row passes its bend or not.
        is_straight.append(passed is not None and not watch.last)

    try:
        with watch:
            question.ask(1, make, use, "behind the layer")
        return question.slope() if all(is_straight) else None
    except AssayError:
        # What cannot be followed, or has no slopes, is asked channel by channel.
        return None


@final
class _WithoutChannel:
    """The rest of a network, asked about activations of which one channel is 0."""

    def __init__(self, layer: Layer, channels: int) -> None:
        self._question = layer.question
        self._x = layer.question.x
        self._channels = channels
        # Which elements of a row belong to a channel, told by unfolding their numbers.
        numbers = torch.arange(self._x.shape[1], device=self._x.device)[None]
        self._owned = layer.unfolded(numbers)[0].flatten(1)
        self._owners = numbers[:0, 0]
        self._removed = self._owned[:0]
        self._rows = self._x[:0]

    def losses(self) -> Tensor:
        """Those of all channels, (n, channels)."""
        n = len(self._x)
        # Channels of one input stand together, which lets rows be written in place.
        numbers = torch.arange(n * self._channels, device=self._x.device)
        prediction = self._question.prediction.to(torch.float64)[:, None]
        return prediction - self._scores(numbers).view(n, self._channels)

    def confirms(self, losses: Tensor) -> bool:
        """Whether the channel that the first input loses most without costs what is said."""
        # The channel with the most to lose, where an error would be the largest to see.
        number = losses[0].abs().argmax()
        prediction = self._question.prediction[0].to(torch.float64)
        (score,) = self._scores(number[None])
        off = (prediction - score - losses[0, number]).abs()
        return bool(off <= _SAME * torch.maximum(prediction.abs(), score.abs()))

    def _scores(self, numbers: Tensor) -> Tensor:
        """The target without a channel (r,), for inputs and channels folded into one number."""
        scores = torch.zeros(len(numbers), dtype=torch.float64, device=self._x.device)
        target = self._question.fixed_target

        def make(work: Tensor) -> tuple[Tensor, Tensor]:
            return self._written(numbers[work])

        def use(work: Tensor, owners: Tensor, outputs: Tensor) -> None:
            scores[work] = target.score(outputs, owners).to(torch.float64)

        self._question.ask(len(numbers), make, use, "without a channel", share=_BEHIND)
        return scores

    def _written(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Activations (r, elements), and whose they are; they hold until the next are written. A
        model has copies of them.
        """
        owners, without = numbers // self._channels, numbers % self._channels
        # The inputs of the last rows again: what was taken is put back, and no row is copied.
        if torch.equal(owners, self._owners):
            self._rows.scatter_(1, self._removed, self._x[owners].gather(1, self._removed))
        else:
            self._rows, self._owners = self._x[owners], owners
        self._removed = self._owned[without]
        self._rows.scatter_(1, self._removed, 0.0)
        return self._rows, owners
