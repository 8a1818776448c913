"""Who answers: every method is `Question -> Attribution`.

`METHODS` is the list of them, name -> class: the command line, the contract tests and the tables
of the docs are made from it.

- `base`: what a method is: frozen settings and one pure function `Question -> Attribution`
- `choose`: the one-liner, a sensible method for what a model can do
- `gradients`: slopes, and slopes gathered along a path
- `wrappers`: methods around another
- `influence`: slopes inside a network under a distribution of interest, experts, conductance
- `occlusion`, `rise`: hiding windows, and hiding at random
- `lime`: linear surrogates in a neighbourhood
- `attention`: where tokens look, layer by layer
- `cam`: maps of a class over the places of a layer
- `guided_map`: a map times guided backpropagation
- `optimal`: what a law of perturbations is accounted for best by
- `rules`: signals sent backwards by rules: guided backpropagation, LRP, DeepLIFT
- `shapley`: Shapley values and their kin
- `trees`: exact values from the nodes of an ensemble of trees

`base` holds one class of over 500 lines, `Method`: its public verbs and the loop around `values`.

May be subclassed: `Method`, whose `values` gives a tensor or an `Estimate`; `Axiom` and `Kind` say
what it keeps and gives. Also `Neighbourhood` in `lime`, `Quantity` and `MaskMethod` in `shapley`, `Rule`
and `Composition` in `rules`.
"""

from assay.answers.attribution import Kind
from assay.methods.attention.relevance import AttentionRelevance
from assay.methods.attention.rollout import AttentionRollout, RawAttention
from assay.methods.attention.transformer_relevance import TransformerRelevance
from assay.methods.base import Axiom, Estimate, Method
from assay.methods.cam.by_masking import AblationCam, ScoreCam
from assay.methods.cam.by_slopes import (
    CAM,
    GradCam,
    GradCamPlusPlus,
    HiResCam,
    LayerCam,
    XGradCam,
)
from assay.methods.cam.eigen import EigenCam
from assay.methods.cam.full_grad import FullGrad
from assay.methods.choose import explain
from assay.methods.gradients.exact_paths import ExactIntegratedGradients
from assay.methods.gradients.gradient import Gradient, InputXGradient
from assay.methods.gradients.paths import ExpectedGradients, IntegratedGradients, Path
from assay.methods.guided_map import Guided
from assay.methods.influence.conductance import Conductance
from assay.methods.influence.distributions import (
    DataDistribution,
    Distribution,
    GaussianDistribution,
    LineDistribution,
    PointDistribution,
)
from assay.methods.influence.experts import ExpertUnit, expert
from assay.methods.influence.internal_influence import InternalInfluence
from assay.methods.lime.lime import Lime
from assay.methods.occlusion import Occlusion
from assay.methods.optimal.optimal import Optimal, kernel_smoothed
from assay.methods.rise import Rise
from assay.methods.rules.deep_lift import DeepLift
from assay.methods.rules.guided import Deconvnet, GuidedBackprop
from assay.methods.rules.lrp import LRP
from assay.methods.shapley.exact import ExactShapley
from assay.methods.shapley.interactions import ExactInteractions
from assay.methods.shapley.kernel_shap import KernelShap, LowOrderShap
from assay.methods.shapley.linear_shap import LinearShap
from assay.methods.shapley.max_shap import MaxShap
from assay.methods.shapley.owen import OwenValues
from assay.methods.shapley.permutation import PermutationShapley
from assay.methods.shapley.proxy_shap import ProxyShap
from assay.methods.shapley.qii import Qii
from assay.methods.shapley.sampling import SamplingShapley
from assay.methods.shapley.shapley_regression import ShapleyRegression
from assay.methods.trees.interactions import TreeInteractions
from assay.methods.trees.tree_shap import TreeShap
from assay.methods.wrappers import Absolute, Smoothed, TimesInput

METHODS: dict[str, type[Method]] = {
    kind.__name__: kind
    for kind in (
        Gradient,
        InputXGradient,
        Absolute,
        TimesInput,
        Smoothed,
        IntegratedGradients,
        ExactIntegratedGradients,
        Conductance,
        InternalInfluence,
        Path,
        ExpectedGradients,
        GuidedBackprop,
        Deconvnet,
        LRP,
        DeepLift,
        CAM,
        GradCam,
        GradCamPlusPlus,
        XGradCam,
        HiResCam,
        LayerCam,
        ScoreCam,
        AblationCam,
        EigenCam,
        FullGrad,
        Guided,
        AttentionRollout,
        RawAttention,
        AttentionRelevance,
        TransformerRelevance,
        Occlusion,
        Rise,
        Lime,
        Optimal,
        ExactShapley,
        ExactInteractions,
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
        TreeShap,
        TreeInteractions,
    )
}

__all__ = [
    "AblationCam",
    "Absolute",
    "AttentionRelevance",
    "AttentionRollout",
    "Axiom",
    "CAM",
    "Conductance",
    "DataDistribution",
    "Deconvnet",
    "DeepLift",
    "Distribution",
    "EigenCam",
    "Estimate",
    "ExactIntegratedGradients",
    "ExactInteractions",
    "ExactShapley",
    "ExpectedGradients",
    "expert",
    "ExpertUnit",
    "explain",
    "FullGrad",
    "GaussianDistribution",
    "GradCam",
    "GradCamPlusPlus",
    "Gradient",
    "Guided",
    "GuidedBackprop",
    "HiResCam",
    "InputXGradient",
    "IntegratedGradients",
    "InternalInfluence",
    "kernel_smoothed",
    "KernelShap",
    "Kind",
    "LayerCam",
    "Lime",
    "LinearShap",
    "LineDistribution",
    "LowOrderShap",
    "LRP",
    "MaxShap",
    "Method",
    "METHODS",
    "Occlusion",
    "Optimal",
    "OwenValues",
    "Path",
    "PermutationShapley",
    "PointDistribution",
    "ProxyShap",
    "Qii",
    "RawAttention",
    "Rise",
    "SamplingShapley",
    "ScoreCam",
    "ShapleyRegression",
    "Smoothed",
    "TimesInput",
    "TransformerRelevance",
    "TreeInteractions",
    "TreeShap",
    "XGradCam",
]
