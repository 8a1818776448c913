"""What is absent, drawn from data given what is present."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError, KindError, SettingError
from assay.inputs.layout import Layout
from assay.numerics import rng
from assay.removals.base import Absent, Removal, shown


@final
@dataclass(frozen=True, eq=False)
class _Gaussian(Absent):
    """x_A | x_S ~ N(mu_A + C_AS C_SS^-1 (x_S - mu_S), C_AA - C_AS C_SS^-1 C_SA), from the same
    standard normals for all masks.
    """

    x: Tensor
    mean: Tensor
    unit: Tensor
    covariance: (
        Tensor  # in those units, so that what counts as a repeated column does not depend on them
    )
    normals: Tensor
    shared = False

    @property
    def draws(self) -> int:  # type: ignore[override]
        return len(self.normals)

    def take(self, rows: Tensor) -> Absent:
        return _Gaussian(self.x[rows], self.mean, self.unit, self.covariance, self.normals)

    def everything_removed(self, rows: Tensor, draws: Tensor) -> Tensor:
        x = self.x[rows]
        return self.remove(x, torch.zeros_like(x, dtype=torch.bool), rows, draws)

    def remove(self, x: Tensor, present: Tensor, rows: Tensor, draws: Tensor) -> Tensor:
        masks, which = torch.unique(_switch(present), dim=0, return_inverse=True)
        regression, spread = self._given(masks)
        away = (x.to(torch.float64) - self.mean) / self.unit * present
        drawn = torch.einsum("rij,rj->ri", regression[which], away)
        drawn += torch.einsum("rij,rj->ri", spread[which], self.normals[draws])
        return torch.where(present, x, (self.mean + self.unit * drawn).to(x.dtype))

    def _given(self, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Regression on what is present and a root of what variance is left, for each mask: (m, d,
        d), (m, d, d).
        """
        on = masks.to(torch.float64)
        eye = torch.eye(len(self.mean), dtype=torch.float64, device=masks.device)
        both = on.unsqueeze(2) * on.unsqueeze(1)
        # Absent rows and columns are those of the identity, so that one solve serves masks of every size.
        inside = both * self.covariance + (1 - on).unsqueeze(2) * eye
        # The pseudo-inverse, since columns may repeat one another.
        regression = (
            torch.linalg.pinv(inside, hermitian=True) @ (on.unsqueeze(2) * self.covariance)
        ).mT
        left = self.covariance - regression @ (on.unsqueeze(2) * self.covariance)
        values, vectors = torch.linalg.eigh((left + left.mT) / 2)
        return regression, vectors * values.clamp_min(0).sqrt().unsqueeze(1)


@final
@dataclass(frozen=True, eq=False)
class _Kernel(Absent):
    """Rows of data drawn by how near they are to what is present, w_k = exp(-D_S(x, x_k)^2 / (2 |S|
    width^2)).
    """

    x: Tensor
    rows: Tensor
    whiten: Tensor
    width: float
    count: int
    shared = False

    @property
    def draws(self) -> int:  # type: ignore[override]
        return self.count

    def take(self, rows: Tensor) -> Absent:
        return _Kernel(self.x[rows], self.rows, self.whiten, self.width, self.count)

    def everything_removed(self, rows: Tensor, draws: Tensor) -> Tensor:
        x = self.x[rows]
        return self.remove(x, torch.zeros_like(x, dtype=torch.bool), rows, draws)

    def remove(self, x: Tensor, present: Tensor, rows: Tensor, draws: Tensor) -> Tensor:
        asked, which = torch.unique(
            torch.cat([x, _switch(present).to(x.dtype)], dim=1), dim=0, return_inverse=True
        )
        own, masks = asked.to(torch.float64).tensor_split(2, dim=1)
        apart = (
            (own.unsqueeze(1) - self.rows.to(torch.float64)) * masks.unsqueeze(1)
        ) / self.whiten
        distance = (apart**2).sum(2) / masks.sum(1, keepdim=True).clamp_min(1)
        weights = torch.softmax(-distance / (2 * self.width**2), dim=1)
        # Systematic resampling: draw b stands for the same share of the weight, whatever the other draws are.
        position = (draws.to(torch.float64) + 0.5) / self.count
        chosen = torch.searchsorted(weights.cumsum(1)[which], position.unsqueeze(1)).squeeze(1)
        return torch.where(present, x, self.rows[chosen.clamp_max(len(self.rows) - 1)])


def _switch(present: Tensor) -> Tensor:
    if present.dtype != torch.bool:
        raise KindError(
            "Expected bool masks for a conditional removal: half a condition has no distribution."
        )
    return present


@final
@dataclass(frozen=True, eq=False)
class Conditional(Removal):
    """What is absent follows its distribution in `rows` given what is present: the conditional
    (observational) game.

    `gaussian`: the conditional normal distribution with the rows' mean and covariance (Aas, Jullum
    and Loland 2021, section 3.2), drawn with antithetic scrambled Sobol points that are the same
    for all masks. `kernel`: rows of data, drawn by a Gaussian kernel of the distance on what is
    present, each column in units of its standard deviation (their section 3.4, without correlations
    in the distance). Values are averages over `draws`. Cost: `draws` evaluations per mask.

    >>> import torch
    >>> Conditional(torch.randn(50, 3), draws=16)
    Conditional(<Tensor of shape (50, 3)>, kind='gaussian', draws=16, width=0.1, seed=0)
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
                advice="",
            )

    def bind(self, layout: Layout, x: Tensor, keys: Callable[[], Tensor]) -> Absent:
        rows = layout.flatten(self.rows)
        elements = x.shape[1]
        if not x.is_floating_point() or len(rows) < (
            elements + 1 if self.kind == "gaussian" else 2
        ):
            raise InputError(
                expected=(
                    f"floating inputs and more rows than the {elements} columns to condition on"
                ),
                got=f"{len(rows)} rows and {x.dtype}",
                advice="Give more rows, or use Background(rows).",
            )
        exact = rows.to(torch.float64)
        if not bool(torch.isfinite(exact).all()):
            raise InputError(
                expected="finite rows to condition on",
                got="NaN or infinity",
                advice="",
            )
        spread = exact.std(0)
        unit = torch.where(spread > 0, spread, 1.0)
        if self.kind == "gaussian":
            normals = torch.from_numpy(self._normals(elements)).to(x.device)
            covariance = torch.cov(exact.T / unit[:, None]).reshape(elements, elements)
            return _Gaussian(x, exact.mean(0), unit, covariance, normals)
        return _Kernel(x, rows.to(x.dtype), unit, self.width, self.draws)

    def _normals(self, elements: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(draws, elements) standard normals in antithetic pairs, each side a scrambled Sobol set."""
        from scipy.special import ndtri
        from scipy.stats import qmc

        half = -(-self.draws // 2)
        sobol = qmc.Sobol(elements, rng=rng.shared(self.seed, "conditional"))
        points = sobol.random_base2(max(1, (half - 1).bit_length()))[:half]
        normals = ndtri(np.clip(points, 1e-12, 1 - 1e-12))
        return np.concatenate([normals, -normals])[: self.draws]

    def __repr__(self) -> str:
        settings = f"kind={self.kind!r}, draws={self.draws}, width={self.width}, seed={self.seed}"
        return f"Conditional({shown(self.rows)}, {settings})"
