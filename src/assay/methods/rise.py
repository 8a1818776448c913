"""RISE: show a model randomly masked inputs, and average the masks by what it answers.

Petsiuk, Das and Saenko (2018) draw coarse grids of coins, upsample them and shift them at random.
Here the upsampling is a product of two small matrices, one for each axis (`Axis.weights`), so that
sums over masks are kept on the grid, one for each shift, and unfolded at the end: memory does not
grow with the number of masks, and the variance of a mask is the same at every place (in the paper's
upsampling it is not, and the border looks less important than it is). Standard errors come from
independent blocks of masks (`Ledger`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import InputError, SettingError
from assay.features.partition import Partition
from assay.methods.base import Axiom, Estimate, Method
from assay.numerics import rng
from assay.numerics.pieces import pieces
from assay.numerics.statistics import widening
from assay.question.question import Question

_MASK_CELLS = 1 << 23  # elements of one piece of masks: 32 MiB in float32
_OUTER_CELLS = 1 << 22  # elements of one piece of answers times grids: 32 MiB in float64
_MOST_MASKS = 1 << 20  # masks that `masks="all"` may enumerate
_FEWEST_BLOCKS = 20  # blocks of masks are the replicates of the standard error
# What an answer says of itself, since no place of a mean score is worth nothing.
_LEVEL = "the mean score where a place is shown: zero is not neutral, compare places"
_BLOCK = 512  # masks of a block at most: all of it that is held at once

Block = tuple[Tensor, Tensor, Tensor]
"""Grids (m, cells), bool; shifts (m,), int64; weights (m,), float64."""


@final
@dataclass(frozen=True)
class Axis:
    """One axis of the map under a coarse grid: `cell` places lie between two grid nodes.

    The grid is moved by a shift of 0..cell - 1. Place l under shift s lies between node
    j = (l + s) // cell and node j + 1, at t = ((l + s) mod cell) / cell, and takes (1 - t) of the
    one and t of the other. There are nodes beyond both borders, so over the shifts every place
    meets every t once: the variance of a mask is the same everywhere. One place per cell (t = 0)
    leaves the grid as it is.
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
        inside = (self.length + self.cell - 2) // self.cell + 1
        # With one place per cell nothing is interpolated, and no node beyond the border is met.
        return inside if self.cell == 1 else inside + 1

    @property
    def variance(self) -> float:
        """The variance of a place, as a share of that of a node: the mean of (1 - t)^2 + t^2."""
        t = np.arange(self.cell) / self.cell
        return float(np.mean((1 - t) ** 2 + t**2))

    def weights(self) -> Tensor:
        """The interpolation matrices of all shifts: (cell, length, nodes), float64.

        Rows sum to one.
        """
        place = torch.arange(self.length)[None, :] + torch.arange(self.cell)[:, None]
        node = place // self.cell
        t = (place % self.cell).to(torch.float64) / self.cell
        matrix = torch.zeros(self.cell, self.length, self.nodes, dtype=torch.float64)
        matrix.scatter_(2, node[..., None], (1 - t)[..., None])
        # Where t = 0 at the last node, there is no node behind it to take a share.
        following = (node + 1).clamp_max(self.nodes - 1)
        return matrix.scatter_add_(2, following[..., None], t[..., None])


@final
@dataclass(frozen=True)
class Lattice:
    """A coarse grid over a feature map: two axes that it covers, `layers` in front that share it."""

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
        """Grids (m, cells) moved by their shifts (m,) to masks (m, features).

        Bool where every place is a cell of its own.
        """
        grids = grids.view(len(grids), self.down.nodes, self.across.nodes)
        if self.shifts == 1:
            maps = grids
        else:
            # A shift is one number: its row shift, then its column shift.
            down = self.down_weights.to(dtype)[shifts // self.across.cell]
            across = self.across_weights.to(dtype)[shifts % self.across.cell]
            maps = down @ grids.to(dtype) @ across.mT
        return maps.flatten(1).repeat(1, self.layers)

    def unfold(self, sums: Tensor) -> Tensor:
        """Sums over masks kept on the grid (r, shifts, cells) to sums at every feature (r, features).

        The sum over shifts of down_s @ grid_s @ across_s^T is two products with all shifts side by
        side.
        """
        shape = (self.down.cell, self.across.cell, self.down.nodes, self.across.nodes)
        grids = sums.reshape(-1, *shape)
        # (r, down shift, down node, across shift, across node) -> rows of all across pairs
        stacked = grids.permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)
        across = self.across_weights.transpose(0, 1).flatten(1)
        down = self.down_weights.transpose(0, 1).flatten(1)
        maps = down @ (stacked @ across.mT)
        return maps.flatten(1).repeat(1, self.layers)


