"""The rows of n inputs under m masks and the removal's draws: built a chunk at a time, never all at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from assay.bound import Bound
from assay.removal import FixedAbsent, blend


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
        first, last, draws = int(flat[0]), int(flat[-1]) + 1, self.draws
        start, stop = first // draws, -(-last // draws)
        x, present, owners = self._coalitions(start, stop, flat.device)
        absent, cut = self.bound.absent, slice(first - start * draws, last - start * draws)
        everyone = owners.expand(stop - start).repeat_interleave(draws)[cut]
        if isinstance(absent, FixedAbsent) and absent.shared and (draws == 1 or last - first >= 2 * draws):
            # Input, mask and replacement meet in one broadcast: nothing is copied but the rows themselves.
            rows = blend(x.unsqueeze(1), absent.rows, present.unsqueeze(1))
            return rows.view(-1, rows.shape[-1])[cut], everyone
        local = (flat // draws) - start
        own = x[local] if len(x) > 1 else x.expand(len(flat), -1)
        return absent.fill(own, present[local], everyone, flat % draws), everyone

    def _coalitions(self, start: int, stop: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs (c or 1, elements), element masks (c, elements) and owners (c or 1,) of consecutive (input, mask) pairs."""
        m = self.masks.shape[-2]
        if start // m == (stop - 1) // m:
            owners = torch.tensor([start // m], device=device)
            masks = self.masks if self.masks.dim() == 2 else self.masks[start // m]
            own = masks[start % m : start % m + stop - start]
        else:
            pairs = torch.arange(start, stop, device=device)
            owners = pairs // m
            own = self.masks[pairs % m] if self.masks.dim() == 2 else self.masks[owners, pairs % m]
        return self.bound.x[owners], self.bound.partition.spread(own, owners), owners
