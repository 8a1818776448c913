"""How much an explanation moves when its input hardly does.

- `max_sensitivity`: the largest change within a radius
"""

from assay.metrics.sensitivity.max_sensitivity import MaxSensitivity

__all__ = ["MaxSensitivity"]
