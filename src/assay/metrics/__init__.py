"""Who judges: every metric is `(Question, Attribution) -> Score`.

`METRICS` is the list of them, name -> class: the command line, the contract tests and the tables
of the docs are made from it.

- `base`: what a metric is: frozen settings and one pure function `(Question, Attribution) -> Score`
- `faithfulness`: whether credit accounts for what the model does
- `axioms`: which axioms an explanation keeps, as gaps
- `calibration`: whether the explained model's probabilities can be taken at their word
- `sanity`: whether an explanation depends on the model, the class and the origin of the inputs
- `sensitivity`: how much an explanation moves when its input hardly does

May be subclassed: `Metric`, whose `read` gives one `Reading` for each attribution.
"""

from assay.metrics import axioms
from assay.metrics.base import Metric, Reading
from assay.metrics.faithfulness.completeness import Completeness
from assay.metrics.faithfulness.infidelity import Infidelity
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
    )
}

__all__ = [
    "axioms",
    "ClassSensitivity",
    "Completeness",
    "GradientSensitivity",
    "Infidelity",
    "InputShift",
    "LipschitzSensitivity",
    "MaxSensitivity",
    "Metric",
    "METRICS",
    "ModelRandomisation",
    "Reading",
]
