"""Removals whose replacement is known beforehand, whatever is present.

One value (`Baseline`, `Mean`, `Blur`) is a single replacement; `Noise` and `Background` have several,
over which values are averaged. With rows of data that is the marginal or interventional game, in
which what is absent is independent of what is present (Janzing, Minorics and Bloebaum 2020).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from assay.errors import InputError, SettingError
from assay.inputs.arrays import as_tensor
from assay.inputs.layout import Layout
from assay.inputs.places import check_axes, places_of
from assay.inputs.spreads import as_spread, in_units
from assay.inputs.tensors import TensorLayout
from assay.numerics import rng
from assay.removals.base import Absent, FixedAbsent, Removal
from assay.settings import short_repr

_REACH = (
    4  # a blur's kernel ends after so many standard deviations, with 3e-4 of the middle's weight
)

_WIDEST = 1 << 16  # pixels of a blur's standard deviation, far beyond any image


def _read_rows(layout: Layout, raw: Any, purpose: str) -> Tensor:
    """Rows (r, elements) of the inputs' kind, at least one."""
    rows = layout.flatten(raw)
    if len(rows) == 0:
        raise InputError(
            expected=f"at least one row in {purpose}",
            got="none",
            advice="Hand over rows of data like the inputs.",
        )
    return rows


def _check_finite(rows: Tensor, purpose: str) -> None:
    if not bool(torch.isfinite(rows).all()):
        raise InputError(
            expected=f"finite numbers in {purpose}",
            got="NaN or infinity",
            advice="Fill the gaps, or leave these rows out.",
        )


def refuse_categories(layout: Layout, who: str, instead: str) -> None:
    """Refuses what computes with values where some of them are categories."""
    categorical = layout.categorical.nonzero()[:, 0].tolist()
    if categorical:
        names = [layout.names[column] for column in categorical[:3]]
        more = ", ..." if len(categorical) > len(names) else ""
        raise InputError(
            expected=f"numbers for {who}",
            got=f"categories in {', '.join(map(repr, names))}{more}, which are not computed with",
            advice=instead,
        )


def _mode(column: Tensor) -> Tensor:
    """The most frequent value; of several, the one that comes first."""
    _, inverse, counts = column.unique(return_inverse=True, return_counts=True)
    return column[counts[inverse].argmax()]


def _with_rows(part: Tensor, rows: int) -> Tensor:
    """One row repeated, without copying it; several are left as they are."""
    if len(part) != 1:
        return part
    return part.expand(rows, *part.shape[1:])


