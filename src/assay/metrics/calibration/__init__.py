"""Whether the probabilities of the model that is explained can be taken at their word.

No explanation is asked: an explanation of an overconfident model explains an overconfident number.

- `calibration`: reliability, expected and largest calibration error, Brier score, log loss
- `reliability`: confidences in bins, and how often they were right
- `temperature`: the one number that logits are divided by
"""

from assay.metrics.calibration.calibration import Calibration, Measured, calibration
from assay.metrics.calibration.reliability import Reliability
from assay.metrics.calibration.temperature import Temperature, temperature

__all__ = ["Calibration", "calibration", "Measured", "Reliability", "Temperature", "temperature"]
