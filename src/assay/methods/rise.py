"""RISE: show a model randomly masked inputs, and average the masks by what it answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import InputError, SettingError
from assay.methods.base import Axiom, Estimate, Method
from assay.models.base import Ability
from assay.numerics import rng
from assay.question.question import Question

_MASK_CELLS = 1 << 23  # elements of one piece of masks: 32 MiB in float32

_OUTER_CELLS = 1 << 22  # elements of one piece of answers times grids

_MOST_MASKS = 1 << 20  # masks that `masks="all"` may enumerate

_FEWEST_BLOCKS, _BLOCK = (
    20,
    512,
)  # blocks of masks are the replicates of the standard error, and all that is held at once

Block = tuple[Tensor, Tensor, Tensor]
"""Grids (m, cells), bool; shifts (m,), int64; weights (m,), float64."""


@final
@dataclass(frozen=True)
class Axis:
    """One axis of the map under a coarse grid: `cell` places wide steps between grid nodes, moved
    by a shift of 0..cell-1.

    Place l under shift s lies between node j = (l + s) // cell and node j + 1, at t = ((l + s) mod
    cell) / cell, and takes (1 - t) of the one and t of the other. There are nodes beyond both
    borders, so over the shifts every place meets every t once: the variance of a mask is the same
    everywhere. One place per cell (t = 0) leaves the grid as it is.
    """

    length: int
    grid: int

    @property
    def cell(self) -> int:
        """Places between two nodes of the grid."""
        return -(-self.length // self.grid)

    @property
    def nodes(self) -> int:
        """Nodes that reach every place under every shift, those beyond the border with them."""
        return (self.length + self.cell - 2) // self.cell + 1 + (self.cell > 1)

    @property
    def variance(self) -> float:
        """The variance of a place, as a share of that of a grid node: the mean over t of (1 - t)^2
        + t^2.
        """
        t = np.arange(self.cell) / self.cell
        return float(np.mean((1 - t) ** 2 + t**2))

    def weights(self) -> Tensor:
        """The interpolation matrices of all shifts: (cell, length, nodes), float64, rows that sum
        to one.
        """
        place = torch.arange(self.length)[None, :] + torch.arange(self.cell)[:, None]
        node, t = place // self.cell, (place % self.cell).to(torch.float64) / self.cell
        matrix = torch.zeros(self.cell, self.length, self.nodes, dtype=torch.float64)
        matrix.scatter_(2, node[..., None], (1 - t)[..., None])
        return matrix.scatter_add_(2, (node + 1).clamp_max(self.nodes - 1)[..., None], t[..., None])


@final
@dataclass(frozen=True)
class Lattice:
    """A coarse grid over a map: two axes that the grid covers, and `layers` in front of them that
    share every mask.
    """

    down: Axis
    across: Axis
    layers: int
    down_weights: Tensor
    across_weights: Tensor

    @property
    def cells(self) -> int:
        """Coins of one mask."""
        return self.down.nodes * self.across.nodes

    @property
    def shifts(self) -> int:
        """Ways to shift a grid."""
        return self.down.cell * self.across.cell

    @property
    def features(self) -> int:
        """Places of the feature map."""
        return self.layers * self.down.length * self.across.length

    def masks(self, grids: Tensor, shifts: Tensor, dtype: torch.dtype) -> Tensor:
        """Grids (m, cells) moved by their shifts (m,) to masks (m, features); bool where every
        place is a cell.
        """
        grids = grids.view(len(grids), self.down.nodes, self.across.nodes)
        if self.shifts == 1:
            fine = grids
        else:
            down = self.down_weights.to(dtype)[shifts // self.across.cell]
            across = self.across_weights.to(dtype)[shifts % self.across.cell]
            fine = down @ grids.to(dtype) @ across.mT
        return fine.flatten(1).repeat(1, self.layers)

    def fold(self, sums: Tensor) -> Tensor:
        """Sums over masks kept as (r, shifts, cells) to sums at every feature, (r, features): two
        matrix products.
        """
        rows = sums.reshape(
            -1, self.down.cell, self.across.cell, self.down.nodes, self.across.nodes
        )
        rows = rows.permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)
        across = self.across_weights.transpose(0, 1).flatten(1)
        down = self.down_weights.transpose(0, 1).flatten(1)
        return (down @ (rows @ across.mT)).flatten(1).repeat(1, self.layers)


def lattice(shape: tuple[int, ...], grid: int | None, device: torch.device) -> Lattice:
    """The grid over a map: over its last two axes, or over the only one."""
    *layers, high, wide = shape if len(shape) > 1 else (1, *shape)
    size = grid or (max(high, wide) if len(shape) == 1 else 7)
    down, across = Axis(high, min(size, high)), Axis(wide, min(size, wide))
    return Lattice(
        down, across, math.prod(layers), down.weights().to(device), across.weights().to(device)
    )


def add_outer(sums: Tensor, answers: Tensor, grids: Tensor, shifts: Tensor) -> None:
    """Adds answers (r, m) times grids (m, cells) to `sums` (r, shifts, cells), each mask under its
    own shift.
    """
    step = max(1, _OUTER_CELLS // (len(answers) * grids.shape[1]))
    for start in range(0, len(grids), step):
        part = slice(start, start + step)
        sums.index_add_(
            1, shifts[part], answers[:, part, None] * grids[None, part].to(answers.dtype)
        )


@final
class Ledger:
    """Running sums over blocks of masks: totals, and the second moments that the standard errors
    need.
    """

    def __init__(self, rows: int, features: int, device: torch.device) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=device)

        self.total, self.weight, self.score = (
            zeros(rows, features),
            zeros(1, features),
            zeros(rows, 1),
        )
        self.masks, self.blocks = 0.0, 0
        self.means = [zeros(rows, features), zeros(1, features), zeros(rows, 1)]
        self.squares = {pair: zeros(rows, features) for pair in ((0, 0), (0, 1), (0, 2), (1, 2))}
        self.squares |= {(1, 1): zeros(1, features), (2, 2): zeros(rows, 1)}

    def add(self, total: Tensor, weight: Tensor, score: Tensor, masks: float) -> None:
        """One more block: its sums of f M (r, F), of M (1, F), of f (r, 1), and the number of its
        masks.
        """
        self.total += total
        self.weight += weight
        self.score += score
        self.masks += masks
        self.blocks += 1
        block = [total / masks, weight / masks, score / masks]
        before = [new - mean for new, mean in zip(block, self.means)]
        self.means = [mean + gap / self.blocks for mean, gap in zip(self.means, before)]
        after = [new - mean for new, mean in zip(block, self.means)]
        for (one, other), square in self.squares.items():
            square += before[one] * after[other]

    def standard_error(
        self, of_weight: Tensor | float, of_score: Tensor | float, scale: Tensor | float
    ) -> Tensor:
        """The standard error of mean(u) / scale for u = f M + of_weight * M + of_score * f, over
        the blocks.
        """
        q = self.squares
        spread = q[0, 0] + of_weight**2 * q[1, 1] + of_score**2 * q[2, 2]
        spread = spread + 2 * (
            of_weight * q[0, 1] + of_score * q[0, 2] + of_weight * of_score * q[1, 2]
        )
        return (spread.clamp_min(0) / (self.blocks * (self.blocks - 1))).sqrt() / scale


def independent(grid: Lattice, masks: int, keep: float, seed: int) -> Iterator[Block]:
    """Blocks of grids whose cells are kept independently with probability `keep`, each under a
    shift of its own.
    """
    blocks = max(_FEWEST_BLOCKS, -(-masks // _BLOCK))
    for block in range(blocks):
        size = (block + 1) * masks // blocks - block * masks // blocks
        draw = rng.shared(seed, f"rise {block}")
        grids = torch.from_numpy(draw.random((size, grid.cells)) < keep)
        yield (
            grids,
            torch.from_numpy(draw.integers(grid.shifts, size=size)),
            torch.ones(size, dtype=torch.float64),
        )


def balanced(grid: Lattice, masks: int, seed: int) -> Iterator[Block]:
    """Blocks of grids from the columns of a Hadamard matrix, each kept half of the time and with
    every other a quarter.

    The columns, their signs and one shift are drawn for each block, so that blocks are independent
    replicates and each grid alone is a fair coin per cell.
    """
    size = 1 << grid.cells.bit_length()
    hadamard = np.ones((1, 1), dtype=np.int8)
    while len(hadamard) < size:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    for block in range(masks // size):
        draw = rng.shared(seed, f"rise balanced {block}")
        columns = hadamard[:, 1 + draw.permutation(size - 1)[: grid.cells]]
        grids = torch.from_numpy(columns * draw.choice([-1, 1], size=grid.cells) > 0)
        shift = torch.full((size,), int(draw.integers(grid.shifts)))
        yield grids, shift, torch.ones(size, dtype=torch.float64)


def exhaustive(grid: Lattice, keep: float) -> Iterator[Block]:
    """Every grid under every shift, each weighted by its probability; the weights sum to one."""
    codes = torch.arange(1 << grid.cells)
    for start in range(0, len(codes), _BLOCK):
        grids = (codes[start : start + _BLOCK, None] >> torch.arange(grid.cells) & 1).bool()
        kept = grids.sum(dim=1).to(torch.float64)
        weight = keep**kept * (1 - keep) ** (grid.cells - kept) / grid.shifts
        for shift in range(grid.shifts):
            yield grids, torch.full((len(grids),), shift), weight


def gather(
    grid: Lattice,
    blocks: Iterator[Block],
    ask: Callable[[Tensor], Tensor],
    rows: int,
    dtype: torch.dtype,
) -> Ledger:
    """Asks every mask once, `ask(masks (m, features)) -> (rows, m)`, and keeps sums alone."""
    device = grid.down_weights.device
    ledger = Ledger(rows, grid.features, device)
    step = max(1, _MASK_CELLS // grid.features)
    for block in blocks:
        grids, shifts, weights = (part.to(device) for part in block)
        answers = torch.cat([
            ask(grid.masks(grids[at : at + step], shifts[at : at + step], dtype)).to(torch.float64)
            for at in range(0, len(grids), step)
        ], dim=1)  # fmt: skip
        weighted = torch.cat([answers * weights, weights[None]])
        sums = torch.zeros(rows + 1, grid.shifts, grid.cells, dtype=torch.float64, device=device)
        add_outer(sums, weighted, grids, shifts)
        folded, scores = grid.fold(sums), weighted.sum(dim=1)
        ledger.add(folded[:-1], folded[-1:], scores[:-1, None], float(scores[-1]))
    return ledger


@final
@dataclass(frozen=True)
class Rise(Method):
    """The score a model gives on average when a feature is shown, over randomly masked inputs.

    ratio:   S(l) = sum_i f(x * M_i) M_i(l) / sum_i M_i(l)               (normalised by the masks drawn)
    raw:     S(l) = sum_i f(x * M_i) M_i(l) / (N p)                      (Petsiuk, Das and Saenko 2018, eq. 6)
    centred: S(l) = Cov(f(x * M), M(l)) / Var M(l)                       (signed: the slope of the score on the mask)

    For masks that are 0 or 1, ratio and raw estimate E[f | l shown], and centred E[f | l shown] -
    E[f | l hidden]. Masks are coarse grids of fair (or `keep`-biased) coins, interpolated linearly
    and moved by a random shift, with grid nodes beyond the border, so that their variance is the
    same at every place. `grid` counts the cells along each of the last two axes of the feature map
    (7 where nothing is said; on a line of features, each is a cell); axes in front of them share
    every mask. With as many cells as places, masks are 0 or 1. `masks="all"` enumerates them,
    without sampling. `design="balanced"` draws the grids from Hadamard matrices, in whole blocks:
    fewer masks for the same error.

    Cost: `masks` evaluations (times the draws of the removal). Sums are kept in grid space, and
    masks are made in pieces: memory does not grow with their number. Values: (n, features), in
    units of the target; the standard error comes from independent blocks of masks. Errors:
    InputError for settings that leave no estimate, or more than 2^20 masks to enumerate.

    >>> from assay import Question
    >>> question = Question(lambda x: 2 * x[:, 0] - x[:, 1], torch.tensor([[1.0, 3.0]]))
    >>> Rise(masks="all", estimator="centred")(question).values
    tensor([[ 2., -3.]])
    """

    masks: int | Literal["all"] = 4000
    grid: int | None = None
    keep: float = 0.5
    estimator: Literal["ratio", "raw", "centred"] = "ratio"
    design: Literal["independent", "balanced"] = "independent"

    axioms = frozenset({Axiom.LINEARITY})
    cost: ClassVar[str] = "masks"

    def __post_init__(self) -> None:
        if self.masks != "all" and (
            not isinstance(self.masks, int) or self.masks < 2 * _FEWEST_BLOCKS
        ):
            raise SettingError(
                expected=f"at least {2 * _FEWEST_BLOCKS} masks, or 'all'",
                got=repr(self.masks),
                advice="",
            )
        if self.grid is not None and self.grid < 1:
            raise SettingError(
                expected="a grid of at least one cell along an axis",
                got=self.grid,
                advice="",
            )
        if not 0 < self.keep < 1:
            raise SettingError(
                expected="a share of cells to keep between 0 and 1",
                got=self.keep,
                advice="",
            )
        if self.estimator not in ("ratio", "raw", "centred"):
            raise SettingError(
                expected="the estimator 'ratio', 'raw' or 'centred'",
                got=repr(self.estimator),
                advice="",
            )
        if self.design not in ("independent", "balanced"):
            raise SettingError(
                expected="the design 'independent' or 'balanced'",
                got=repr(self.design),
                advice="",
            )
        if self.design == "balanced" and self.keep != 0.5:
            raise InputError(
                f"Balanced masks keep half of the cells, got keep={self.keep}; use design='independent'."
            )

    @property
    def kind(self) -> Kind:
        return Kind.CONTRIBUTION if self.estimator == "centred" else Kind.WEIGHT

    def values(self, question: Question, seed: int) -> Estimate:
        clean = question.prediction[:, None].to(torch.float64)
        grid, blocks = self._plan(question, seed)
        # Differences to the clean score: a score with a large constant part would drown its own standard error.
        ledger = gather(
            grid, blocks, lambda m: question.value(m) - clean, len(clean), _float(question.x)
        )
        values, error = self._read(ledger, grid, clean)
        return Estimate(values, None if self.masks == "all" else error)

    def every_output(self, question: Question, seed: int = 0) -> Tensor:
        """The maps of all outputs in one pass over the masks: (n, outputs, features)."""
        grid, blocks = self._plan(question, seed)
        whole = torch.ones(1, question.partition.count, dtype=torch.bool, device=question.x.device)
        clean = question.outputs(whole)[:, 0].to(torch.float64)

        def ask(masks: Tensor) -> Tensor:
            return (question.outputs(masks) - clean[:, None]).transpose(1, 2).flatten(0, 1)

        ledger = gather(grid, blocks, ask, clean.numel(), _float(question.x))
        return self._read(ledger, grid, clean.reshape(-1, 1))[0].view(*clean.shape, -1)

    def _plan(self, question: Question, seed: int) -> tuple[Lattice, Iterator[Block]]:
        partition = question.partition
        whole = math.prod(partition.shape) == partition.count
        grid = lattice(
            partition.shape if whole else (partition.count,), self.grid, question.x.device
        )
        if self.masks == "all":
            if grid.shifts << grid.cells > _MOST_MASKS:
                raise InputError(
                    f"masks='all' would ask 2^{grid.cells} grids under {grid.shifts} shifts, more than 2^20 masks; "
                    "use a coarser grid, or a number of masks."
                )
            return grid, exhaustive(grid, self.keep)
        if self.design == "independent":
            return grid, independent(grid, self.masks, self.keep, seed)
        size = 1 << grid.cells.bit_length()
        if self.masks < 2 * size:
            raise InputError(
                f"Balanced masks for a grid of {grid.cells} cells come in blocks of {size}, and an error "
                f"needs two: expected at least {2 * size} masks, got {self.masks}."
            )
        return grid, balanced(grid, self.masks, seed)

    def _read(self, ledger: Ledger, grid: Lattice, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Values and standard errors from sums of (f - clean) M, M and f - clean."""
        total, weight, score, masks = ledger.total, ledger.weight, ledger.score, ledger.masks
        if self.estimator == "ratio":
            if bool((weight <= 0).any()):
                raise InputError(
                    f"No mask shows some of the features at keep={self.keep}; use more masks or a larger share."
                )
            values = total / weight
            return values + clean, ledger.standard_error(-values, 0.0, weight / masks)
        if self.estimator == "raw":
            return (total + clean * weight) / (masks * self.keep), ledger.standard_error(
                clean, 0.0, self.keep
            )
        spread = self.keep * (1 - self.keep) * grid.down.variance * grid.across.variance
        values = (total / masks - score / masks * weight / masks) / spread
        return values, ledger.standard_error(-score / masks, -weight / masks, spread)


def _float(x: Tensor) -> torch.dtype:
    return x.dtype if x.is_floating_point() else torch.get_default_dtype()