@final
@dataclass(frozen=True, eq=False)
class Baseline(Removal):
    """A fixed value in the place of what is absent: v(S) = f(x_S, b).

    The baseline of integrated gradients and of Shapley values with a single reference (Sundararajan and
    Najmi 2020, "baseline Shapley"). Where the input equals it there is nothing to remove, and no credit.

    Settings:
        value: one number for every element, one input's worth of numbers, or one such for each
            input; several tensors take a tuple of these. A dimension of 1 is repeated along the
            input's own. 0 is the usual choice where inputs are
            centred; for images it is black or grey, whatever their scaling makes of it.

    Units: those of the inputs; a table takes a frame of one row. Cost: 1 evaluation per mask. Errors:
    InputError for values that do not fit the inputs' shape or type, or are not finite.

    >>> import torch, assay
    >>> x = torch.ones(2, 3)
    >>> question = assay.Question(torch.nn.Linear(3, 1), x, removal=Baseline([0.0, 0.5, 2.0]))
    >>> question.absent.tolist()
    [[0.0, 0.5, 2.0], [0.0, 0.5, 2.0]]
    """

    value: Any = 0.0

    def __post_init__(self) -> None:
        # A number of NumPy is Python's, so that the repr reads back.
        if isinstance(self.value, np.generic):
            object.__setattr__(self, "value", self.value.item())
        too_large = isinstance(self.value, int) and abs(self.value) > sys.float_info.max
        if too_large:
            raise SettingError(
                expected="a baseline that a float can hold",
                got=f"an int of {self.value.bit_length()} bits",
                advice="Write Baseline(0.0), or another value that the inputs may have.",
            )

    def bind(self, layout: Layout, x: Tensor, keys: Callable[[], Tensor]) -> Absent:
        value = self.value
        # True is an int to Python, and is read as a tensor of bools here.
        if isinstance(value, int | float) and not isinstance(value, bool):
            return FixedAbsent(self._filled(layout, x, value).unsqueeze(1))
        # Tables and texts are read as inputs are; tensors may leave out dimensions.
        if isinstance(layout, TensorLayout):
            value = self._parts(layout, len(x))
        rows = _read_rows(layout, value, "the baseline")
        _check_finite(rows, "the baseline")
        if len(rows) not in (1, len(x)):
            raise InputError(
                expected=f"a baseline of one row or of {len(x)}, one for each input",
                got=len(rows),
                advice="Use Background(rows) to average over several baselines.",
            )
        return FixedAbsent(rows.unsqueeze(1))

    @staticmethod
    def _filled(layout: Layout, x: Tensor, value: float) -> Tensor:
        """One row (1, elements) of a number."""
        if not x.is_floating_point() and not (math.isfinite(value) and float(value).is_integer()):
            raise InputError(
                expected=f"a whole number as baseline of inputs of {x.dtype}",
                got=value,
                advice="Choose a whole number, or convert the inputs with .float().",
            )
        row = layout.filled(value).to(x.device, x.dtype)
        _check_finite(row, "the baseline")
        return row

    def _parts(self, layout: TensorLayout, n: int) -> tuple[Tensor, ...]:
        """One baseline for each tensor of the inputs, all with the same number of rows."""
        # A list is one row of numbers, except where there are several tensors.
        listed = isinstance(self.value, list) and len(layout.shapes) > 1
        several = listed or isinstance(self.value, tuple)
        values = self.value if several else (self.value,)
        if len(values) != len(layout.shapes):
            raise InputError(
                expected=f"{len(layout.shapes)} baselines, one for each tensor",
                got=len(values),
                advice="Give Baseline((value, value)) one for each, in the order of the inputs.",
            )
        shapes = layout.shapes
        ordered = [layout.in_order(part, number) for number, part in enumerate(values)]
        parts = [self._leading(part, shape, n) for part, shape in zip(ordered, shapes)]
        rows = max(len(part) for part in parts)
        # One tensor may have a baseline for all inputs, another one for each.
        return tuple(_with_rows(part, rows) for part in parts)

    @staticmethod
    def _leading(part: Any, shape: tuple[int, ...], n: int) -> Tensor:
        """The baseline of one tensor with the inputs in front: (1 or n, *shape)."""
        tensor = as_tensor(part)
        # A number fills the tensor, one input's worth stands for all inputs.
        if tensor.dim() == 0:
            return tensor.expand(1, *shape)
        if tensor.dim() == len(shape):
            tensor = tensor.unsqueeze(0)
        # A dimension of 1 is repeated along the input's own, as one number for each channel is.
        pairs = zip(tensor.shape[1:], shape)
        if tensor.dim() != len(shape) + 1 or any(own not in (1, full) for own, full in pairs):
            raise InputError(
                expected=f"a baseline with rows of shape {shape}, 1 for all inputs or {n}",
                got=tuple(as_tensor(part).shape),
                advice=(
                    "A dimension of 1 is repeated: one number for each input has the shape "
                    f"{(n, *(1 for _ in shape))}."
                ),
            )
        return tensor.expand(-1, *shape)

    def __repr__(self) -> str:
        return f"Baseline({short_repr(self.value)})"


