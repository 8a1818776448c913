"""What is absent, drawn from its distribution given what is present.

The value of a coalition S is then E[f(X) | X_S = x_S], the conditional or observational game, in
place of the marginal (interventional) one of `Background`. Two estimates of that distribution, both
from Aas, Jullum and Loland (2021, "Explaining individual predictions when features are dependent"):
the conditional normal (section 3.2) and rows of data weighted by a Gaussian kernel (section 3.4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError, KindError, SettingError
from assay.inputs.layout import Layout
from assay.numerics import rng
from assay.numerics.precision import varies
from assay.numerics.threads import few_threads
from assay.removals.base import Absent, Removal
from assay.removals.fixed import refuse_categories
from assay.settings import short_repr

_TAIL = 1e-12  # Sobol points are kept this far from 0 and 1, where the normal quantile is infinite


@final
@dataclass(frozen=True, eq=False)
class _GaussianConditional(Absent):
    """x_A | x_S ~ N(mu_A + C_AS C_SS^-1 (x_S - mu_S), C_AA - C_AS C_SS^-1 C_SA).

    Settings:
        x: the inputs (n, d).
        mean: mu (d,), float64.
        unit: the standard deviation of each column (d,), by which everything is divided.
        covariance: C (d, d) in those units, so that what counts as a repeated column does not
            depend on the units of the data.
        normals: standard normals (draws, d), the same for all masks, which makes values of
            different coalitions comparable.
    """

    x: Tensor
    mean: Tensor
    unit: Tensor
    covariance: Tensor
    normals: Tensor
    shared = False

    @property
    def draws(self) -> int:  # type: ignore[override]
        return len(self.normals)

    def take(self, rows: Tensor) -> Absent:
        return replace(self, x=self.x[rows])

    def everything_removed(self, rows: Tensor, draw: Tensor) -> Tensor:
        x = self.x[rows]
        return self.remove(x, _nothing_present(x), rows, draw)

    def remove(self, x: Tensor, present: Tensor, rows: Tensor, draw: Tensor) -> Tensor:
        _check_switch(present)
        # One solve for each mask, however many rows have it.
        masks, index = torch.unique(present, dim=0, return_inverse=True)
        regression, root = self._moments(masks)
        centred = (x.to(torch.float64) - self.mean) / self.unit
        centred = centred * present
        sample = _times(regression[index], centred)
        # The same points under all masks: what differs between two of them is the mask alone.
        sample += _times(root[index], self.normals[draw])
        replacement = self.mean + self.unit * sample
        return torch.where(present, x, replacement.to(x.dtype))

    def _moments(self, masks: Tensor) -> tuple[Tensor, Tensor]:
        """The regression C_.S C_SS^-1 and a root of the residual covariance, for each mask.

        Two times (m, d, d); a root R has R R^T as the covariance given what is present.
        """
        on = masks.to(torch.float64)
        row_on = on.unsqueeze(2)
        both_on = row_on * on.unsqueeze(1)
        identity = torch.eye(masks.shape[1], dtype=on.dtype, device=on.device)
        # Absent rows and columns are those of the identity:
        # one solve then serves masks of every size.
        inside = both_on * self.covariance + (1 - row_on) * identity
        present_rows = row_on * self.covariance
        # The pseudo-inverse, since columns may repeat one another.
        with few_threads(masks.shape[1]):
            inverse = torch.linalg.pinv(inside, hermitian=True)
        regression = (inverse @ present_rows).mT
        residual = self.covariance - regression @ present_rows
        # No Cholesky: what is present does not vary, and rounding
        # may take such a zero below zero.
        symmetric = (residual + residual.mT) / 2
        with few_threads(masks.shape[1]):
            values, vectors = torch.linalg.eigh(symmetric)
        scale = values.clamp_min(0).sqrt()
        return regression, vectors * scale.unsqueeze(1)


@final
@dataclass(frozen=True, eq=False)
class _KernelConditional(Absent):
    """Rows of data, each with the weight w_k = exp(-D_S(x, x_k)^2 / (2 |S| width^2)).

    Settings:
        x: the inputs (n, d).
        data: the rows that are drawn (k, d).
        unit: the standard deviation of each column (d,), in which D_S is the distance on S.
        categorical: which columns are categories (d,): their distance is 0 or 1.
        width: of the kernel, in those units.
        count: how many rows are drawn for each input and mask.
    """

    x: Tensor
    data: Tensor
    unit: Tensor
    categorical: Tensor
    width: float
    count: int
    shared = False

    @property
    def draws(self) -> int:  # type: ignore[override]
        return self.count

    def take(self, rows: Tensor) -> Absent:
        return replace(self, x=self.x[rows])

    def everything_removed(self, rows: Tensor, draw: Tensor) -> Tensor:
        x = self.x[rows]
        return self.remove(x, _nothing_present(x), rows, draw)

    def remove(self, x: Tensor, present: Tensor, rows: Tensor, draw: Tensor) -> Tensor:
        _check_switch(present)
        # Weights are the same for all draws of an input and a mask.
        pairs = torch.cat([x, present.to(x.dtype)], dim=1)
        pairs, pair = torch.unique(pairs, dim=0, return_inverse=True)
        weights = self._weights(pairs)
        # Systematic resampling: draw b stands for the same share of
        # the weight, whatever the other draws are.
        position = (draw.to(torch.float64) + 0.5) / self.count
        cumulative = weights.cumsum(1)[pair]
        chosen = torch.searchsorted(cumulative, position.unsqueeze(1))
        # Rounding may leave all weights below the last position.
        chosen = chosen.squeeze(1).clamp_max(len(self.data) - 1)
        return torch.where(present, x, self.data[chosen])

    def _weights(self, pairs: Tensor) -> Tensor:
        """Weights (pairs, k) of the data for inputs beside their masks (pairs, 2 d)."""
        pairs = pairs.to(torch.float64)
        points, masks = pairs.tensor_split(2, dim=1)
        data = self.data.to(torch.float64)
        difference = points.unsqueeze(1) - data
        # In units of its spread; a category is equal, or one apart.
        unlike = (difference != 0).to(difference.dtype)
        difference = torch.where(self.categorical, unlike, difference / self.unit)
        difference = difference * masks.unsqueeze(1)
        # At least 1: without anything present all rows weigh the same.
        size = masks.sum(1, keepdim=True).clamp_min(1)
        distance = (difference**2).sum(2) / size
        # Not exp by itself: far from all rows each weight would underflow, and their sum be 0.
        return torch.softmax(-distance / (2 * self.width**2), dim=1)


def _nothing_present(x: Tensor) -> Tensor:
    return torch.zeros_like(x, dtype=torch.bool)


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """A matrix times a vector for each row: (r, i, j), (r, j) -> (r, i)."""
    return torch.einsum("rij,rj->ri", matrices, vectors)


def _check_switch(present: Tensor) -> None:
    """Refuses masks that blend: half a condition has no distribution."""
    if present.dtype != torch.bool:
        raise KindError(
            expected="bool masks for a conditional removal",
            got=present.dtype,
            advice="Use a method that switches features, or a removal that blends: Mean(rows).",
        )


@final
@dataclass(frozen=True, eq=False)
class Conditional(Removal):
    """What is absent follows its distribution in `rows` given what is present.

    v(S) = E[f(x_S, X_A) | X_S = x_S]: the conditional (observational) game, averaged over draws.
    Features that only go along with others then share their credit.

    Settings:
        rows: data of the inputs' kind, from which the distribution is estimated.
        kind: "gaussian" is the conditional normal distribution with the rows' mean and covariance
            (Aas, Jullum and Loland 2021, section 3.2), drawn with antithetic scrambled Sobol points
            that are the same for all masks. "kernel" draws rows of data, weighted by a Gaussian
            kernel of the distance on what is present, each column in units of its standard
            deviation (their section 3.4, without correlations in the distance), and categories by
            whether they are equal: tables that have any need this kind.
        draws: replacements of each input under each mask, in pairs z, -z: even numbers keep them
            whole.
        width: of the kernel, in standard deviations; 0.1 is what the authors fix it at.
        seed: of the Sobol points' scrambling.

    Units: those of the inputs. Cost: `draws` evaluations per mask. Errors: SettingError for settings out of
    range, InputError for too few rows, KindError for masks that are not bool.

    >>> import torch, assay
    >>> twice = torch.randn(50, 1, generator=torch.Generator().manual_seed(0)).repeat(1, 2)
    >>> first = lambda x: x[:, 0]                                    # the model never sees the copy
    >>> question = assay.Question(first, torch.ones(1, 2), removal=Conditional(twice, draws=16))
    >>> values = assay.ExactShapley()(question).values
    >>> bool((values[0, 0] - values[0, 1]).abs() < 1e-4)              # and yet they share
    True
    """

    rows: Any
    kind: Literal["gaussian", "kernel"] = "gaussian"
    draws: int = 64
    width: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("gaussian", "kernel") or self.draws < 2 or not self.width > 0:
            raise SettingError(
                expected=(
                    "the kind 'gaussian' or 'kernel', at least 2 draws and a positive "
                    "width for Conditional"
                ),
                got=f"kind={self.kind!r}, draws={self.draws}, width={self.width}",
                advice="Start from Conditional(rows), the conditional normal with 64 draws.",
            )

    def bind(self, layout: Layout, x: Tensor, keys: Callable[[], Tensor]) -> Absent:
        rows = layout.flatten(self.rows)
        exact = rows.to(torch.float64)
        self._check(exact, x)
        if self.kind == "gaussian":
            refuse_categories(
                layout,
                "the conditional normal distribution",
                'Draw rows of data in its place: Conditional(rows, kind="kernel"), or '
                "Background(rows).",
            )
        # A constant column has no unit of its own, nor has what rounding leaves of its spread.
        moving = varies(exact, dim=0)
        exact = torch.where(moving, exact, exact[:1])
        unit = torch.where(moving, exact.std(0), 1.0)
        if self.kind == "kernel":
            data = rows.to(x.dtype)
            # The value of a category is a name: two of them are equal or one apart.
            names = layout.categorical.to(x.device)
            return _KernelConditional(x, data, unit, names, self.width, self.draws)
        elements = x.shape[1]
        normals = torch.from_numpy(self._normals(elements))
        # Of columns in their own spread: a pseudo-inverse cuts off what is small beside the
        # largest, and would take a column in small units for none.
        covariance = torch.cov(exact.T / unit[:, None])
        return _GaussianConditional(
            x=x,
            mean=exact.mean(0),
            unit=unit,
            # Of a single column it comes as a number.
            covariance=covariance.reshape(elements, elements),
            normals=normals.to(x.device),
        )

    def _check(self, rows: Tensor, x: Tensor) -> None:
        if not x.is_floating_point():
            raise InputError(
                expected="floating inputs for Conditional",
                got=x.dtype,
                advice="Convert numbers with .float(), or use Background(rows).",
            )
        columns = x.shape[1]
        # Of fewer rows a covariance is singular, whatever the data.
        needed = columns + 1 if self.kind == "gaussian" else 2
        if len(rows) < needed:
            raise InputError(
                expected=f"at least {needed} rows to condition on {columns} columns",
                got=len(rows),
                advice="Give more rows, or use Background(rows).",
            )
        if not bool(torch.isfinite(rows).all()):
            raise InputError(
                expected="finite rows to condition on",
                got="NaN or infinity",
                advice="Fill the gaps, or drop these rows.",
            )

    def _normals(self, elements: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(draws, elements) standard normals in antithetic pairs, each side a scrambled Sobol set."""
        from scipy.special import ndtri
        from scipy.stats import qmc

        # Rounded up: of an odd number the last mirror image is left out.
        half = -(-self.draws // 2)
        generator = rng.shared(self.seed, "conditional")
        sobol = qmc.Sobol(elements, rng=generator)
        # Sobol sets come in powers of two: the next one is cut.
        exponent = max(1, (half - 1).bit_length())
        points = sobol.random_base2(exponent)[:half]
        # A point at 0 or 1 would be an infinite normal.
        normals = ndtri(np.clip(points, _TAIL, 1 - _TAIL))
        # Pairs z, -z average a linear model without error.
        return np.concatenate([normals, -normals])[: self.draws]

    def __repr__(self) -> str:
        settings = f"kind={self.kind!r}, draws={self.draws}, width={self.width}, seed={self.seed}"
        return f"Conditional({short_repr(self.rows)}, {settings})"
