"""assay: explains a prediction, measures how good the explanation is, and certifies what it can."""

from assay import errors
from assay.attribution import Attribution
from assay.engine import quiet
from assay.features import Columns, Elements, Labels, Patches, Pixels
from assay.layout import Aligned, Shared
from assay.method import Method
from assay.methods import METHODS
from assay.methods.gradient import Absolute, Gradient, InputXGradient, Smoothed, TimesInput
from assay.methods.path import ExpectedGradients, IntegratedGradients, Path
from assay.model import Ability, Model
from assay.question import Question
from assay.removal import Background, Baseline, Blur, Mean, Noise
from assay.target import Contrast, LogOdds, LogProb, Negated, Neuron, Output, Predicted
from assay.wrap import wrap
