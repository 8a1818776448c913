"""assay: explains a prediction, measures how good the explanation is, and certifies what it can."""

from assay import errors
from assay.attribution import Attribution
from assay.certificates import Certificate
from assay.compare import Comparison, compare
from assay.conditional import Conditional
from assay.engine import quiet
from assay.explain import explain
from assay.features import Columns, Elements, Labels, Patches, Pixels
from assay.finetuning import masked_finetuning
from assay.layout import Aligned, Shared
from assay.load import load
from assay.method import Method
from assay.methods import METHODS
from assay.methods.closed_form import LowOrderShap, MaxShap
from assay.methods.gradient import Absolute, Gradient, InputXGradient, Smoothed, TimesInput
from assay.methods.influence import Disparity, Group, Qii
from assay.methods.kernel_shap import KernelShap
from assay.methods.lime import Lime
from assay.methods.linear_shap import LinearShap
from assay.methods.neighbourhood import CoinMasks, Gaussian, Instances, SizeMasks
from assay.methods.occlusion import Occlusion
from assay.methods.owen import OwenValues
from assay.methods.path import ExpectedGradients, IntegratedGradients, Path
from assay.methods.proxy import ProxyShap
from assay.methods.quartiles import Quartiles
from assay.methods.retrain import ShapleyRegression
from assay.methods.rise import Rise
from assay.methods.shapley import ExactShapley, PermutationShapley
from assay.methods.shapley_sampling import SamplingShapley
from assay.metric import Metric
from assay.metrics import METRICS
from assay.metrics.faithfulness import Completeness, Infidelity
from assay.metrics.perturbation import (
    DifferenceToBaseline,
    GaussianNoise,
    NoisyBaseline,
    Squares,
    SubsetToBaseline,
)
from assay.metrics.sensitivity import MaxSensitivity
from assay.model import Ability, Model
from assay.question import Question
from assay.removal import Background, Baseline, Blur, Mean, Noise
from assay.report import report
from assay.score import Score
from assay.smoothing import LipschitzCheck, MultiplicativeSmoothing
from assay.stability import Attack, HardStability, SoftStability
from assay.superpixels import Superpixels
from assay.target import Contrast, LogOdds, LogProb, Negated, Neuron, Output, Predicted, Sequence
from assay.text import MaskToken, Words
from assay.wrap import wrap
