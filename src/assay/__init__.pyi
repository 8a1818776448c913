"""What is public at the top: the names that `__init__.py` hands on, and where they are defined."""

from assay import errors
from assay.answers.attribution import Attribution
from assay.answers.corpora import TriggerWord, trigger_words
from assay.answers.score import Score
from assay.certificates.attack import Attack
from assay.certificates.certificate import Certificate
from assay.certificates.finetuning import masked_finetuning
from assay.certificates.hard_stability import HardStability
from assay.certificates.lipschitz import LipschitzCheck
from assay.certificates.smoothing import MultiplicativeSmoothing
from assay.certificates.soft_stability import SoftStability
from assay.comparison.comparing import compare
from assay.comparison.comparison import Comparison
from assay.engine import quiet, reproducible
from assay.features.elements import Columns, Elements, Labels
from assay.features.images import Patches, Pixels
from assay.features.inherited import Inherited
from assay.features.molecules import Atoms
from assay.features.superpixels import Superpixels
from assay.features.token_words import TokenWords
from assay.features.tokens import Tokens
from assay.features.words import Words
from assay.inputs.layout import Aligned, Shared
from assay.methods import METHODS
from assay.methods.attention.relevance import AttentionRelevance
from assay.methods.attention.rollout import AttentionRollout, RawAttention
from assay.methods.attention.transformer_relevance import TransformerRelevance
from assay.methods.base import Method
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
from assay.methods.cam.neurons import name_neurons, neuron_importance
from assay.methods.choose import explain
from assay.methods.gradients.exact_paths import ExactIntegratedGradients
from assay.methods.gradients.gradient import Gradient, InputXGradient
from assay.methods.gradients.paths import ExpectedGradients, IntegratedGradients, Path
from assay.methods.guided_map import Guided
from assay.methods.influence.conductance import Conductance
from assay.methods.influence.distributions import (
    DataDistribution,
    GaussianDistribution,
    LineDistribution,
    PointDistribution,
)
from assay.methods.influence.experts import ExpertUnit, expert
from assay.methods.influence.internal_influence import InternalInfluence
from assay.methods.lime.lime import Lime
from assay.methods.lime.masks import CoinMasks, SizeMasks
from assay.methods.lime.points import Gaussian, Instances
from assay.methods.lime.quartiles import Quartiles
from assay.methods.occlusion import Occlusion
from assay.methods.optimal.optimal import Optimal, kernel_smoothed
from assay.methods.rise import Rise
from assay.methods.rules.composites import (
    AttentionAware,
    Composite,
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
from assay.methods.shapley.exact import ExactShapley
from assay.methods.shapley.interactions import ExactInteractions
from assay.methods.shapley.kernel_shap import KernelShap, LowOrderShap
from assay.methods.shapley.linear_shap import LinearShap
from assay.methods.shapley.max_shap import MaxShap
from assay.methods.shapley.owen import OwenValues
from assay.methods.shapley.permutation import PermutationShapley
from assay.methods.shapley.proxy_shap import ProxyShap
from assay.methods.shapley.qii import Disparity, Group, Qii
from assay.methods.shapley.sampling import SamplingShapley
from assay.methods.shapley.shapley_regression import ShapleyRegression
from assay.methods.trees.interactions import TreeInteractions
from assay.methods.trees.tree_shap import TreeShap
from assay.methods.wrappers import Absolute, Smoothed, TimesInput
from assay.metrics import METRICS, axioms
from assay.metrics.agreement.agreement import RankCorrelation, SignAgreement, TopKOverlap
from assay.metrics.base import Metric
from assay.metrics.calibration.figures import CalibrationFigures, calibration
from assay.metrics.calibration.temperature_scaling import FittedTemperature, temperature
from assay.metrics.complexity.connectedness import Connectedness
from assay.metrics.complexity.mass import Compactness, EffectiveNumber, Entropy, Gini
from assay.metrics.curves.average_drop import AverageDrop, AverageGain, AverageIncrease
from assay.metrics.curves.deletion import (
    AOPC,
    Deletion,
    Insertion,
    LeastRelevantFirst,
    SymmetricRelevanceGain,
)
from assay.metrics.curves.log_odds import LogOddsChange
from assay.metrics.curves.necessity import (
    NecessityOrdering,
    NecessityProportionality,
    SufficiencyOrdering,
    SufficiencyProportionality,
)
from assay.metrics.curves.rationales import Comprehensiveness, Sufficiency
from assay.metrics.curves.road import Road
from assay.metrics.faithfulness.completeness import Completeness
from assay.metrics.faithfulness.infidelity import Infidelity
from assay.metrics.faithfulness.monotonicity import Monotonicity
from assay.metrics.faithfulness.subsets import FaithfulnessCorrelation, SensitivityN
from assay.metrics.localisation.overlap import (
    InsideOutsideRatio,
    IntersectionOverUnion,
    MassAccuracy,
    RankAccuracy,
    RocArea,
)
from assay.metrics.localisation.pointing import PointingGame
from assay.metrics.sanity.class_sensitivity import ClassSensitivity
from assay.metrics.sanity.input_shift import InputShift
from assay.metrics.sanity.model_randomisation import ModelRandomisation
from assay.metrics.sensitivity.gradient_sensitivity import GradientSensitivity
from assay.metrics.sensitivity.lipschitz_sensitivity import LipschitzSensitivity
from assay.metrics.sensitivity.max_sensitivity import MaxSensitivity
from assay.models.base import Ability, Model
from assay.models.wrapping import wrap
from assay.pages.report_page import report
from assay.perturbations import (
    Coordinates,
    DifferenceToBaseline,
    GaussianNoise,
    NoisyBaseline,
    ShapleyKernel,
    Squares,
    StackedPatches,
    SubsetToBaseline,
)
from assay.question.question import Question
from assay.registry.registration import register
from assay.registry.settings import parse
from assay.removals.conditional import Conditional
from assay.removals.fixed import Background, Baseline, Blur, Mean, Noise
from assay.removals.imputed import LinearImputation
from assay.removals.mask_token import MaskToken
from assay.saved import load
from assay.targets import (
    Centred,
    Contrast,
    Label,
    LogOdds,
    LogProb,
    Negated,
    Neuron,
    Output,
    Predicted,
    Sequence,
)

__version__: str

__all__ = [
    "Ability",
    "AblationCam",
    "Absolute",
    "Aligned",
    "AOPC",
    "Atoms",
    "Attack",
    "AttentionAware",
    "AttentionRelevance",
    "AttentionRollout",
    "Attribution",
    "AverageDrop",
    "AverageGain",
    "AverageIncrease",
    "axioms",
    "Background",
    "Baseline",
    "Blur",
    "calibration",
    "CalibrationFigures",
    "CAM",
    "Centred",
    "Certificate",
    "ClassSensitivity",
    "CoinMasks",
    "Columns",
    "Compactness",
    "compare",
    "Comparison",
    "Completeness",
    "Composite",
    "Comprehensiveness",
    "Conditional",
    "Conductance",
    "Connectedness",
    "ConservativeAttention",
    "Contrast",
    "Coordinates",
    "DataDistribution",
    "Deconvnet",
    "DeepLift",
    "Deletion",
    "DifferenceToBaseline",
    "Disparity",
    "EffectiveNumber",
    "EigenCam",
    "Elements",
    "Entropy",
    "EpsilonAlpha2Beta1",
    "EpsilonAlpha2Beta1Flat",
    "EpsilonGammaBox",
    "EpsilonPlus",
    "EpsilonPlusFlat",
    "errors",
    "ExactIntegratedGradients",
    "ExactInteractions",
    "ExactShapley",
    "ExpectedGradients",
    "expert",
    "ExpertUnit",
    "explain",
    "FaithfulnessCorrelation",
    "FittedTemperature",
    "FullGrad",
    "Gaussian",
    "GaussianDistribution",
    "GaussianNoise",
    "Gini",
    "GradCam",
    "GradCamPlusPlus",
    "Gradient",
    "GradientSensitivity",
    "Group",
    "Guided",
    "GuidedBackprop",
    "HardStability",
    "HiResCam",
    "Infidelity",
    "Inherited",
    "InputShift",
    "InputXGradient",
    "Insertion",
    "InsideOutsideRatio",
    "Instances",
    "IntegratedGradients",
    "InternalInfluence",
    "IntersectionOverUnion",
    "kernel_smoothed",
    "KernelShap",
    "Label",
    "Labels",
    "LayerCam",
    "LeastRelevantFirst",
    "Lime",
    "LinearImputation",
    "LinearShap",
    "LineDistribution",
    "LipschitzCheck",
    "LipschitzSensitivity",
    "load",
    "LogOdds",
    "LogOddsChange",
    "LogProb",
    "LowOrderShap",
    "LRP",
    "masked_finetuning",
    "MaskToken",
    "MassAccuracy",
    "MaxSensitivity",
    "MaxShap",
    "Mean",
    "Method",
    "METHODS",
    "Metric",
    "METRICS",
    "Model",
    "ModelRandomisation",
    "Monotonicity",
    "MultiplicativeSmoothing",
    "name_neurons",
    "NecessityOrdering",
    "NecessityProportionality",
    "Negated",
    "Neuron",
    "neuron_importance",
    "Noise",
    "NoisyBaseline",
    "Occlusion",
    "Optimal",
    "Output",
    "OwenValues",
    "parse",
    "Patches",
    "Path",
    "PermutationShapley",
    "Pixels",
    "PointDistribution",
    "PointingGame",
    "Predicted",
    "ProxyShap",
    "Qii",
    "Quartiles",
    "Question",
    "quiet",
    "RankAccuracy",
    "RankCorrelation",
    "RawAttention",
    "register",
    "report",
    "reproducible",
    "Rise",
    "Road",
    "RocArea",
    "SamplingShapley",
    "Score",
    "ScoreCam",
    "SensitivityN",
    "Sequence",
    "ShapleyKernel",
    "ShapleyRegression",
    "Shared",
    "SignAgreement",
    "SizeMasks",
    "Smoothed",
    "SoftStability",
    "Squares",
    "StackedPatches",
    "SubsetToBaseline",
    "Sufficiency",
    "SufficiencyOrdering",
    "SufficiencyProportionality",
    "Superpixels",
    "SymmetricRelevanceGain",
    "temperature",
    "TimesInput",
    "Tokens",
    "TokenWords",
    "TopKOverlap",
    "TransformerRelevance",
    "TreeInteractions",
    "TreeShap",
    "trigger_words",
    "TriggerWord",
    "Words",
    "wrap",
    "XGradCam",
]
