"""Whether an explanation depends on what it is of at all.

- `asking`: what the checks share: explanations of other models and other targets
- `model_randomisation`: the network's weights, drawn anew layer by layer
- `class_sensitivity`: the class that is explained
- `input_shift`: the origin from which inputs are told
"""

from assay.metrics.sanity.class_sensitivity import ClassSensitivity
from assay.metrics.sanity.input_shift import InputShift
from assay.metrics.sanity.model_randomisation import ModelRandomisation

__all__ = ["ClassSensitivity", "InputShift", "ModelRandomisation"]
