"""How much an explanation moves when its input hardly does.

- `neighbours`: what the sensitivities share: sampled neighbours, ascent, proved bounds
- `shared_changes`: what the sensitivities of one comparison find once
- `max_sensitivity`: the largest relative change within a radius
- `lipschitz_sensitivity`: the fastest change within a radius
- `gradient_sensitivity`: the largest singular value of the explanation's derivative
- `upper_bounds`: how far an explanation can move at most, where that is proved
- `smoothing`: the two theorems of the infidelity paper about smoothed explanations, as checks
"""

from assay.metrics.sensitivity.gradient_sensitivity import GradientSensitivity
from assay.metrics.sensitivity.lipschitz_sensitivity import LipschitzSensitivity
from assay.metrics.sensitivity.max_sensitivity import MaxSensitivity
from assay.metrics.sensitivity.smoothing import (
    Inequality,
    smoothed_infidelity,
    smoothed_sensitivity,
)

__all__ = [
    "GradientSensitivity",
    "Inequality",
    "LipschitzSensitivity",
    "MaxSensitivity",
    "smoothed_infidelity",
    "smoothed_sensitivity",
]
