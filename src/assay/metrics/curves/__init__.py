"""What becomes of the target as features are masked in the order of their credit.

- `orderings`: the order of features, and ties
- `masked_curves`: the target along orders, asked once for all that share them
- `curve`: what all these metrics share
- `deletion`: areas under the curve, most or least relevant first, as features go or come
"""

from assay.metrics.curves.deletion import (
    AOPC,
    Deletion,
    Insertion,
    LeastRelevantFirst,
    SymmetricRelevanceGain,
)

__all__ = [
    "AOPC",
    "Deletion",
    "Insertion",
    "LeastRelevantFirst",
    "SymmetricRelevanceGain",
]
