"""Where a network that is linear piece by piece bends, between points that lie on one line.

Such a network cuts its inputs into convex cells, one for each pattern of its rectifiers' signs and its
maxima's winners, and is affine in each of them. Two points with one pattern therefore lie in one cell,
and so does all that is between them. Where their patterns differ, everything before the first
operation at which they differ is affine in between, so that the places where its units change sides
are read off by linear interpolation, without error: the restriction of a network to a line
(Sotoudeh and Thakur 2019, "Computing linear restrictions of neural networks", section 3).

Operations are seen as torch dispatches them, so that every spelling of a rectifier (module, function,
in place, `clamp`, `maximum`, a comparison that multiplies) is one and the same, and nothing has to be
traced. What is not linear piece by piece is remembered with what depends on it, and refused by its
name once a score depends on it.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from assay.errors import AbilityError, ModelError
from assay.models.base import all_finite, finite

_NOTHING_BETWEEN = 0.5  # margin from which no place is left between two neighbours

ROUNDING = 16.0
"""Units in the last place by which a signal may miss 0, or a position its place."""


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


Signals: TypeAlias = list[Tensor]
"""Tensors whose units bend the network where they pass 0."""

# Sums of what goes in, each element of it anew in its place; several signals may go in.
_LINEAR = _names(
    "add sub rsub neg positive sum mean cumsum lerp cat stack view _unsafe_view reshape "
    "_reshape_alias permute transpose t squeeze unsqueeze expand slice select narrow split "
    "split_with_sizes chunk unbind alias detach clone contiguous copy _to_copy to lift_fresh "
    "lift_fresh_copy as_strided diagonal flip roll repeat repeat_interleave unfold im2col col2im "
    "pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle movedim tril triu trace "
    "constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d "
    "replication_pad2d replication_pad3d avg_pool1d avg_pool2d avg_pool3d _adaptive_avg_pool2d "
    "_adaptive_avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
    "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d upsample_bilinear2d "
    "upsample_bicubic2d upsample_trilinear3d _upsample_nearest_exact1d _upsample_nearest_exact2d "
    "index index_select gather take masked_fill where index_put scatter "
    "scatter_add index_add slice_scatter select_scatter max_unpool2d max_unpool3d"
)

# Products: the places of their factors, of which one may be a signal.
_PRODUCTS: dict[str, tuple[int, ...]] = {
    "mul": (0, 1),
    "mm": (0, 1),
    "bmm": (0, 1),
    "mv": (0, 1),
    "dot": (0, 1),
    "matmul": (0, 1),
    "linear": (0, 1),
    "convolution": (0, 1),
    "addmm": (1, 2),
    "addmv": (1, 2),
    "baddbmm": (1, 2),
    "addbmm": (1, 2),
    "addcmul": (1, 2),
}

# Only shape and type go in.
_OF_SHAPES = _names(
    "zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones new_full "
    "new_empty new_empty_strided sym_size fill zero"
)

# Of these, the place of the flag that means statistics of the batch.
_BATCH_NORMS: dict[str, int | None] = {
    "native_batch_norm": 5,
    "cudnn_batch_norm": 5,
    "miopen_batch_norm": 5,
    "batch_norm": 5,
    "_native_batch_norm_legit_no_training": None,
}

_READS = _names("_local_scalar_dense item is_nonzero equal nonzero masked_select")


def _bounds(x: Tensor, *bounds: Any) -> Signals:
    """Signals that pass 0 where x passes one of the bounds."""
    return [x - bound for bound in bounds if bound is not None]


def _clamp(
    x: Tensor, least: Any = None, most: Any = None, *, min: Any = None, max: Any = None
) -> Signals:
    return _bounds(x, least, most, min, max)


def _softshrink(x: Tensor, width: float = 0.5, *, lambd: float | None = None) -> Signals:
    width = width if lambd is None else lambd
    return _bounds(x, width, -width)


def _hardtanh(
    x: Tensor,
    least: float = -1.0,
    most: float = 1.0,
    *,
    min_val: float | None = None,
    max_val: float | None = None,
) -> Signals:
    low = least if min_val is None else min_val
    return _bounds(x, low, most if max_val is None else max_val)


_itself: Callable[..., Signals] = lambda x, *others, **named: [x]  # noqa: E731
_difference: Callable[..., Signals] = lambda x, other, **named: [x - other]  # noqa: E731


_BENDS: dict[str, Callable[..., Signals]] = {
    "relu": _itself,
    "leaky_relu": _itself,
    "_prelu_kernel": _itself,
    "rrelu_with_noise": _itself,
    "abs": _itself,
    "threshold": lambda x, at, value: _bounds(x, at),
    "hardtanh": _hardtanh,
    "clamp": _clamp,
    "clamp_min": lambda x, least: _bounds(x, least),
    "clamp_max": lambda x, most: _bounds(x, most),
    "hardsigmoid": lambda x: _bounds(x, -3.0, 3.0),
    "softshrink": _softshrink,
    "maximum": _difference,
    "minimum": _difference,
    "fmax": _difference,
    "fmin": _difference,
}

# What they give is the same everywhere in a cell, and no signal.
_DECISIONS: dict[str, Callable[..., Signals]] = {
    "gt": _difference,
    "ge": _difference,
    "lt": _difference,
    "le": _difference,
    "sign": _itself,
    "sgn": _itself,
}

# Maxima, with the number of dimensions that their windows lie in.
_POOLS = {
    "max_pool2d_with_indices": 2,
    "max_pool3d_with_indices": 3,
    "adaptive_max_pool2d": 2,
    "adaptive_max_pool3d": 3,
}


@final
@dataclass(frozen=True, eq=False)
class Crossings:
    """Where a chunk bends: pairs of neighbouring rows by their number, and shares of the way from
    the first of a pair to the second.
    """

    pairs: Tensor
    shares: Tensor


@final
@dataclass(frozen=True, eq=False)
class Seen:
    """What one operation showed: signals (r, units), or values (r, windows, elements) and the places
    of the winners (r, windows, winners) among them.
    """

    tensors: tuple[Tensor, ...]

    def last(self) -> Seen:
        """The same of the last row, which outlives the chunk."""
        return Seen(tuple(tensor[-1:].clone() for tensor in self.tensors))

    def behind(self, before: Seen) -> Seen:
        """The same with the row of another chunk in front."""
        return Seen(tuple(map(torch.cat, zip(before.tensors, self.tensors))))

    def ends(self) -> tuple[Tensor, Tensor, Tensor]:
        """What passes 0 between neighbouring rows, at the first and the second of each pair
        (pairs, units), and the size of the numbers it is made of (pairs, 1).
        """
        values, *winners = self.tensors
        size = values.abs().flatten(1).amax(1, keepdim=True)
        size = torch.maximum(size[:-1], size[1:])
        if not winners:
            return values[:-1], values[1:], size
        (places,) = winners
        # The winner at one end against the winner at the other: where they change places, the
        # maximum of lines is no longer the first of them.
        lead = []
        for at in (values[:-1], values[1:]):
            lead.append((at.gather(2, places[:-1]) - at.gather(2, places[1:])).flatten(1))
        return lead[0], lead[1], size


@final
class Watch(TorchDispatchMode):
    """Follows the signal of rows through a forward, and finds where it bends between neighbours.

    `begin` names the rows of a chunk and says which neighbours belong together; `finish` takes the
    scores that were made of the outputs. The last row of a chunk is kept for the first pair of the
    next one, so that chunks may have any size.
    """

    def __init__(self, who: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.who = who
        # By storage, since views share theirs: why a signal cannot be followed, None where it can.
        self._signals: dict[int, tuple[StorageWeakRef, str | None]] = {}
        self._rows = 0
        self._margins = torch.zeros(0, dtype=torch.float64)
        self._open = torch.zeros(0, dtype=torch.bool)
        self._joined = False
        self._found: list[tuple[Tensor, Tensor]] = []
        self._seen: list[Seen] = []
        # Of a row alone, by the number of the operation: what tells which dimension counts rows.
        self._alone: list[tuple[int, ...]] = []
        self._shapes: list[tuple[int, ...]] = []
        self.last: list[Seen] = []
        """Of the last row that was finished, by the number of the operation."""

    # --- a chunk

    def begin(self, rows: Tensor, margins: Tensor, *, joined: bool) -> None:
        """Rows (r, elements) of a chunk, and how near to either end of the way between neighbours,
        as a share of it, a bend is none: (r - 1,), or (r,) with `joined`, which puts the last row of
        the chunk before in front of them. Neighbours with a half or more do not belong together.
        """
        self._signals = {}
        self._mark(rows, None)
        self._rows = len(rows)
        self._margins = margins
        self._open = margins < _NOTHING_BETWEEN
        self._joined = joined
        self._found = []
        self._seen = []
        self._shapes = []

    def finish(self, scores: Sequence[Tensor], what: str) -> Crossings | None:
        """Where the chunk bends; None where its operations were not those of a row alone, and it has
        to be asked again. `what` names the scores in a refusal.
        """
        for score in scores:
            reason = self._reason(score)
            if reason is not None:
                raise self._refusal(reason, what)
        if not self._alone:
            self._alone = self._shapes
        if len(self._seen) != len(self._alone):
            return None
        self.last = [seen.last() for seen in self._seen]
        self._signals = {}
        self._seen = []
        none = torch.zeros(0, dtype=torch.int64)
        if not self._found:
            return Crossings(none, none.to(torch.float64))
        pairs, shares = (torch.cat(parts) for parts in zip(*self._found))
        return Crossings(pairs, shares)

    def forget_last(self) -> None:
        """Lets go of the last row: the next chunk does not follow on it."""
        self.last = []

    def _refusal(self, reason: str, what: str) -> AbilityError:
        return AbilityError(
            expected=f"{what}, linear piece by piece",
            got=reason,
            advice=(
                "Explain logits, not probabilities; a network with smooth parts is integrated by "
                "IntegratedGradients(steps=...), whose gap says how well."
            ),
        )

    # --- operations

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
        signals = [leaf for leaf in leaves if self._is_signal(leaf)]
        if not signals:
            return func(*args, **kwargs)
        name = _name(func)
        reason = next(filter(None, map(self._reason, signals)), None)
        if reason is None and not self._is_known(name):
            # A composite operation is one of its parts'.
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        if name in _READS:
            self._refuse_reading(name)
            return func(*args, **kwargs)
        return self._followed(func, name, reason, args, kwargs)

    def _followed(self, func: Any, name: str, reason: str | None, args: Any, kwargs: Any) -> Any:
        """What an operation gives, marked as a signal; `reason` says why what goes in is none."""
        if reason is None:
            reason = self._unfollowed(name, args, kwargs)
        # Before it runs, since it may write on what goes in.
        if reason is None and not _by_finite(name):
            self._look(name, args, kwargs)
        results = func(*args, **kwargs)
        if reason is None:
            self._look_at_winners(name, args, kwargs, results)
            reason = _rounded(name, results)
        if reason is not None or name not in _CONSTANT:
            self._mark(results, reason)
        return results

    @staticmethod
    def _is_known(name: str) -> bool:
        tables: Iterable[Any] = (_LINEAR, _PRODUCTS, _OF_SHAPES, _BATCH_NORMS, _READS, _BENDS)
        return any(name in table for table in (*tables, _DECISIONS, _POOLS, _EXTREMES, _ODD))

    def _unfollowed(self, name: str, args: Any, kwargs: Any) -> str | None:
        """Why an operation on a signal is not linear piece by piece; None where it is."""
        for known, refused in (
            (_PRODUCTS, self._product),
            (_ODD, self._odd),
            (_BATCH_NORMS, self._batch_norm),
        ):
            if name in known:
                what = refused(name, args, kwargs)
                return None if what is None else f"{what}{_line()}"
        if self._is_known(name):
            return None
        return f"the operation {name.strip('_')}{_line()}"

    def _product(self, name: str, args: Any, kwargs: Any) -> str | None:
        factors = [args[place] for place in _PRODUCTS[name] if place < len(args)]
        if sum(map(self._is_signal, factors)) > 1:
            return f"a product of two signals ({name})"
        return None

    def _odd(self, name: str, args: Any, kwargs: Any) -> str | None:
        if name == "div":
            rounded = kwargs.get("rounding_mode") is not None
            return (
                f"a quotient by a signal ({name})" if self._is_signal(args[1]) or rounded else None
            )
        if name == "pow":
            return None if args[1] == 1 else f"the operation {name}"
        if name == "threshold":
            jumps = args[1] != args[2]
            return "a jump (threshold with another value)" if jumps else None
        # In training, its slope below 0 is drawn.
        return "the operation rrelu in training" if any(args[4:5]) else None

    def _batch_norm(self, name: str, args: Any, kwargs: Any) -> str | None:
        place = _BATCH_NORMS[name]
        if place is not None and args[place]:
            return f"the operation {name}, of statistics of the inputs themselves"
        if any(map(self._is_signal, args[1:5])):
            return f"a product of two signals ({name})"
        return None

    def _refuse_reading(self, name: str) -> None:
        """Refuses a number that the forward reads off a signal, to go on by it."""
        if _frame().f_code in _CHECKS:
            return
        raise self._refusal(f"a number read off the signal{_line()}", self.who)

    def _look(self, name: str, args: Any, kwargs: Any) -> None:
        """Finds where the units of an operation pass a bend."""
        signals = _BENDS.get(name) or _DECISIONS.get(name)
        if signals is None:
            return
        for signal in signals(*args, **kwargs):
            self._add(signal.detach(), None)

    def _look_at_winners(self, name: str, args: Any, kwargs: Any, results: Any) -> None:
        """Finds where maxima change their winners."""
        if name in _POOLS:
            # A plane of places for each window's row of numbers.
            self._add(args[0].detach().flatten(-_POOLS[name]), results[1].flatten(-_POOLS[name]))
        elif name in _EXTREMES:
            values = args[0].detach()
            if name in ("min", "amin"):
                values = -values
            dims = kwargs.get("dim", args[1] if len(args) > 1 else ())
            dims = [dims] if isinstance(dims, int) else list(dims) or list(range(values.dim()))
            dims = [dim % values.dim() for dim in dims]
            kept = [dim for dim in range(values.dim()) if dim not in dims]
            values = values.permute(*kept, *dims).flatten(len(kept))
            self._add(values, values.argmax(-1, keepdim=True))

    def _add(self, values: Tensor, winners: Tensor | None) -> None:
        """Looks at what one operation showed."""
        number = len(self._shapes)
        shape = tuple(values.shape)
        axis = 0
        if self._rows > 1:
            axis = self._axis(number, shape)
            # Operations that a row alone did not pass: the chunk is asked again.
            if axis < 0:
                self._shapes.append(shape)
                return
        self._shapes.append(shape)
        split = [_by_rows(values, axis, self._rows, winners is not None)]
        if winners is not None:
            split.append(_by_rows(winners, axis, self._rows, True))
        seen = Seen(tuple(split))
        self._seen.append(seen)
        if self._joined:
            if number >= len(self.last):
                return
            seen = seen.behind(self.last[number])
        if len(self._open):
            self._find(seen)

    def _axis(self, number: int, shape: tuple[int, ...]) -> int:
        """Which dimension counts rows, by the shape that a row alone has; -1 where none does."""
        if number >= len(self._alone) or len(self._alone[number]) != len(shape):
            return -1
        alone = self._alone[number]
        differing = [axis for axis, size in enumerate(shape) if size != alone[axis]]
        if len(differing) != 1 or shape[differing[0]] != self._rows * alone[differing[0]]:
            return -1
        return differing[0]

    def _find(self, seen: Seen) -> None:
        """The crossings between neighbours of which no earlier operation has shown any."""
        first, second, size = seen.ends()
        slack = ROUNDING * torch.finfo(first.dtype).eps * size
        falls = (first > slack) & (second < -slack)
        rises = (first < -slack) & (second > slack)
        crossed = (falls | rises) & self._open[:, None].to(first.device)
        pairs, units = crossed.nonzero(as_tuple=True)
        if not len(pairs):
            return
        before = first[pairs, units].to(torch.float64)
        behind = second[pairs, units].to(torch.float64)
        shares = (before / (before - behind)).cpu()
        pairs = pairs.cpu()
        margins = self._margins[pairs]
        inside = (shares > margins) & (shares < 1 - margins)
        self._found.append((pairs[inside], shares[inside]))
        # Behind this operation nothing is affine between them.
        self._open[pairs[inside].unique()] = False

    # --- signals

    def _mark(self, results: Any, reason: str | None) -> None:
        for leaf in tree_flatten(results)[0]:
            # Whole numbers carry no signal; those that cannot be followed decide something.
            if isinstance(leaf, Tensor) and (leaf.is_floating_point() or reason is not None):
                weak = StorageWeakRef(leaf.untyped_storage())
                self._signals[weak.cdata] = (weak, reason)

    def _of(self, value: Any) -> tuple[StorageWeakRef, str | None] | None:
        if not isinstance(value, Tensor) or value.layout is not torch.strided:
            return None
        found = self._signals.get(value.untyped_storage()._cdata)
        # A storage that is gone may have left its address to another.
        return None if found is None or found[0].expired() else found

    def _is_signal(self, value: Any) -> bool:
        return self._of(value) is not None

    def _reason(self, value: Any) -> str | None:
        found = self._of(value)
        return None if found is None else found[1]

    def check_layout(self, together: Sequence[Seen]) -> None:
        """Refuses rows that do not lie one behind the other: those of a row in company against those
        of the same row alone, which was finished last.
        """
        for ours, alone in zip(together, self.last):
            values, expected = ours.tensors[0], alone.tensors[0]
            size = (
                max(float(expected.abs().max()), float(values.abs().max())) if len(expected) else 0
            )
            if not torch.allclose(values, expected, rtol=1e-3, atol=1e-3 * size):
                raise ModelError(
                    expected=f"rows of {self.who} that lie one behind the other inside of it",
                    got="rows that take turns in one dimension",
                    advice="Ask it row by row: wrap(model, batch_size=1).",
                )


# What these give does not change within a cell.
# The check that outputs are numbers reads them, and goes on by nothing that it reads.
_CHECKS = (finite.__code__, all_finite.__code__)

_CONSTANT = frozenset(_DECISIONS) | _OF_SHAPES

_EXTREMES = _names("amax amin max min")

_ODD = _names("div pow threshold rrelu_with_noise")


def _by_rows(values: Tensor, axis: int, rows: int, windows: bool) -> Tensor:
    """Numbers (rows, ...) of a tensor that counts rows in one of its dimensions."""
    shape = (rows, -1, values.shape[-1]) if windows else (rows, -1)
    return values.movedim(axis, 0).reshape(shape)


def _rounded(name: str, results: Any) -> str | None:
    """Why the copy of a signal in another number type is none that can be followed."""
    if name != "_to_copy" or results.is_floating_point():
        return None
    return f"a signal made whole numbers{_line()}"


def _name(func: Any) -> str:
    """The name of an operation, the same in place."""
    name: str = func._schema.name.partition("::")[2]
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def _by_finite(name: str) -> bool:
    """Whether the magnitude is asked for by the check that outputs are numbers."""
    return name == "abs" and _frame().f_code in _CHECKS


def _frame() -> Any:
    """The frame of the code that called into torch."""
    frame: Any = sys._getframe(1)
    while frame.f_back is not None:
        if _package(frame) != "torch" and frame.f_code.co_filename != __file__:
            break
        frame = frame.f_back
    return frame


def _package(frame: Any) -> str:
    """Whose code a frame runs. By name: the folder of an environment may be a link."""
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def _line() -> str:
    """Where the user's code called an operation, in words; nothing where only modules did."""
    frame = _frame()
    file = frame.f_code.co_filename
    # What has no file was generated.
    if _package(frame) == "assay" or file.startswith("<"):
        return ""
    text = linecache.getline(file, frame.f_lineno).strip()
    return f" in line {frame.f_lineno} of {os.path.basename(file)}: {text}"
