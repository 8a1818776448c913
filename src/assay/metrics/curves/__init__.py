"""What becomes of the target as features are masked in the order of their credit.

- `orderings`: the order of features, and ties
- `masked_curves`: the target along orders
- `shared_curves`: what was read along them, asked once for all explanations and metrics that share it
- `curve`: what all these metrics share
- `deletion`: areas under the curve, most or least relevant first, as features go or come
- `necessity`: necessity and sufficiency of what speaks for the target, in order and in proportion
- `rationales`: the target without, or with nothing but, a few features
- `road`: how often the class stays as pixels are imputed from those around them
- `log_odds`: log-odds of two classes as what tells them apart is erased
- `average_drop`: the input under the explanation's own mask
"""

from assay.metrics.curves.average_drop import AverageDrop, AverageGain, AverageIncrease
from assay.metrics.curves.deletion import (
    AOPC,
    Deletion,
    Insertion,
    LeastRelevantFirst,
    SymmetricRelevanceGain,
)
from assay.metrics.curves.log_odds import LogOddsChange
from assay.metrics.curves.necessity import (
    NecessityOrdering,
    NecessityProportionality,
    SufficiencyOrdering,
    SufficiencyProportionality,
)
from assay.metrics.curves.rationales import Comprehensiveness, Sufficiency
from assay.metrics.curves.road import Road

__all__ = [
    "AOPC",
    "AverageDrop",
    "AverageGain",
    "AverageIncrease",
    "Comprehensiveness",
    "Deletion",
    "Insertion",
    "LeastRelevantFirst",
    "LogOddsChange",
    "NecessityOrdering",
    "NecessityProportionality",
    "Road",
    "Sufficiency",
    "SufficiencyOrdering",
    "SufficiencyProportionality",
    "SymmetricRelevanceGain",
]
