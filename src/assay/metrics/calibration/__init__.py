"""Whether the probabilities of the model that is explained can be taken at their word.

No explanation is asked: an explanation of an overconfident model explains an overconfident number.

- `figures`: reliability, expected and largest calibration error, Brier score, log loss
- `reliability`: confidences in bins, and how often they were right
- `temperature_scaling`: the one number that logits are divided by
"""

from assay.metrics.calibration.figures import CalibrationFigures, Measured, calibration
from assay.metrics.calibration.reliability import Reliability
from assay.metrics.calibration.temperature_scaling import FittedTemperature, temperature

__all__ = [
    "calibration",
    "CalibrationFigures",
    "FittedTemperature",
    "Measured",
    "Reliability",
    "temperature",
]