def lattice(shape: tuple[int, ...], grid: int | None, device: torch.device) -> Lattice:
    """The grid over a map: over its last two axes, or over the only one."""
    *layers, height, width = shape if len(shape) > 1 else (1, *shape)
    # On a line of features each is a cell; over an image the paper's seven cells along an axis.
    usual = max(height, width) if len(shape) == 1 else 7
    size = grid or usual
    down = Axis(height, min(size, height))
    across = Axis(width, min(size, width))
    return Lattice(
        down=down,
        across=across,
        layers=math.prod(layers),
        down_weights=down.weights().to(device),
        across_weights=across.weights().to(device),
    )


def add_outer(sums: Tensor, answers: Tensor, grids: Tensor, shifts: Tensor) -> None:
    """Adds answers (r, m) times grids (m, cells) to sums (r, shifts, cells), each at its shift."""
    rows, cells = len(answers), grids.shape[1]
    for piece in pieces(len(grids), rows * cells, _OUTER_CELLS):
        products = answers[:, piece, None] * grids[None, piece].to(answers.dtype)
        sums.index_add_(1, shifts[piece], products)


@final
class Ledger:
    """Running sums over blocks of masks, and the second moments of the blocks' means.

    Three quantities are followed, f M, M and f (answer times mask, mask, answer). Their covariances
    over blocks are updated as by Welford (1962), and give the standard error of any combination of
    them by the delta method.
    """

    def __init__(self, rows: int, features: int, device: torch.device) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=device)

        self.total = zeros(rows, features)
        self.weight = zeros(1, features)
        self.score = zeros(rows, 1)
        self.masks = 0.0
        self.blocks = 0
        # Means of the blocks, and sums of products of their deviations, in the order f M, M, f.
        self.means = [zeros(rows, features), zeros(1, features), zeros(rows, 1)]
        self.products = {
            (0, 0): zeros(rows, features),
            (0, 1): zeros(rows, features),
            (0, 2): zeros(rows, features),
            (1, 2): zeros(rows, features),
            (1, 1): zeros(1, features),
            (2, 2): zeros(rows, 1),
        }

    def add(self, total: Tensor, weight: Tensor, score: Tensor, masks: float) -> None:
        """One more block: its sums of f M (r, F), of M (1, F), of f (r, 1), its number of masks."""
        self.total += total
        self.weight += weight
        self.score += score
        self.masks += masks
        self.blocks += 1
        block = [total / masks, weight / masks, score / masks]
        before = [new - mean for new, mean in zip(block, self.means)]
        self.means = [mean + gap / self.blocks for mean, gap in zip(self.means, before)]
        after = [new - mean for new, mean in zip(block, self.means)]
        for (first, second), product in self.products.items():
            product += before[first] * after[second]

    def standard_error(
        self, of_weight: Tensor | float, of_score: Tensor | float, scale: Tensor | float
    ) -> Tensor:
        """The standard error of mean(u) / scale, u = f M + of_weight * M + of_score * f."""
        q = self.products
        squares = q[0, 0] + of_weight**2 * q[1, 1] + of_score**2 * q[2, 2]
        mixed = of_weight * q[0, 1] + of_score * q[0, 2] + of_weight * of_score * q[1, 2]
        variance = (squares + 2 * mixed).clamp_min(0) / (self.blocks * (self.blocks - 1))
        # From few blocks the spread itself is not known well: Student's quantile makes up for it.
        return variance.sqrt() * widening(self.blocks - 1) / scale


