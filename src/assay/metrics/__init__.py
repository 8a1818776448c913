"""Who judges: every metric is `(Question, Attribution) -> Score`.

`METRICS` is the list of them, name -> class: the command line, the contract tests and the tables
of the docs are made from it.

- `base`: what a metric is: frozen settings and one pure function `(Question, Attribution) -> Score`
- `agreement`: whether explanations agree with each other, or with known credit
- `complexity`: how simple an explanation is, whatever it says
- `curves`: what becomes of the target as features are masked in the order of their credit
- `faithfulness`: whether credit accounts for what the model does
- `axioms`: which axioms an explanation keeps, as gaps
- `calibration`: whether the explained model's probabilities can be taken at their word
- `sanity`: whether an explanation depends on the model, the class and the origin of the inputs
- `localisation`: whether credit lies where it is known to belong
- `sensitivity`: how much an explanation moves when its input hardly does

May be subclassed: `Metric`, whose `read` gives one `Reading` for each attribution.
"""

from assay.metrics import axioms
from assay.metrics.agreement.agreement import RankCorrelation, SignAgreement, TopKOverlap
from assay.metrics.base import Metric, Reading
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

METRICS: dict[str, type[Metric]] = {
    kind.__name__: kind
    for kind in (
        Infidelity,
        MaxSensitivity,
        LipschitzSensitivity,
        GradientSensitivity,
        ModelRandomisation,
        ClassSensitivity,
        InputShift,
        Completeness,
        AOPC,
        Deletion,
        Insertion,
        LeastRelevantFirst,
        SymmetricRelevanceGain,
        AverageDrop,
        AverageIncrease,
        AverageGain,
        NecessityOrdering,
        SufficiencyOrdering,
        NecessityProportionality,
        SufficiencyProportionality,
        Comprehensiveness,
        Sufficiency,
        LogOddsChange,
        Road,
        SensitivityN,
        FaithfulnessCorrelation,
        Monotonicity,
        Compactness,
        Gini,
        Entropy,
        EffectiveNumber,
        Connectedness,
        PointingGame,
        MassAccuracy,
        RankAccuracy,
        InsideOutsideRatio,
        IntersectionOverUnion,
        RocArea,
        RankCorrelation,
        TopKOverlap,
        SignAgreement,
    )
}

__all__ = [
    "AOPC",
    "AverageDrop",
    "AverageGain",
    "AverageIncrease",
    "axioms",
    "ClassSensitivity",
    "Compactness",
    "Completeness",
    "Comprehensiveness",
    "Connectedness",
    "Deletion",
    "EffectiveNumber",
    "Entropy",
    "FaithfulnessCorrelation",
    "Gini",
    "GradientSensitivity",
    "Infidelity",
    "InputShift",
    "Insertion",
    "InsideOutsideRatio",
    "IntersectionOverUnion",
    "LeastRelevantFirst",
    "LipschitzSensitivity",
    "LogOddsChange",
    "MassAccuracy",
    "MaxSensitivity",
    "Metric",
    "METRICS",
    "ModelRandomisation",
    "Monotonicity",
    "NecessityOrdering",
    "NecessityProportionality",
    "PointingGame",
    "RankAccuracy",
    "RankCorrelation",
    "Reading",
    "Road",
    "RocArea",
    "SensitivityN",
    "SignAgreement",
    "Sufficiency",
    "SufficiencyOrdering",
    "SufficiencyProportionality",
    "SymmetricRelevanceGain",
    "TopKOverlap",
]
