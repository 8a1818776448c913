"""What is checked at the door, before any model is asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError, KindError
from assay.features.elements import Elements
from assay.features.partition import Features
from assay.features.words import Words
from assay.inputs.layout import Aligned, Context, Layout, Shared
from assay.inputs.reading import layout_of
from assay.inputs.texts import TextLayout, is_text
from assay.models.base import Model
from assay.removals.base import Removal
from assay.removals.fixed import Baseline
from assay.removals.mask_token import MaskToken


def require_type(value: Any, kind: type[Any]) -> Any:
    """The value, if it is of the kind that is meant."""
    if not isinstance(value, kind):
        raise KindError(
            expected=f"{kind.__name__.lower()} such as those in assay.{kind.__name__.lower()}",
            got=type(value).__name__,
            advice="",
        )
    return value


def read_inputs(
    inputs: Any, features: Any, removal: Any, model: Model
) -> tuple[Layout, Features, Removal]:
    """How the inputs are read, who receives credit and what stands in for the absent: as given, or
    what suits the inputs.
    """
    if is_text(inputs):
        texts = TextLayout.of(inputs, model.device)
        features = Words() if features is None else features
        removal = MaskToken() if removal is None else removal
        layout: Layout = removal.masked(texts) if isinstance(removal, MaskToken) else texts
    else:
        layout = layout_of(inputs, device=model.device, dtype=model.dtype)
    features = require_type(Elements() if features is None else features, Features)
    return layout, features, require_type(Baseline(0.0) if removal is None else removal, Removal)


def check_finite(x: Tensor, model: Model) -> Tensor:
    """Flat rows without anything a model cannot take."""
    if x.numel() == 0:
        raise InputError(
            expected="at least one input with at least one element",
            got=f"an array of shape {tuple(x.shape)}",
            advice="",
        )
    if x.is_floating_point():
        wrong = torch.isinf(x) if model.takes_missing else ~torch.isfinite(x)
        if bool(wrong.any()):
            row = int(wrong.any(1).nonzero()[0])
            raise InputError(
                expected="finite inputs",
                got=(
                    f"NaN or infinity in {int(wrong.any(1).sum())} of {len(x)} inputs, first "
                    f"in input {row}"
                ),
                advice=(
                    "Fill or drop missing values, or use an estimator that declares it can "
                    "take them."
                ),
            )
    return x


def split_context(
    context: Context, n: int, device: torch.device
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The context, sorted into what follows its input and what is the same for all."""
    aligned: dict[str, Tensor] = {}
    shared: dict[str, Any] = {}
    for name, value in context.items():
        if isinstance(value, Aligned):
            tensor = torch.as_tensor(value.value).to(device)
            if tensor.dim() == 0 or len(tensor) != n:
                raise InputError(
                    expected=f"{n} rows in the aligned context {name!r}",
                    got=f"shape {tuple(tensor.shape)}",
                    advice="",
                )
            aligned[name] = tensor
        elif isinstance(value, Shared):
            shared[name] = (
                value.value.to(device) if isinstance(value.value, Tensor) else value.value
            )
        else:
            raise KindError(
                expected=f"Aligned(tensor) or Shared(value) as context {name!r}",
                got=type(value).__name__,
                advice="Say whether it has one row per input; a shape alone does not tell.",
            )
    return aligned, shared


def rows_of(truth: Any, rows: Tensor) -> Any:
    """Some rows of whatever is known to be true of the inputs."""
    if truth is None or isinstance(truth, Tensor):
        return None if truth is None else truth[rows.to(truth.device)]
    index = rows.cpu().numpy()
    return truth.iloc[index] if hasattr(truth, "iloc") else np.asarray(truth)[index]


def check_points(at: Tensor, n: int, elements: int) -> tuple[Tensor, int]:
    """Points (n, elements) or (n, k, elements) as rows, and how many belong to each input."""
    if at.dim() not in (2, 3) or len(at) != n or at.shape[-1] != elements:
        raise InputError(
            expected=f"points of shape ({n}, {elements}) or ({n}, k, {elements})",
            got=tuple(at.shape),
            advice="",
        )
    return at.reshape(-1, elements), at.shape[1] if at.dim() == 3 else 1


def check_masks(masks: Any, n: int, count: int, x: Tensor) -> Tensor:
    """Masks over features, checked."""
    if not isinstance(masks, Tensor) or not (
        masks.dtype == torch.bool or masks.is_floating_point()
    ):
        raise KindError(
            expected="masks as a tensor of bools or floats",
            got=getattr(masks, "dtype", type(masks).__name__),
            advice="",
        )
    if (
        masks.dim() not in (2, 3)
        or masks.shape[-1] != count
        or (masks.dim() == 3 and len(masks) != n)
    ):
        raise InputError(
            expected=f"masks of shape (m, {count}) or ({n}, m, {count})",
            got=tuple(masks.shape),
            advice="",
        )
    if masks.is_floating_point() and not x.is_floating_point():
        raise KindError(
            expected=f"masks of bools for inputs of {x.dtype}, which cannot be blended",
            got=masks.dtype,
            advice="",
        )
    return masks
