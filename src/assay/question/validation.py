"""What is checked of a question's parts and of what is asked of it, before any model is asked.

Also the defaults that depend on the kind of inputs: texts get words and a mask token, colour
pictures pixels, everything else elements; what is absent from these becomes zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError, KindError
from assay.features.elements import Columns, Elements
from assay.features.images import Pixels
from assay.features.partition import Features, Partition
from assay.features.words import Words
from assay.inputs.arrays import as_tensor
from assay.inputs.layout import Aligned, Context, Layout, Shared
from assay.inputs.reading import layout_of
from assay.inputs.tables import TableLayout
from assay.inputs.tensors import TensorLayout
from assay.inputs.texts import TextLayout, refuse_column_of_texts, texts_of
from assay.models.base import Model, all_finite
from assay.models.wrapping import by_name
from assay.removals.base import Absent, FixedAbsent, Removal
from assay.removals.conditional import Conditional
from assay.removals.fixed import Background, Baseline, Blur, Mean, Noise
from assay.removals.mask_token import MaskToken
from assay.removals.unstated import Unstated, UnstatedAbsent
from assay.settings import has_length, shown


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
    if features is None and (removal is None or isinstance(removal, MaskToken)):
        refuse_column_of_texts(inputs)
    texts = texts_of(inputs)
    if texts is not None:
        features = Words() if features is None else features
        removal = MaskToken() if removal is None else removal
        layout = _text_layout(texts, features, removal, model.device)
    else:
        layout = layout_of(inputs, device=model.device, dtype=model.dtype, columns=model.columns)
        features = _usual_features(layout) if features is None else features
        # Said before the removal finds fault with what is no text.
        if isinstance(features, Words):
            features.required_texts(layout)
        if isinstance(features, Columns):
            layout = features.declared(layout)
        if removal is None:
            # A category has no zero: whoever needs a removal is asked for one.
            removal = Unstated() if layout.without_zero else Baseline(0.0)
    return layout, require_type(features, Features), require_type(removal, Removal)


_COLOURS = 3


def _usual_features(layout: Layout) -> Features:
    """Pixels of colour pictures (3, height, width), every number by itself of anything else."""
    shapes = layout.shapes
    if not isinstance(layout, TensorLayout) or len(shapes) != 1 or len(shapes[0]) != 3:
        return Elements()
    channels, *sides = shapes[0]
    # Where a side is as short as the channels are many, they may lie on any axis.
    return Pixels() if channels == _COLOURS < min(sides) else Elements()


def by_argument(model: Model, inputs: Any, context: Context) -> tuple[Model, Any]:
    """Inputs in a mapping as several by place, and the model that takes them under their names.

    What the context names is no input: a tokenizer's whole answer may be handed over, with its
    attention mask as context.
    """
    if not isinstance(inputs, Mapping):
        return model, inputs
    explained = {name: value for name, value in inputs.items() if name not in context}
    if not explained or not all(isinstance(name, str) for name in explained):
        raise InputError(
            expected="a mapping from names of the model's arguments to tensors",
            got=f"a mapping of {list(inputs)}",
            advice="Hand over {'input_ids': ids}, and what is not explained as context.",
        )
    return by_name(model, tuple(explained)), tuple(explained.values())


def arrays_of(inputs: Any, context: Context) -> frozenset[str]:
    """Names of the context that a function takes as arrays: all of it beside arrays, else what came
    as an array.
    """
    first = inputs
    if isinstance(inputs, tuple | list) and inputs:
        first = inputs[0]
    beside_arrays = isinstance(first, np.ndarray)
    return frozenset(
        name
        for name, value in context.items()
        if isinstance(value, Aligned) and (beside_arrays or not isinstance(value.value, Tensor))
    )


def index_of(inputs: Any) -> tuple[Any, ...] | None:
    """What the caller counts the inputs by: the index of a frame that is not 0, 1, 2, ..."""
    index = getattr(inputs, "index", None)
    # Lists and tuples have a method of this name.
    if index is None or callable(index) or not hasattr(index, "tolist"):
        return None
    labels = tuple(index.tolist())
    if labels == tuple(range(len(labels))):
        return None
    return labels


def check_finite(x: Tensor, model: Model) -> Tensor:
    """Flat rows without anything that a model cannot take."""
    if x.numel() == 0:
        raise InputError(
            expected="at least one input with at least one element",
            got=f"an array of shape {tuple(x.shape)}",
            advice="Hand over one row at least: the first dimension counts inputs.",
        )
    if all_finite(x):
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
                "Fill or drop missing values; a predictor that knows what to do with NaN says so: "
                "wrap(model, missing=True)."
            ),
        )
    return x


def check_replacements(absent: Absent, model: Model) -> Absent:
    """What stands in for the absent, without anything that a model cannot take."""
    rows = absent.rows if isinstance(absent, FixedAbsent) else torch.zeros(0)
    if all_finite(rows):
        return absent
    forbidden = torch.isinf(rows) if model.takes_missing else ~torch.isfinite(rows)
    if bool(forbidden.any()):
        count = int(forbidden.flatten(0, 1).any(1).sum())
        raise InputError(
            expected="finite numbers in the place of what is absent",
            got=f"NaN or infinity in {count} of {rows.shape[0] * rows.shape[1]} rows",
            advice=(
                "Fill the gaps or leave these rows out; a predictor that knows what to do with NaN "
                "says so: wrap(model, missing=True)."
            ),
        )
    return absent


def admitting(layout: Layout, absent: Absent, x: Tensor) -> Layout:
    """The layout that hands over the inputs and what stands in for them alike in every chunk."""
    if isinstance(absent, FixedAbsent):
        return layout.admitting(absent.rows)
    if isinstance(absent, UnstatedAbsent):
        return layout
    # What depends on the mask is of one kind under all of them.
    if isinstance(layout, TableLayout):
        rows = torch.arange(len(x), device=x.device)
        return layout.admitting(absent.everything_removed(rows, torch.zeros_like(rows)))
    return layout


def split_context(
    context: Context, n: int, device: torch.device
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The context, sorted into what follows its input and what is the same for all."""
    if not isinstance(context, Mapping) or not all(isinstance(name, str) for name in context):
        raise KindError(
            expected="the context as a dict from names of the model's arguments to values",
            got=shown(context),
            advice="Write context={'mask': Aligned(mask), 'scale': Shared(2.0)}.",
        )
    aligned: dict[str, Tensor] = {}
    shared: dict[str, Any] = {}
    for name, value in context.items():
        if isinstance(value, Aligned):
            aligned[name] = _aligned(name, value, n, device)
        elif isinstance(value, Shared):
            constant = value.value
            # Arrays are copied, as what is aligned is; anything else the model receives as it is.
            if isinstance(constant, Tensor):
                constant = constant.detach().to(device, copy=True)
            elif isinstance(constant, np.ndarray):
                constant = constant.copy()
            shared[name] = constant
        else:
            raise KindError(
                expected=f"Aligned(tensor) or Shared(value) as context {name!r}",
                got=type(value).__name__,
                advice="Say whether it has one row per input; a shape alone does not tell.",
            )
    return aligned, shared


