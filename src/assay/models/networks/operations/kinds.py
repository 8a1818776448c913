"""Which operation is which: the names under which torch calls it, in every spelling.

`x.add_(y)`, `x += y`, `torch.add(x, y)` and `x + y` are one operation, `add`. What an operation is may
depend on which operands carry signal: a product with a constant is affine, one of two signals is not.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any


class OperationKind(Enum):
    """What an operation does to the signal."""

    CONVOLUTION = "convolution"
    DENSE = "dense"
    AFFINE = "affine"
    """Scaled and shifted by constants: batch norm in evaluation mode, a product with a constant."""
    SUM = "sum"
    """Sums of signals with fixed weights: `+`, mean, average pooling, interpolation."""
    ACTIVATION = "activation"
    MAXIMUM = "maximum"
    PRODUCT = "product"
    SCALE = "scale"
    """A size that the signal is divided by: norm, standard deviation, 1 / x, 1 / sqrt(x)."""
    NORMALISATION = "normalisation"
    SOFTMAX = "softmax"
    ATTENTION = "attention"
    RECURRENT = "recurrent"
    STRUCTURE = "structure"
    """Moves, copies or picks numbers: reshape, cat, index, pad."""
    STOP = "stop"
    """Where the forward itself stops slopes: detach, rounding."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CONVOLUTIONS = _words(
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d conv_tbc convolution"
)
PRODUCTS = _words(
    "linear matmul mm bmm mv dot inner addmm addmv addbmm baddbmm einsum bilinear tensordot "
    "chain_matmul outer kron"
)
"""Multilinear: dense where one operand carries signal, a product where several do."""
ELEMENTWISE_PRODUCTS = _words("mul multiply")
QUOTIENTS = _words("div divide true_divide")
SUMS = _words("add sub subtract rsub")
AFFINE = _words("neg negative positive batch_norm native_batch_norm")
MEANS = _words(
    "sum mean nansum nanmean cumsum avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d "
    "adaptive_avg_pool2d adaptive_avg_pool3d interpolate upsample upsample_nearest "
    "upsample_bilinear trapezoid grid_sample _adaptive_avg_pool2d _adaptive_avg_pool3d"
)
RECTIFIERS = _words("relu relu6 leaky_relu prelu rrelu threshold hardtanh clamp clip clamp_min")
HARD = _words("abs absolute clamp_max hardshrink softshrink hardsigmoid")
"""Piecewise linear beside the rectifiers."""
SMOOTH = _words(
    "elu selu celu gelu silu mish softplus sigmoid tanh hardsigmoid hardswish logsigmoid "
    "log_sigmoid softsign tanhshrink hardshrink softshrink exp exp2 expm1 log log2 log10 log1p "
    "sqrt square pow abs absolute erf erfc sin cos tan sinh cosh atan arctan asin acos asinh "
    "acosh atanh clamp_max relu_squared logit sinc xlogy special_expit expit quick_gelu float_power"
)
ACTIVATIONS = RECTIFIERS | SMOOTH
MAXIMA = _words(
    "max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices "
    "max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d amax amin "
    "max min maximum minimum fmax fmin"
)
SCALES = _words("reciprocal rsqrt norm linalg_vector_norm linalg_norm vector_norm std var")
NORMALISATIONS = _words("layer_norm native_layer_norm rms_norm group_norm instance_norm")
SOFTMAXES = _words("softmax log_softmax softmin logsumexp _softmax _log_softmax")
RECURRENT = _words("lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell")
STRUCTURE = _words(
    "view reshape flatten unflatten ravel permute transpose t adjoint movedim moveaxis swapaxes "
    "swapdims squeeze unsqueeze expand expand_as repeat repeat_interleave tile cat concat "
    "concatenate stack hstack vstack dstack column_stack chunk split tensor_split hsplit vsplit "
    "split_with_sizes unsafe_chunk unsafe_split unbind getitem setitem select narrow narrow_copy "
    "index_select gather take take_along_dim masked_select masked_fill masked_scatter where pad "
    "constant_pad_nd flip fliplr flipud roll rot90 contiguous clone to float double half bfloat16 "
    "type type_as cpu cuda view_as reshape_as tril triu diag diagonal diag_embed unfold fold im2col "
    "col2im channel_shuffle pixel_shuffle pixel_unshuffle copy index_copy scatter index_put dropout "
    "alpha_dropout feature_dropout feature_alpha_dropout dropout1d dropout2d dropout3d zero fill "
    "broadcast_tensors broadcast_to atleast_1d atleast_2d atleast_3d as_strided real alias "
    "index_fill scatter_add index_add iter get native_dropout nan_to_num requires_grad pin_memory "
    "slice_scatter select_scatter new_tensor"
)
RESHAPES = _words("squeeze unsqueeze t transpose swapaxes swapdims as_strided resize requires_grad")
"""What moves numbers, and in place changes no number but the shape."""
STOPS = _words(
    "detach round floor ceil trunc sign sgn frac fix heaviside data item tolist numpy argmax argmin "
    "argsort bucketize floor_divide fmod remainder"
)

