"""Signals sent backwards by rules of their own instead of the slope.

`guided` is guided backpropagation and the deconvnet; `lrp` sends relevance by a composite
(`composites`), a mapping from operations to the rules of `relevance`, and `conservation` keeps the
account of it; `deep_lift` compares with a reference by the multipliers of `multipliers`, and
saves what pairs of inputs and references share (`pairs`). Which operations are `rectifiers` between
two bounds, and large signals that go back through them in loops that numba compiles (`rectified`).

All of them hear the forward operation by operation (`models/networks/operations`). May be
subclassed: `relevance.Rule` and `composites.Composition`.
"""

from assay.methods.rules.composites import (
    AttentionAware,
    Composite,
    Composition,
    ConservativeAttention,
    EpsilonAlpha2Beta1,
    EpsilonAlpha2Beta1Flat,
    EpsilonGammaBox,
    EpsilonPlus,
    EpsilonPlusFlat,
)
from assay.methods.rules.deep_lift import DeepLift
from assay.methods.rules.guided import Deconvnet, GuidedBackprop
from assay.methods.rules.lrp import LRP
from assay.methods.rules.relevance import (
    AlphaBeta,
    Constant,
    Epsilon,
    Flat,
    Gamma,
    Halves,
    Norm,
    Pass,
    Passage,
    Rule,
    Softmax,
    WSquare,
    ZBox,
    Zero,
    ZPlus,
)

__all__ = [
    "AlphaBeta",
    "AttentionAware",
    "Composite",
    "Composition",
    "ConservativeAttention",
    "Constant",
    "Deconvnet",
    "DeepLift",
    "Epsilon",
    "EpsilonAlpha2Beta1",
    "EpsilonAlpha2Beta1Flat",
    "EpsilonGammaBox",
    "EpsilonPlus",
    "EpsilonPlusFlat",
    "Flat",
    "Gamma",
    "GuidedBackprop",
    "Halves",
    "LRP",
    "Norm",
    "Pass",
    "Passage",
    "Rule",
    "Softmax",
    "WSquare",
    "ZBox",
    "Zero",
    "ZPlus",
]
