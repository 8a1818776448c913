"""The normal equations of a weighted regression, E[I I'] phi = E[I d], for many inputs at once.

`Dense` makes the matrix E[I I'] and its pseudo-inverse (Moore 1920, Penrose 1955) by its
eigenvectors. `Iterative` never makes it: conjugate gradients on the normal equations (Hestenes and
Stiefel 1952) ask for products of rows and vectors alone, and from a start at 0 go to the same
solution of least norm. Standard errors are those of a regression whose errors have any variance: the
sandwich (White 1980), and where there is no matrix a wild bootstrap of it (Wu 1986), whose
right-hand sides are solved beside the first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from assay.methods.optimal.design import Design
from assay.numerics import rng
from assay.numerics.threads import few_threads

_REPLICATES = 32  # of the wild bootstrap: a standard error is then known to an eighth
_CLOSE = 1e-10  # of the right-hand side: the residual at which conjugate gradients stop
_LONGEST = 2000  # steps of conjugate gradients


class Solver(ABC):
    """Solves E[I I'] phi = g for right-hand sides g."""

    @abstractmethod
    def solve(self, right: Tensor) -> Tensor:
        """The solutions of least norm (n, features, sides) for right-hand sides of that shape."""

    @abstractmethod
    def spread(self, residuals: Tensor, even: Tensor | None) -> Tensor:
        """Standard deviations (n, features) of solutions, from residuals (n, count).

        `even` (n, features, 1) is the direction along which solutions are moved so that they add
        up, where they must.
        """

    def notes(self) -> dict[str, object]:  # may be overridden
        """Facts of how it was solved."""
        return {}


def moments(design: Design, change: Tensor) -> Tensor:
    """E[I d] for changes (n, count): (n, features, 1)."""
    total: Tensor | float = 0.0
    for piece in design.pieces():
        weighted = change[:, piece] * design.weights(piece)
        total = total + _transposed(design.rows(piece), weighted.unsqueeze(2))
    return torch.as_tensor(total)


def accounts(design: Design, values: Tensor) -> Tensor:
    """What values (n, features) say of every perturbation: (n, count)."""
    columns = values.unsqueeze(2)
    parts = [_product(design.rows(piece), columns)[..., 0] for piece in design.pieces()]
    return torch.cat(parts, dim=1)


def _product(rows: Tensor, columns: Tensor) -> Tensor:
    """Rows (n or 1, k, f) times columns (n, f, s): (n, k, s)."""
    if len(rows) > 1 or len(columns) == 1:
        return rows @ columns
    # One product of two matrices where all inputs share the rows.
    return torch.einsum("kf,nfs->nks", rows[0], columns)


def _transposed(rows: Tensor, columns: Tensor) -> Tensor:
    """Transposed rows (n or 1, k, f) times columns (n, k, s): (n, f, s)."""
    if len(rows) > 1 or len(columns) == 1:
        return rows.mT @ columns
    return torch.einsum("kf,nks->nfs", rows[0], columns)


@final
@dataclass(frozen=True, eq=False)
class Dense(Solver):
    """By the pseudo-inverse of the matrix.

    Settings:
        design: the regression.
        inverse: (E[I I'] + ridge)^+, (n or 1, features, features).
    """

    design: Design
    inverse: Tensor

    @classmethod
    def of(cls, design: Design, ridge: float) -> Dense:
        """The solver of a design."""
        # The matrix is held, but never all rows: it is their sum, piece by piece.
        matrix: Tensor | float = 0.0
        for piece in design.pieces():
            rows = design.rows(piece)
            matrix = matrix + (rows * design.weights(piece).unsqueeze(1)).mT @ rows
        return cls(design, _pseudo_inverse(torch.as_tensor(matrix), ridge))

    def solve(self, right: Tensor) -> Tensor:
        return self.inverse @ right

    def spread(self, residuals: Tensor, even: Tensor | None) -> Tensor:
        inverse = self.inverse
        if even is not None:
            # Solutions are moved back to their sum: what is added along `even` is taken off.
            moved = even @ even.mT / even.sum(1, keepdim=True)
            inverse = inverse - moved
        # White's sum of squares, perturbation by perturbation: errors need not be of one size.
        variance: Tensor | float = 0.0
        for piece in self.design.pieces():
            # What each perturbation moves the solution by.
            influence = self.design.rows(piece) @ inverse
            weighted = residuals[:, piece] * self.design.weights(piece)
            variance = variance + (influence * weighted.unsqueeze(2)).square().sum(1)
        return torch.as_tensor(variance).sqrt()


def _pseudo_inverse(matrix: Tensor, ridge: float) -> Tensor:
    """The pseudo-inverse of symmetric matrices (..., f, f) with a ridge on their diagonals."""
    # Columns of very different size are one unit of measurement away from each other.
    size = matrix.diagonal(dim1=-2, dim2=-1).sqrt()
    scale = torch.where(size > 0, size, 1.0)
    precision = torch.finfo(matrix.dtype).eps * matrix.shape[-1]
    if ridge == 0:
        unit = matrix / scale.unsqueeze(-1) / scale.unsqueeze(-2)
        with few_threads(matrix.shape[-1]):
            values, vectors = torch.linalg.eigh(unit)
        if bool((values[..., 0] > precision * values[..., -1]).all()):
            scaled = vectors / scale.unsqueeze(-1)
            regular: Tensor = scaled / values.unsqueeze(-2) @ scaled.mT
            return regular
    # The least norm is one of the columns as they are.
    with few_threads(matrix.shape[-1]):
        values, vectors = torch.linalg.eigh(matrix)
    known = values > precision * values[..., -1:]
    # With a ridge as well: along such a direction the right-hand side is nothing but rounding.
    inverses = torch.where(known, 1 / (values + ridge), 0.0)
    inverse: Tensor = vectors * inverses.unsqueeze(-2) @ vectors.mT
    return inverse


@final
class Iterative(Solver):
    """By conjugate gradients, for features too many for a matrix."""

    def __init__(self, design: Design, ridge: float, seed: int) -> None:
        self.design = design
        self.ridge = ridge
        self.seed = seed
        self.steps = 0
        self.converged = True

    def notes(self) -> dict[str, object]:
        return {"steps": self.steps, "converged": self.converged}

    def solve(self, right: Tensor) -> Tensor:
        solution = torch.zeros_like(right)
        # From 0 the search stays among the rows, and so goes to the solution of least norm.
        residual = right.clone()
        direction = residual
        # Inputs and sides are systems of their own, each with its own length of step.
        square = residual.square().sum(1, keepdim=True)
        goal = _CLOSE**2 * square
        for step in range(_LONGEST):
            # Sides that are solved, or were 0 from the start, stay as they are.
            open_sides = square > goal
            if not bool(open_sides.any()):
                break
            self.steps = max(self.steps, step + 1)
            product = self._matrix(direction)
            curvature = (direction * product).sum(1, keepdim=True)
            # Along a direction without curvature nothing is to be gained, and it would divide by 0.
            length = torch.where(open_sides & (curvature > 0), square / curvature, 0.0)
            solution = solution + length * direction
            residual = residual - length * product
            following = residual.square().sum(1, keepdim=True)
            momentum = torch.where(open_sides & (square > 0), following / square, 0.0)
            direction = residual + momentum * direction
            square = torch.where(open_sides, following, square)
        self.converged = self.converged and not bool((square > goal).any())
        return solution

    def spread(self, residuals: Tensor, even: Tensor | None) -> Tensor:
        # Every residual with a sign of its own, which the perturbation's number draws.
        streams = rng.streams(self.seed, self.design.question.keys, "wild bootstrap")
        right: Tensor | float = 0.0
        for piece in self.design.pieces():
            uniform = streams.uniform((piece.start, piece.stop), _REPLICATES, torch.float64)
            signs = torch.where(uniform < 0.5, -1.0, 1.0).to(torch.float64)
            weighted = residuals[:, piece] * self.design.weights(piece)
            right = right + _transposed(self.design.rows(piece), signs * weighted.unsqueeze(2))
        # All replicates are sides of one solve, so that they share every pass over the rows.
        moves = self.solve(torch.as_tensor(right))
        if even is not None:
            moves = moves - even * (moves.sum(1, keepdim=True) / even.sum(1, keepdim=True))
        return moves.square().mean(2).sqrt()

    def _matrix(self, columns: Tensor) -> Tensor:
        """(E[I I'] + ridge) times columns (n, features, sides)."""
        total = self.ridge * columns
        for piece in self.design.pieces():
            rows = self.design.rows(piece)
            weights = self.design.weights(piece)[:, None]
            total = total + _transposed(rows, _product(rows, columns) * weights)
        return total