_TABLE: dict[str, OperationKind] = {
    **dict.fromkeys(CONVOLUTIONS, OperationKind.CONVOLUTION),
    **dict.fromkeys(PRODUCTS, OperationKind.DENSE),
    **dict.fromkeys(ELEMENTWISE_PRODUCTS | QUOTIENTS | AFFINE, OperationKind.AFFINE),
    **dict.fromkeys(SUMS | MEANS, OperationKind.SUM),
    **dict.fromkeys(ACTIVATIONS, OperationKind.ACTIVATION),
    **dict.fromkeys(MAXIMA, OperationKind.MAXIMUM),
    **dict.fromkeys(SCALES, OperationKind.SCALE),
    **dict.fromkeys(NORMALISATIONS, OperationKind.NORMALISATION),
    **dict.fromkeys(SOFTMAXES, OperationKind.SOFTMAX),
    "scaled_dot_product_attention": OperationKind.ATTENTION,
    **dict.fromkeys(RECURRENT, OperationKind.RECURRENT),
    **dict.fromkeys(STRUCTURE, OperationKind.STRUCTURE),
    **dict.fromkeys(STOPS, OperationKind.STOP),
}

# Python's names of operators (`__itruediv__`), and second names of one operation in torch.
_SPELLINGS = {
    "truediv": "div",
    "itruediv": "div",
    "idiv": "div",
    "iadd": "add",
    "isub": "sub",
    "imul": "mul",
    "ipow": "pow",
    "radd": "add",
    "rmul": "mul",
    "hardtanh_": "hardtanh",
    "divide": "div",
    "multiply": "mul",
    "subtract": "sub",
    "_pad": "pad",
    "_softmax": "softmax",
    "_log_softmax": "log_softmax",
}


def spelled(func: Callable[..., Any]) -> tuple[str, bool]:
    """The plain name of an operation, and whether it writes on its first operand."""
    name = getattr(func, "__name__", type(func).__name__)
    if name.startswith("__") and name.endswith("__"):
        bare = name[2:-2]
        in_place = bare in ("iadd", "isub", "imul", "itruediv", "idiv", "ipow", "setitem")
        return _SPELLINGS.get(bare, bare), in_place
    in_place = name.endswith("_") and not name.startswith("_")
    bare = name.rstrip("_") if in_place else name
    return _SPELLINGS.get(bare, bare), in_place


def kind_of(name: str, signals: int) -> OperationKind | None:
    """What the operation of a name is, with so many operands that carry signal; None for unknown."""
    kind = _TABLE.get(name)
    several = signals > 1
    if several and (name in PRODUCTS or name in ELEMENTWISE_PRODUCTS or name in QUOTIENTS):
        return OperationKind.PRODUCT
    if several and kind is OperationKind.CONVOLUTION:
        return OperationKind.PRODUCT
    if name in SUMS and not several:
        # A constant added is a shift.
        return OperationKind.AFFINE
    return kind


FRESH = (CONVOLUTIONS | RECTIFIERS | SMOOTH) - _words("conv_tbc rrelu") | _words(
    "linear matmul mm bmm addmm baddbmm add sub mul div batch_norm layer_norm group_norm "
    "avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d adaptive_avg_pool2d "
    "softmax log_softmax"
)
"""What gives numbers of its own, in a place that no other tensor sees."""

KNOWN_NAMES = frozenset(_TABLE)
"""The plain names of all operations that are known."""
