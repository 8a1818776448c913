"""How simple an explanation is, whatever it says.

- `mass`: on how many features the credit lies
- `connectedness`: in how many pieces the features with the most credit lie
- `barrier`: whether two explanations are connected by others that are no worse
"""

from assay.metrics.complexity.barrier import path_barrier
from assay.metrics.complexity.connectedness import Connectedness
from assay.metrics.complexity.mass import Compactness, EffectiveNumber, Entropy, Gini

__all__ = [
    "Compactness",
    "Connectedness",
    "EffectiveNumber",
    "Entropy",
    "Gini",
    "path_barrier",
]
