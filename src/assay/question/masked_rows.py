"""The rows of n inputs under m masks and the removal's draws: built a chunk at a time.

Row (i * m + j) * draws + b is input i under mask j with replacement b. Values are averaged over b
(the interventional expectation of Shapley values and their kin, where the removal is a background).
Where every mask hides a small rectangle of an image, rows also say so: a convolutional network is
then recomputed around the patch alone (`models/networks/incremental.py`).
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
from assay.models.base import LocalChange
from assay.numerics.pieces import pieces
from assay.numerics.rectangles import Rectangles, boxes
from assay.question.evaluation import Evaluation, LocalChanges, Read
from assay.removals.base import FixedAbsent, blend_into

_MANY = 256  # rows below which looking for patches costs more than it saves
_PATCH = 0.25  # the share of an image above which a patch is no longer small
_CELLS = 1 << 24  # elements of the masks that are looked at together
_FEW = 8  # inputs in a chunk up to which their rows are made one input at a time


@final
@dataclass(frozen=True, eq=False)
class MaskedRows:
    """Masks (m, features), or (n, m, features), over the inputs of an evaluation."""

    evaluation: Evaluation
    masks: Tensor
    n: int

    @property
    def draws(self) -> int:
        """Replacements of each masked input, over which values are averaged."""
        return self.evaluation.absent.draws

    @property
    def masks_per_input(self) -> int:
        """m, whether masks are shared or not."""
        return self.masks.shape[-2]

    def average(self, read: Read, table: Callable[[], Tensor]) -> None:
        """Writes read(outputs, owners) (r, k), averaged over the draws, into the table (n * m, k)."""
        draws = self.draws

        def use(numbers: Tensor, owners: Tensor, outputs: Tensor) -> None:
            # In double: thousands of draws may be added up, chunk by chunk.
            values = read(outputs, owners).to(torch.float64)
            first = int(numbers[0])
            last = int(numbers[-1]) + 1
            # A chunk of whole masks is a mean over a dimension; one that cuts through draws adds up.
            if first % draws == 0 and last % draws == 0:
                means = values.view(-1, draws, values.shape[1]).mean(1)
                table()[first // draws : last // draws] = means
            else:
                table().index_add_(0, numbers // draws, values / draws)

        total = self.n * self.masks_per_input * draws
        self.evaluation.outputs(
            total,
            self.make,
            use,
            "with features removed",
            unit=draws,
            changes=self._local_changes(total),
        )

    # --- rows of a chunk

    def make(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of consecutive numbers, and the inputs they belong to."""
        draws = self.draws
        first = int(numbers[0])
        last = int(numbers[-1]) + 1
        first_owner = first // draws // self.masks_per_input
        last_owner = (last - 1) // draws // self.masks_per_input
        # Rows that start or end inside a mask's draws are cut out of whole ones, where that is cheap.
        mostly_whole = draws == 1 or last - first >= 2 * draws
        few_inputs = last_owner - first_owner < _FEW
        # A loop over inputs pays where there are few, each with many masks.
        if isinstance(self.evaluation.absent, FixedAbsent) and mostly_whole and few_inputs:
            return self._rows_by_input(first, last, self.evaluation.absent)
        return self._rows_by_mask(numbers)

    def _rows_by_input(self, first: int, last: int, absent: FixedAbsent) -> tuple[Tensor, Tensor]:
        """Rows first..last - 1, input by input: mask and replacement meet in one broadcast."""
        m = self.masks_per_input
        draws = self.draws
        x = self.evaluation.x
        # The masks that the rows touch, counted over all inputs.
        start = first // draws
        stop = -(-last // draws)
        rows = x.new_empty(stop - start, draws, x.shape[1])
        owners = torch.empty(stop - start, draws, dtype=torch.int64, device=x.device)
        for owner in range(start // m, (stop - 1) // m + 1):
            # This input's own masks among them.
            low = max(start - owner * m, 0)
            high = min(stop - owner * m, m)
            part = slice(low + owner * m - start, high + owner * m - start)
            self._fill(rows[part], absent, owner, low, high)
            owners[part] = owner
        wanted = slice(first - start * draws, last - start * draws)
        return rows.view(-1, rows.shape[-1])[wanted], owners.view(-1)[wanted]

    def _fill(self, rows: Tensor, absent: FixedAbsent, owner: int, low: int, high: int) -> None:
        """Writes the rows (masks, draws, elements) of one input under masks low..high - 1."""
        masks = self.masks if self.masks.dim() == 2 else self.masks[owner]
        index = torch.tensor([owner], device=masks.device)
        present = self.evaluation.partition.spread(masks[low:high], index)
        replacements = absent.rows[0 if absent.shared else owner]
        blend_into(rows, self.evaluation.x[owner], replacements, present.unsqueeze(1))

    def _rows_by_mask(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of any numbers, each masked by itself: any removal, any number of inputs."""
        m = self.masks_per_input
        draws = self.draws
        start = int(numbers[0]) // draws
        stop = int(numbers[-1]) // draws + 1
        # Each mask is spread once, whatever the number of its draws.
        touched = torch.arange(start, stop, device=numbers.device)
        mask_owners = touched // m
        masks = (
            self.masks[touched % m] if self.masks.dim() == 2 else self.masks.flatten(0, 1)[touched]
        )
        present = self.evaluation.partition.spread(masks, mask_owners)
        position = numbers // draws - start
        owners = mask_owners[position]
        x = self.evaluation.x[owners]
        rows = self.evaluation.absent.remove(x, present[position], owners, numbers % draws)
        return rows, owners

    # --- small patches of images

    def _local_changes(self, total: int) -> LocalChanges | None:
        """Where rows differ from their inputs, if that is a small patch of an image every time."""
        source = self.evaluation
        # What is told beside an image may change its outputs anywhere, and not only in the patch.
        if not source.model.incremental or source.aligned or source.shared or total < _MANY:
            return None
        rectangles = self._hidden_rectangles()
        if rectangles is None:
            return None

        def images(owners: Tensor, memory: int) -> Tensor:
            folded: Tensor = arranged(source.layout.fold(source.x[owners]), memory)[0]
            return folded

        def changes(numbers: Tensor, owners: Tensor, memory: int) -> LocalChange:
            masks = numbers // self.draws % self.masks_per_input
            return LocalChange(partial(images, memory=memory), self.n, rectangles.of(masks, owners))

        return changes

    def _hidden_rectangles(self) -> Rectangles | None:
        """Rectangles of one size around what each mask hides, if masks are shared and small."""
        layout = self.evaluation.layout
        partition = self.evaluation.partition
        shape = layout.shapes[0]
        shared_masks = self.masks.dim() == 2 and len(partition.labels) == 1
        one_image = isinstance(layout, TensorLayout) and len(layout.shapes) == 1 and len(shape) == 3
        if not (shared_masks and one_image and self.masks.dtype == torch.bool):
            return None
        # The first mask tells most of what is no patch, at a fraction of the cost.
        if not self._small(self._around(self.masks[:1])):
            return None
        # All masks share one size: patches of a chunk are then one tensor.
        rectangles = self._around(self.masks)
        return rectangles if self._small(rectangles) else None

    def _small(self, rectangles: Rectangles) -> bool:
        height, width = self.evaluation.layout.shapes[0][1:]
        return rectangles.height * rectangles.width <= _PATCH * height * width

    def _around(self, masks: Tensor) -> Rectangles:
        layout = self.evaluation.layout
        partition = self.evaluation.partition
        first = torch.zeros(1, dtype=torch.int64, device=masks.device)
        hidden_rows = []
        hidden_columns = []
        for piece in pieces(len(masks), layout.elements, _CELLS):
            present = partition.spread(masks[piece], first).view(-1, *layout.shapes[0])
            hidden = ~present.all(dim=1)
            hidden_rows.append(hidden.any(dim=2))
            hidden_columns.append(hidden.any(dim=1))
        return boxes(torch.cat(hidden_rows), torch.cat(hidden_columns))