@final
@dataclass(frozen=True, eq=False)
class Mean(Removal):
    """The mean of some rows: one baseline b = (1 / r) sum_k row_k, not an average over predictions.

    That average is `Background`; the two agree where the model is linear. Categories have no mean:
    of theirs it is the mode, the most frequent level (of several, the one that comes first).

    Settings:
        rows: data of the inputs' kind (r, ...), averaged in float64.

    Units: those of the inputs. Cost: 1 evaluation per mask. Errors: InputError for integer inputs, and for
    rows that are none or not finite.

    >>> import torch, assay
    >>> rows = torch.tensor([[0.0, 1.0], [4.0, 3.0]])
    >>> x, square = torch.tensor([[1.0, 1.0]]), lambda x: x[:, 0] ** 2
    >>> question = assay.Question(square, x, removal=Mean(rows))
    >>> question.absent.tolist(), question.base.tolist()                  # f of the mean
    ([[2.0, 2.0]], [4.0])
    >>> assay.Question(square, x, removal=assay.Background(rows)).base.tolist()       # the mean of f
    [8.0]
    """

    rows: Any

    def bind(self, layout: Layout, x: Tensor, keys: Callable[[], Tensor]) -> Absent:
        purpose = "the rows to average"
        rows = _read_rows(layout, self.rows, purpose)
        _check_finite(rows, purpose)
        if not x.is_floating_point():
            raise InputError(
                expected="floating inputs for Mean",
                got=f"{x.dtype}, which holds no mean",
                advice="Use Background(rows).",
            )
        # In float64: rounding would grow with the number of rows.
        mean = rows.to(torch.float64).mean(0).to(x.dtype)
        for column in layout.categorical.nonzero()[:, 0].tolist():
            mean[column] = _mode(rows[:, column])
        return FixedAbsent(mean[None, None])

    def __repr__(self) -> str:
        return f"Mean({short_repr(self.rows)})"


@final
@dataclass(frozen=True)
class Blur(Removal):
    """The image itself, blurred by a Gaussian (Fong and Vedaldi 2017); a series or a volume likewise.

    b = x * N(0, sigma^2), along each axis of places. The image goes on as its mirror behind the border.
    Channels are blurred one by one. It hides details and keeps the colour.

    Settings:
        sigma: standard deviation in pixels. The kernel reaches 4 of them to each side.
        axes: what the axes of one input are, in letters: C for channels, T, D, H and W for time,
            depth, height and width. Where nothing is said images are "CHW" or "HW", volumes
            "CDHW". Channels last are "HWC", series "CT" or "TC".

    Units: those of the inputs. Cost: 1 evaluation per mask. Errors: SettingError for a sigma that is not
    positive, InputError for what is no floating image or looks as if its channels came last.

    >>> import torch, assay
    >>> mean = lambda x: x.flatten(1).mean(1)
    >>> dot = torch.zeros(1, 1, 9, 9).index_fill(2, torch.tensor([4]), 1.0)
    >>> blurred = assay.Question(mean, dot, removal=Blur(1.0)).absent
    >>> bool(blurred.max() < 0.5)
    True
    """

    sigma: float
    axes: str | None = None
    follows = True

    def __post_init__(self) -> None:
        check_axes(self.axes, "Blur")
        if not 0 < self.sigma <= _WIDEST:
            raise SettingError(
                expected=f"a blur of at most {_WIDEST} and positive sigma in pixels",
                got=self.sigma,
                advice="Give a standard deviation in pixels, such as an eighth of the width.",
            )

    def bind(self, layout: Layout, x: Tensor, keys: Callable[[], Tensor]) -> Absent:
        if len(layout.shapes) != 1 or not x.is_floating_point():
            raise InputError(
                expected="floating images (channels, height, width) to blur",
                got=f"{layout.describe()} of {x.dtype}",
                advice="Use Mean(rows) or Background(rows) for other inputs.",
            )
        places = places_of(layout, self.axes, "Blur")
        images = places.channels_first(x)
        shape = images.shape
        # A Gaussian is separable: one axis after the other, each as the height or the width of an
        # image.
        *before, last = places.shape
        for axis, length in enumerate(before):
            behind = math.prod(places.shape[axis + 1 :])
            images = self._along(images.reshape(-1, 1, length, behind), 2)
        images = self._along(images.reshape(-1, 1, (before or [1])[-1], last), 3)
        return FixedAbsent(places.flat(images.reshape(shape)).unsqueeze(1))

    def _along(self, images: Tensor, dim: int) -> Tensor:
        """The images (r, 1, height, width) blurred along one of their dimensions."""
        size = images.shape[dim]
        reach = max(1, round(_REACH * self.sigma))
        steps = torch.arange(-reach, reach + 1, device=images.device)
        offsets = steps.to(images.dtype)
        kernel = torch.exp(-0.5 * (offsets / self.sigma) ** 2)
        # A Gaussian that is sampled and cut off does not add up to 1, and would darken the image.
        kernel = kernel / kernel.sum()
        # Mirror indices instead of padding, since a blur may reach further
        # than the image is wide.
        index = torch.arange(-reach, size + reach, device=images.device)
        # Mirrors of mirrors come again after twice the size.
        index = index % (2 * size)
        index = torch.where(index >= size, 2 * size - 1 - index, index)
        # The kernel lies along that dimension.
        shape = [1, 1, 1, 1]
        shape[dim] = -1
        mirrored = images.index_select(dim, index)
        return functional.conv2d(mirrored, kernel.view(shape))


