"""Every method, in one list: name -> class. The command line, the contract tests and the tables of the docs are made from it."""

from __future__ import annotations

from assay.method import Method
from assay.methods.closed_form import LowOrderShap, MaxShap
from assay.methods.gradient import Absolute, Gradient, InputXGradient, Smoothed, TimesInput
from assay.methods.influence import Qii
from assay.methods.kernel_shap import KernelShap
from assay.methods.lime import Lime
from assay.methods.linear_shap import LinearShap
from assay.methods.occlusion import Occlusion
from assay.methods.owen import OwenValues
from assay.methods.path import ExpectedGradients, IntegratedGradients, Path
from assay.methods.proxy import ProxyShap
from assay.methods.retrain import ShapleyRegression
from assay.methods.rise import Rise
from assay.methods.shapley import ExactShapley, PermutationShapley
from assay.methods.shapley_sampling import SamplingShapley

METHODS: dict[str, type[Method]] = {
    kind.__name__: kind
    for kind in (
        Gradient,
        InputXGradient,
        Absolute,
        TimesInput,
        Smoothed,
        IntegratedGradients,
        Path,
        ExpectedGradients,
        Occlusion,
        Rise,
        Lime,
        ExactShapley,
        PermutationShapley,
        KernelShap,
        SamplingShapley,
        ProxyShap,
        OwenValues,
        ShapleyRegression,
        LinearShap,
        LowOrderShap,
        MaxShap,
        Qii,
    )
}