def independent(grid: Lattice, masks: int, keep: float, seed: int) -> Iterator[Block]:
    """Blocks of grids whose cells are kept independently with probability `keep`.

    Each grid is under a shift of its own.
    """
    blocks = max(_FEWEST_BLOCKS, -(-masks // _BLOCK))
    for block in range(blocks):
        # Blocks differ by one mask at most.
        size = (block + 1) * masks // blocks - block * masks // blocks
        draw = rng.shared(seed, f"rise {block}")
        grids = torch.from_numpy(draw.random((size, grid.cells)) < keep)
        shifts = torch.from_numpy(draw.integers(grid.shifts, size=size))
        yield grids, shifts, torch.ones(size, dtype=torch.float64)


def balanced(grid: Lattice, masks: int, seed: int) -> Iterator[Block]:
    """Blocks of grids from the columns of a Hadamard matrix: an orthogonal array of strength two.

    Within a block each cell is kept half of the time, and with every other a quarter. The columns,
    their signs and one shift are drawn for each block, so that blocks are independent replicates
    and each grid alone is a fair coin per cell.
    """
    size = 1 << grid.cells.bit_length()
    # Sylvester's construction.
    hadamard = np.ones((1, 1), dtype=np.int8)
    while len(hadamard) < size:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    for block in range(masks // size):
        draw = rng.shared(seed, f"rise balanced {block}")
        # The first column is constant, and no coin.
        columns = hadamard[:, 1 + draw.permutation(size - 1)[: grid.cells]]
        signs = draw.choice([-1, 1], size=grid.cells)
        grids = torch.from_numpy(columns * signs > 0)
        shift = torch.full((size,), int(draw.integers(grid.shifts)))
        yield grids, shift, torch.ones(size, dtype=torch.float64)


def exhaustive(grid: Lattice, keep: float) -> Iterator[Block]:
    """Every grid under every shift, each weighted by its probability; the weights sum to one."""
    codes = torch.arange(1 << grid.cells)
    for start in range(0, len(codes), _BLOCK):
        # A grid is the bits of its number.
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
    for block in blocks:
        grids, shifts, weights = (part.to(device) for part in block)
        answers = []
        for piece in pieces(len(grids), grid.features, _MASK_CELLS):
            masks = grid.masks(grids[piece], shifts[piece], dtype)
            answers.append(ask(masks).to(torch.float64))
        # The last row is an answer of one: its sums are those of the masks themselves.
        weighted = torch.cat([torch.cat(answers, dim=1) * weights, weights[None]])
        sums = torch.zeros(rows + 1, grid.shifts, grid.cells, dtype=torch.float64, device=device)
        add_outer(sums, weighted, grids, shifts)
        unfolded = grid.unfold(sums)
        scores = weighted.sum(dim=1)
        ledger.add(unfolded[:-1], unfolded[-1:], scores[:-1, None], float(scores[-1]))
    return ledger


@final
@dataclass(frozen=True)
class Rise(Method):
    """The score a model gives on average when a feature is shown, over randomly masked inputs.

    ratio:   S(l) = sum_i f(x * M_i) M_i(l) / sum_i M_i(l)      (normalised by the masks drawn)
    raw:     S(l) = sum_i f(x * M_i) M_i(l) / (N p)             (Petsiuk, Das and Saenko 2018, eq. 6)
    centred: S(l) = Cov(f(x * M), M(l)) / Var M(l)              (signed: slope of score on mask)

    For masks that are 0 or 1, ratio and raw estimate E[f | l shown], and centred
    E[f | l shown] - E[f | l hidden].

    Settings:
        masks: how many, or "all", which enumerates them without sampling. They are coarse grids of
            coins, interpolated linearly and moved by a random shift, with grid nodes beyond the
            border, so that their variance is the same at every place.
        grid: cells along each of the last two axes of the feature map (7 where nothing is said; on
            a line of features, each is a cell); axes in front of them share every mask. With as
            many cells as places, masks are 0 or 1.
        keep: the probability that a cell is shown.
        estimator: "centred", whose zero means that a place does not matter, or the levels "ratio"
            and "raw" (the paper's), whose zero means nothing.
        design: "independent" coins, or "balanced", from Hadamard matrices in whole blocks: fewer
            masks for the same error.

    Cost: `masks` evaluations (times the draws of the removal). Sums are kept in grid space, and
    masks are made in pieces: memory does not grow with their number. Values: (n, features), in
    units of the target. Centred ones of features that are a cell each (a line, or a grid as fine
    as the map) are contributions; places that share a cell get what the cell does, each in full,
    and levels have no zero: those are weights, and no metric adds them up. The standard
    error comes from independent blocks of masks, widened by Student's factor, so that 1.96 of them
    make a 95 % interval also from two blocks. Errors: InputError for settings that leave no
    estimate, or more than 2^20 masks to enumerate.

    >>> from assay import Question
    >>> question = Question(lambda x: 2 * x[:, 0] - x[:, 1], torch.tensor([[1.0, 3.0]]))
    >>> Rise(masks="all", estimator="centred")(question).values
    tensor([[ 2., -3.]])
    """

    masks: int | Literal["all"] = 4000
    grid: int | None = None
    keep: float = 0.5
    estimator: Literal["ratio", "raw", "centred"] = "centred"
    design: Literal["independent", "balanced"] = "independent"

    axioms = frozenset({Axiom.LINEARITY})
    cost: ClassVar[str] = "masks"

    def __post_init__(self) -> None:
        fewest = 2 * _FEWEST_BLOCKS
        enough = self.masks == "all" or (isinstance(self.masks, int) and self.masks >= fewest)
        if not enough:
            raise SettingError(
                expected=f"at least {fewest} masks, or 'all'",
                got=repr(self.masks),
                advice="The standard error needs replicates: some thousands of masks are usual.",
            )
        if self.grid is not None and self.grid < 1:
            raise SettingError(
                expected="a grid of at least one cell along an axis",
                got=self.grid,
                advice="Leave it out for 7 cells along an axis, as in the paper.",
            )
        if not 0 < self.keep < 1:
            raise SettingError(
                expected="a share of cells to keep between 0 and 1",
                got=self.keep,
                advice="Use keep=0.5, or more where half an input is nothing to the model.",
            )
        if self.estimator not in ("ratio", "raw", "centred"):
            raise SettingError(
                expected="the estimator 'ratio', 'raw' or 'centred'",
                got=repr(self.estimator),
                advice="Use 'raw' for the paper's, 'centred' for signed values.",
            )
        if self.design not in ("independent", "balanced"):
            raise SettingError(
                expected="the design 'independent' or 'balanced'",
                got=repr(self.design),
                advice="Use 'independent' for the paper's masks.",
            )
        if self.design == "balanced" and self.keep != 0.5:
            raise SettingError(
                expected="keep=0.5 for balanced masks, which keep half of the cells",
                got=f"keep={self.keep}",
                advice="Use design='independent' for another share.",
            )

    @property
    def kind(self) -> Kind:
        return Kind.CONTRIBUTION if self.estimator == "centred" else Kind.WEIGHT

    def unit(self, partition: Partition) -> Kind:
        # Places that are shown and hidden together each get what all of them do: their sum counts
        # it once for every place of a cell, and for every axis in front that shares the mask.
        grid = lattice(_map_shape(partition), self.grid, torch.device("cpu"))
        return self.kind if grid.shifts == 1 and grid.layers == 1 else Kind.WEIGHT

    def players(self, question: Question) -> Tensor | None:
        # On a map masks cover places, whatever stands there.
        if len(_map_shape(question.partition)) > 1:
            return None
        own_cells = self.grid is None or self.grid >= question.partition.count
        if self.estimator == "centred" and own_cells:
            return question.changeable_features()
        # What is there but never changes still has a mean score when shown: that of all masks.
        return question.existing_features()

    def held(self, features: int) -> int:
        # The answers to a block of masks, beside sums that are kept for each feature.
        return _BLOCK

    def rows_each(self, question: Question, players: int) -> int | None:
        # All masks of a grid are as many as its cells allow.
        if not isinstance(self.masks, int):
            return None
        return question.replacements * self.masks

    def values(self, question: Question, seed: int) -> Estimate:
        return self._maps(
            question, question.prediction[:, None], lambda masks: question.value(masks), seed
        )

    def per_output(self, questions: Sequence[Question], seed: int) -> Sequence[Estimate]:
        """The maps of all outputs in one pass over the masks."""
        question = questions[0]
        columns = [one.column for one in questions]
        clean = torch.stack([one.prediction for one in questions], dim=1)

        def ask(masks: Tensor) -> Tensor:
            # (n, m, outputs) to a row for each input and output
            return question.outputs(masks)[:, :, columns].transpose(1, 2).flatten(0, 1)

        maps = self._maps(question, clean.reshape(-1, 1), ask, seed)
        values = maps.values.view(len(clean), len(questions), -1)
        count = range(len(questions))
        if maps.standard_error is None:
            return [Estimate(values[:, k], notes=maps.notes) for k in count]
        errors = maps.standard_error.view_as(values)
        return [Estimate(values[:, k], errors[:, k], maps.notes) for k in count]

    def _maps(
        self, question: Question, clean: Tensor, ask: Callable[[Tensor], Tensor], seed: int
    ) -> Estimate:
        """The maps of rows whose clean scores are (rows, 1), and whose masked ones `ask` tells."""
        clean = clean.to(torch.float64)
        grid, blocks = self._plan(question, seed)
        x = question.x
        dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
        # Differences to the clean score: a score with a large constant part would drown its own
        # standard error.
        ledger = gather(grid, blocks, lambda masks: ask(masks) - clean, len(clean), dtype)
        values, standard_error = self._read(ledger, grid, clean)
        notes = {} if self.estimator == "centred" else {"level": _LEVEL}
        return Estimate(values, None if self.masks == "all" else standard_error, notes)

    def _plan(self, question: Question, seed: int) -> tuple[Lattice, Iterator[Block]]:
        """The grid over the question's feature map, and the masks in blocks."""
        grid = lattice(_map_shape(question.partition), self.grid, question.x.device)
        if self.masks == "all":
            if grid.shifts << grid.cells > _MOST_MASKS:
                raise InputError(
                    expected="at most 2^20 masks for masks='all'",
                    got=f"2^{grid.cells} grids under {grid.shifts} shifts",
                    advice="Use a coarser grid, or a number of masks.",
                )
            return grid, exhaustive(grid, self.keep)
        if self.design == "independent":
            return grid, independent(grid, self.masks, self.keep, seed)
        size = 1 << grid.cells.bit_length()
        if self.masks < 2 * size:
            raise InputError(
                expected=f"at least {2 * size} masks for a balanced grid of {grid.cells} cells",
                got=self.masks,
                advice=f"They come in blocks of {size}, and a standard error needs two of them.",
            )
        return grid, balanced(grid, self.masks, seed)

    def _read(self, ledger: Ledger, grid: Lattice, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Values and standard errors from sums of (f - clean) M, M and f - clean."""
        masks = ledger.masks
        weight = ledger.weight
        if self.estimator == "ratio":
            if bool((weight <= 0).any()):
                raise InputError(
                    expected="masks of which each feature is shown by one at least",
                    got=f"none for some of the features at keep={self.keep}",
                    advice="Use more masks or a larger share.",
                )
            # The error of a ratio, by the delta method: that of f M - ratio * M.
            ratio = ledger.total / weight
            return ratio + clean, ledger.standard_error(-ratio, 0.0, weight / masks)
        if self.estimator == "raw":
            values = (ledger.total + clean * weight) / (masks * self.keep)
            return values, ledger.standard_error(clean, 0.0, self.keep)
        variance = self.keep * (1 - self.keep) * grid.down.variance * grid.across.variance
        score = ledger.score / masks
        covariance = ledger.total / masks - score * weight / masks
        error = ledger.standard_error(-score, -weight / masks, variance)
        return covariance / variance, error


def _map_shape(partition: Partition) -> tuple[int, ...]:
    """The feature map, or one line of features where they have no map of their own."""
    if math.prod(partition.shape) != partition.count:
        return (partition.count,)
    return partition.shape