@final
@dataclass(frozen=True)
class Noise(Removal):
    """Gaussian noise N(mean, sigma^2) on every element, drawn for each input by itself.

    v(S) = (1 / draws) sum_k f(x_S, e_k). The noise comes from the seed and the input's own bytes, so that
    an answer does not depend on the inputs beside it.

    Settings:
        sigma: standard deviation, in the inputs' units, or in those of `scale`.
        mean: what the noise is around, in the inputs' units.
        draws: replacements of each input, over which values are averaged.
        seed: of the streams.
        scale: rows of data; sigma then counts in standard deviations of each of their columns.

    Units: those of the inputs. Cost: `draws` evaluations per mask. Errors: SettingError for settings out of
    range, InputError for integer inputs and for categories.

    >>> import torch, assay
    >>> x = torch.ones(2, 3)
    >>> question = assay.Question(lambda x: x.sum(1), x, removal=Noise(0.1, mean=5.0, draws=400))
    >>> question.replacements, question.base.round().tolist()           # three times the mean
    (400, [15.0, 15.0])
    """

    sigma: float
    mean: float = 0.0
    draws: int = 1
    seed: int = 0
    scale: Any = None
    follows = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", as_spread(self.scale))
        if not self.sigma > 0 or self.draws < 1:
            raise SettingError(
                expected="a positive sigma and at least one draw for Noise",
                got=f"sigma={self.sigma}, draws={self.draws}",
                advice="Use Baseline(mean) for a value without noise.",
            )

    def bind(self, layout: Layout, x: Tensor, keys: Callable[[], Tensor]) -> Absent:
        if not x.is_floating_point():
            raise InputError(
                expected="floating inputs for Noise",
                got=x.dtype,
                advice="Convert them with .float(), or draw from data: Background(rows).",
            )
        refuse_categories(
            layout, "Noise", "Draw categories from data, with the numbers: Background(rows)."
        )
        streams = rng.streams(self.seed, keys(), "removal noise")
        normals = streams.normal((0, self.draws), x.shape[1], x.dtype)
        return FixedAbsent(self.mean + self.sigma * in_units(normals, self.scale, layout))


@final
@dataclass(frozen=True, eq=False)
class Background(Removal):
    """Rows of data: a value is the average over all of them (marginal expectation).

    v(S) = (1 / r) sum_k f(x_S, b_k): the interventional game (Janzing et al. 2020). Columns are replaced
    without regard to what is present, so that rows may be asked which cannot be.

    Settings:
        rows: data of the inputs' kind (r, ...); every row counts, none is sampled.

    Units: those of the inputs; a table takes a frame, texts take texts. Cost: r evaluations per mask.
    Errors: InputError for rows that are none or do not fit, and for gaps where the model takes none.

    >>> import torch, assay
    >>> rows = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    >>> product = lambda x: x[:, 0] * x[:, 1]
    >>> question = assay.Question(product, torch.tensor([[4.0, 5.0]]), removal=Background(rows))
    >>> question.base.tolist()                                           # (0 * 1 + 2 * 3) / 2
    [3.0]
    >>> question.value(torch.tensor([[True, False]])).tolist()           # (4 * 1 + 4 * 3) / 2
    [[8.0]]
    """

    rows: Any

    def bind(self, layout: Layout, x: Tensor, keys: Callable[[], Tensor]) -> Absent:
        rows = _read_rows(layout, self.rows, "the background")
        # One set for all inputs: (1, r, elements).
        return FixedAbsent(rows.unsqueeze(0))

    def __repr__(self) -> str:
        return f"Background({short_repr(self.rows)})"
