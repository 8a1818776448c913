"""The rows of n inputs under m masks and the removal's draws: built a chunk at a time, never all at
once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from torch import Tensor

from assay.inputs.layout import arranged
from assay.inputs.tensors import TensorLayout
from assay.models.base import Near
from assay.numerics.rectangles import Place, boxes
from assay.question.evaluation import Bound, Nearby
from assay.removals.base import FixedAbsent, blend_into

_MANY = 256  # rows below which looking for patches costs more than it saves

_PATCH = 0.25  # the share of an image above which a patch is no longer small

_CELLS = 1 << 24  # elements of the masks that are looked at together

_FEW = 8  # inputs in a chunk up to which their rows are made one input at a time


@final
@dataclass(frozen=True, eq=False)
class Masked:
    """Masks (m, features) or (n, m, features) over bound inputs; row (i * m + j) * draws + b is
    input i, mask j, draw b.
    """

    bound: Bound
    masks: Tensor
    n: int

    @property
    def draws(self) -> int:
        """Replacements of each masked input, over which values are averaged."""
        return self.bound.absent.draws

    def average(
        self, read: Callable[[Tensor, Tensor], Tensor], table: Callable[[], Tensor]
    ) -> None:
        """Writes read(outputs, owners) (r, k), averaged over the draws, into the table (n * m, k)."""
        draws = self.draws

        def use(flat: Tensor, owners: Tensor, outputs: Tensor) -> None:
            values = read(outputs, owners).to(torch.float64)
            first, last = int(flat[0]), int(flat[-1]) + 1
            if first % draws == 0 and last % draws == 0:
                table()[first // draws : last // draws] = values.view(
                    -1, draws, values.shape[1]
                ).mean(1)
            else:
                table().index_add_(0, flat // draws, values / draws)

        total = self.n * self.masks.shape[-2] * draws
        self.bound.outputs(
            total, self.make, use, "with features removed", unit=draws, near=self._near(total)
        )

    def _near(self, total: int) -> Nearby | None:
        """Says where rows differ from their inputs, if that is a small patch of an image under
        every mask.
        """
        bound, m, draws = self.bound, self.masks.shape[-2], self.draws
        if not bound.model.nearby or bound.aligned or bound.shared or total < _MANY:
            return None
        place = self._place()
        if place is None:
            return None

        def inputs(numbers: Tensor, memory: int) -> Tensor:
            images: Tensor = arranged(bound.layout.fold(bound.x[numbers]), memory)[0]
            return images

        def near(flat: Tensor, owners: Tensor, memory: int) -> Near:
            return Near(partial(inputs, memory=memory), self.n, place.of(flat // draws % m, owners))

        return near

    def _place(self) -> Place | None:
        """Rectangles of a common size around what each mask hides, if masks are shared and the
        rectangles small.
        """
        layout, partition = self.bound.layout, self.bound.partition
        shape = layout.shapes[0]
        if self.masks.dim() > 2 or self.masks.dtype != torch.bool or len(partition.labels) > 1:
            return None
        if len(layout.shapes) != 1 or len(shape) != 3 or not isinstance(layout, TensorLayout):
            return None
        zero = torch.zeros(1, dtype=torch.int64, device=self.masks.device)

        def around(masks: Tensor) -> Place:
            parts = masks.split(max(1, _CELLS // layout.elements))
            hidden = [~partition.spread(part, zero).view(-1, *shape).all(dim=1) for part in parts]
            return boxes(*(torch.cat([part.any(dim) for part in hidden]) for dim in (2, 1)))

        def small(place: Place) -> bool:
            return place.height * place.width <= _PATCH * shape[1] * shape[2]

        place = around(self.masks) if small(around(self.masks[:1])) else None
        return place if place is not None and small(place) else None

    def make(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of consecutive numbers, and the inputs they belong to."""
        first, last, draws, m = int(flat[0]), int(flat[-1]) + 1, self.draws, self.masks.shape[-2]
        start, stop = first // draws, -(-last // draws)
        absent, cut = self.bound.absent, slice(first - start * draws, last - start * draws)
        inputs = range(start // m, (stop - 1) // m + 1)
        whole = draws == 1 or last - first >= 2 * draws
        if isinstance(absent, FixedAbsent) and whole and len(inputs) <= _FEW:
            # Input by input, mask and replacement meet in one broadcast: nothing is copied but the rows themselves.
            rows = self.bound.x.new_empty(stop - start, draws, self.bound.x.shape[1])
            owners = torch.empty(stop - start, draws, dtype=torch.int64, device=flat.device)
            for i in inputs:
                low, high = max(start - i * m, 0), min(stop - i * m, m)
                part = slice(low + i * m - start, high + i * m - start)
                self._fill(rows[part], absent, i, low, high)
                owners[part] = i
            return rows.view(-1, rows.shape[-1])[cut], owners.view(-1)[cut]
        owners = torch.arange(start, stop, device=flat.device) // m
        masks = (
            self.masks[torch.arange(start, stop, device=flat.device) % m]
            if self.masks.dim() == 2
            else self.masks.flatten(0, 1)[start:stop]
        )
        present, local = self.bound.partition.spread(masks, owners), (flat // draws) - start
        everyone = owners[local]
        return absent.fill(self.bound.x[everyone], present[local], everyone, flat % draws), everyone

    def _fill(self, rows: Tensor, absent: FixedAbsent, i: int, low: int, high: int) -> None:
        """Writes the rows (masks, draws, elements) of input i under masks `low` to `high` - 1."""
        own = (self.masks if self.masks.dim() == 2 else self.masks[i])[low:high]
        present = self.bound.partition.spread(own, torch.tensor([i], device=own.device))
        blend_into(
            rows, self.bound.x[i], absent.rows[0 if absent.shared else i], present.unsqueeze(1)
        )
