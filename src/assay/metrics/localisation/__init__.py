"""Whether credit lies where it is known to belong: against masks or boxes of the question's truth.

- `truths`: masks and boxes as masks over the features
- `located`: what all these metrics share
- `pointing`: whether the feature with the most credit lies in the truth
- `overlap`: how much of the credit, or of its ranking, does
"""

from assay.metrics.localisation.overlap import (
    InsideOutsideRatio,
    IntersectionOverUnion,
    MassAccuracy,
    RankAccuracy,
    RocArea,
)
from assay.metrics.localisation.pointing import PointingGame

__all__ = [
    "InsideOutsideRatio",
    "IntersectionOverUnion",
    "MassAccuracy",
    "PointingGame",
    "RankAccuracy",
    "RocArea",
]