def _aligned(name: str, value: Aligned, n: int, device: torch.device) -> Tensor:
    # A copy, as of the inputs: what the caller writes later is not asked about.
    tensor = as_tensor(value.value).to(device, copy=True)
    if tensor.dim() == 0 or len(tensor) != n:
        raise InputError(
            expected=f"{n} rows in the aligned context {name!r}",
            got=f"shape {tuple(tensor.shape)}",
            advice="Hand over one row per input, or Shared(value) for what all inputs share.",
        )
    return tensor


def check_truth(truth: Any, n: int) -> Any:
    """What is known of the inputs, if it has an entry for each."""
    if truth is None:
        return None
    counted = has_length(truth) and not isinstance(truth, Mapping | set | frozenset)
    if not counted or len(truth) != n:
        raise InputError(
            expected=f"a truth with one entry for each of {n} inputs",
            got=f"{len(truth)} entries" if counted else shown(truth),
            advice="Hand over a list, an array or a column, in the order of the inputs.",
        )
    return truth


def rows_of(truth: Any, rows: Tensor) -> Any:
    """Some rows of whatever is known to be true of the inputs."""
    if truth is None:
        return None
    if isinstance(truth, Tensor):
        return truth[rows.to(truth.device)]
    # Lists, arrays and frames are indexed from the CPU, wherever the inputs live.
    index = rows.cpu().numpy()
    # A frame keeps its index, and is counted by position.
    if hasattr(truth, "iloc"):
        return truth.iloc[index]
    try:
        return np.asarray(truth)[index]
    except ValueError:  # entries of several lengths, such as boxes
        return [truth[row] for row in index]


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


def check_switched(masks: Tensor, partition: Partition, layout: Layout) -> None:
    """Refuses masks that blend a feature which owns a category: half of one is none."""
    categorical = layout.categorical
    if masks.dtype == torch.bool or not bool(categorical.any()):
        return
    owners = partition.labels[:, categorical.to(partition.labels.device)]
    features = owners[owners >= 0].unique()
    parts = masks[..., features]
    # Floats that are all 0 or 1 switch as bools do, and may pass.
    if bool((parts != parts.round()).any()):
        name = partition.names[int(features[0])]
        raise InputError(
            expected=f"masks that switch categories, such as {name!r}",
            got="fractions, which blend",
            advice="Use masks of bools, or methods that switch features: masks > 0.5.",
        )


def _is_mask_type(dtype: torch.dtype) -> bool:
    return dtype == torch.bool or dtype.is_floating_point


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
