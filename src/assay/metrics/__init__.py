"""Who judges: every metric is `(Question, Attribution) -> Score`.

`METRICS` is the list of them, name -> class: the command line, the contract tests and the tables
of the docs are made from it.

- `base`: what a metric is: frozen settings and one pure function `(Question, Attribution) -> Score`
- `curves`: what becomes of the target as features are masked in the order of their credit
- `faithfulness`: whether credit accounts for what the model does
- `sensitivity`: how much an explanation moves when its input hardly does

May be subclassed: `Metric`, whose `read` gives one `Reading` for each attribution.
"""

from assay.metrics.base import Metric, Reading
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
from assay.metrics.sensitivity.max_sensitivity import MaxSensitivity

METRICS: dict[str, type[Metric]] = {
    kind.__name__: kind
    for kind in (
        Infidelity,
        MaxSensitivity,
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
    )
}

__all__ = [
    "AOPC",
    "AverageDrop",
    "AverageGain",
    "AverageIncrease",
    "Completeness",
    "Comprehensiveness",
    "Deletion",
    "Infidelity",
    "Insertion",
    "LeastRelevantFirst",
    "LogOddsChange",
    "MaxSensitivity",
    "Metric",
    "METRICS",
    "NecessityOrdering",
    "NecessityProportionality",
    "Reading",
    "Road",
    "Sufficiency",
    "SufficiencyOrdering",
    "SufficiencyProportionality",
    "SymmetricRelevanceGain",
]
