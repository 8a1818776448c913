"""What an absent feature is replaced by.

- `base`: a removal, and the absent inputs that it gives for a question
- `fixed`: a value, a mean, a blur, noise, rows of a background
- `conditional`: drawn from data given what is present (observational)
- `imputed`: pixels from those around them
- `mask_token`: a word in the place of another
- `unstated`: none, where nothing was said and 0 stands for nothing

May be subclassed: `Removal`, and `Absent` where replacements depend on the mask.
"""

from assay.removals.base import Absent, FixedAbsent, Removal
from assay.removals.conditional import Conditional
from assay.removals.fixed import Background, Baseline, Blur, Mean, Noise
from assay.removals.imputed import LinearImputation
from assay.removals.mask_token import MaskToken

__all__ = [
    "Absent",
    "Background",
    "Baseline",
    "Blur",
    "Conditional",
    "FixedAbsent",
    "LinearImputation",
    "MaskToken",
    "Mean",
    "Noise",
    "Removal",
]
