"""What is checked of a question's parts and of what is asked of it, before any model is asked.

Also the defaults that depend on the kind of inputs: texts get words and a mask token, everything
else elements and a baseline of zero.
"""

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
from assay.inputs.texts import TextLayout, refuse_column_of_texts, texts_of
from assay.models.base import Model
from assay.removals.base import Removal
from assay.removals.conditional import Conditional
from assay.removals.fixed import Background, Baseline, Blur, Mean, Noise
from assay.removals.mask_token import MaskToken


def require_type(value: Any, kind: type[Any]) -> Any:
    """The value, if it is of the kind that is meant."""
    if not isinstance(value, kind):
        noun = kind.__name__.lower()
        raise KindError(
            expected=f"{noun} such as those in assay.{noun}",
            got=type(value).__name__,
            advice=f"Make one, such as {_EXAMPLES.get(noun, kind.__name__)}.",
        )
    return value


_EXAMPLES = {"features": "Elements(), Patches(16) or Columns()", "removal": "Baseline(0.0)"}


def read_inputs(
    inputs: Any, features: Any, removal: Any, model: Model
) -> tuple[Layout, Features, Removal]:
    """How the inputs are read, who receives credit and what stands in for the absent.

    Features and removal as given, or what suits the inputs.
    """
    layout: Layout
    if features is None and removal is None:
        refuse_column_of_texts(inputs)
    texts = texts_of(inputs)
    if texts is not None:
        features = Words() if features is None else features
        removal = MaskToken() if removal is None else removal
        layout = _text_layout(texts, features, removal, model.device)
    else:
        features = Elements() if features is None else features
        removal = Baseline(0.0) if removal is None else removal
        layout = layout_of(inputs, device=model.device, dtype=model.dtype)
    return layout, require_type(features, Features), require_type(removal, Removal)


def _text_layout(texts: list[str], features: Any, removal: Any, device: torch.device) -> TextLayout:
    """Texts, split as the features say, with the removal's token in the place of absent words."""
    split = features.split if isinstance(features, Words) else "words"
    layout = TextLayout.of(texts, device, split)
    if isinstance(removal, MaskToken):
        return removal.masked(layout)
    if isinstance(removal, Background | Baseline | Blur | Conditional | Mean | Noise):
        raise InputError(
            expected="a removal of words for texts",
            got=repr(removal),
            advice=(
                'MaskToken("") drops an absent word, MaskToken("[MASK]") writes a mask: words have '
                "neither numbers nor places in common with those of other texts."
            ),
        )
    return layout


def check_finite(x: Tensor, model: Model) -> Tensor:
    """Flat rows without anything that a model cannot take."""
    if x.numel() == 0:
        raise InputError(
            expected="at least one input with at least one element",
            got=f"an array of shape {tuple(x.shape)}",
            advice="Hand over one row at least: the first dimension counts inputs.",
        )
    if not x.is_floating_point():
        return x
    # NaN is a missing value to some models; infinity is one to none.
    forbidden = torch.isinf(x) if model.takes_missing else ~torch.isfinite(x)
    if bool(forbidden.any()):
        rows = forbidden.any(1)
        raise InputError(
            expected="finite inputs",
            got=(
                f"NaN or infinity in {int(rows.sum())} of {len(x)} inputs, first "
                f"in input {int(rows.nonzero()[0])}"
            ),
            advice=(
                "Fill or drop missing values, or use an estimator that declares it can take them."
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
            aligned[name] = _aligned(name, value, n, device)
        elif isinstance(value, Shared):
            constant = value.value
            shared[name] = constant.to(device) if isinstance(constant, Tensor) else constant
        else:
            raise KindError(
                expected=f"Aligned(tensor) or Shared(value) as context {name!r}",
                got=type(value).__name__,
                advice="Say whether it has one row per input; a shape alone does not tell.",
            )
    return aligned, shared


def _aligned(name: str, value: Aligned, n: int, device: torch.device) -> Tensor:
    # A copy, as of the inputs: what the caller writes later is not asked about.
    tensor = torch.as_tensor(value.value).to(device, copy=True)
    if tensor.dim() == 0 or len(tensor) != n:
        raise InputError(
            expected=f"{n} rows in the aligned context {name!r}",
            got=f"shape {tuple(tensor.shape)}",
            advice="Hand over one row per input, or Shared(value) for what all inputs share.",
        )
    return tensor


def rows_of(truth: Any, rows: Tensor) -> Any:
    """Some rows of whatever is known to be true of the inputs."""
    if truth is None:
        return None
    if isinstance(truth, Tensor):
        return truth[rows.to(truth.device)]
    index = rows.cpu().numpy()
    # A frame keeps its index, and is counted by position.
    if hasattr(truth, "iloc"):
        return truth.iloc[index]
    return np.asarray(truth)[index]


def check_points(at: Tensor, n: int, elements: int) -> tuple[Tensor, int]:
    """Points (n, elements) or (n, k, elements) as rows, and how many belong to each input."""
    if at.dim() not in (2, 3) or len(at) != n or at.shape[-1] != elements:
        raise InputError(
            expected=f"points of shape ({n}, {elements}) or ({n}, k, {elements})",
            got=tuple(at.shape),
            advice="Points are flat rows: start from question.x.",
        )
    points_per_input = at.shape[1] if at.dim() == 3 else 1
    return at.reshape(-1, elements), points_per_input


def check_masks(masks: Any, n: int, features: int, x: Tensor) -> Tensor:
    """Masks over features: (m, features) for all inputs, or (n, m, features)."""
    if not isinstance(masks, Tensor) or not _is_mask_type(masks.dtype):
        raise KindError(
            expected="masks as a tensor of bools or floats",
            got=getattr(masks, "dtype", type(masks).__name__),
            advice="Bools say what is present, floats in [0, 1] blend: masks.bool() for 0 and 1.",
        )
    shared = masks.dim() == 2
    own = masks.dim() == 3 and len(masks) == n
    if not (shared or own) or masks.shape[-1] != features:
        raise InputError(
            expected=f"masks of shape (m, {features}) or ({n}, m, {features})",
            got=tuple(masks.shape),
            advice="The last dimension counts features, question.partition.count of them.",
        )
    if masks.is_floating_point() and not x.is_floating_point():
        raise KindError(
            expected=f"masks of bools for inputs of {x.dtype}, which cannot be blended",
            got=masks.dtype,
            advice="Use masks.bool().",
        )
    return masks


def _is_mask_type(dtype: torch.dtype) -> bool:
    return dtype == torch.bool or dtype.is_floating_point
