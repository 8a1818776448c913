"""The rows of n inputs under m masks and the removal's draws: built a chunk at a time, never all at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from assay.bound import Bound
from assay.removal import FixedAbsent, blend_into

_FEW = 8  # inputs in a chunk up to which their rows are made one input at a time


@final
@dataclass(frozen=True, eq=False)
class Masked:
    """Masks (m, features) or (n, m, features) over bound inputs; row (i * m + j) * draws + b is input i, mask j, draw b."""

    bound: Bound
    masks: Tensor
    n: int

    @property
    def draws(self) -> int:
        """Replacements of each masked input, over which values are averaged."""
        return self.bound.absent.draws

    def average(self, read: Callable[[Tensor, Tensor], Tensor], table: Callable[[], Tensor]) -> None:
        """Writes read(outputs, owners) (r, k), averaged over the draws, into the table (n * m, k)."""
        draws = self.draws

        def use(flat: Tensor, owners: Tensor, outputs: Tensor) -> None:
            values = read(outputs, owners).to(torch.float64)
            first, last = int(flat[0]), int(flat[-1]) + 1
            if first % draws == 0 and last % draws == 0:
                table()[first // draws : last // draws] = values.view(-1, draws, values.shape[1]).mean(1)
            else:
                table().index_add_(0, flat // draws, values / draws)

        total = self.n * self.masks.shape[-2] * draws
        self.bound.outputs(total, self.make, use, "with features removed", unit=draws)

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
        blend_into(rows, self.bound.x[i], absent.rows[0 if absent.shared else i], present.unsqueeze(1))
