"""What matters inside a network, and over which inputs: influence-directed explanations.

Influence is the mean slope of a quantity at a layer under a distribution (Leino et al. 2018): the
quantity is the question's target, the layer is where the question is asked, and `distributions` says
over which points the mean is taken. `internal_influence` is that mean, `earlier_layer` what it takes
where the points lie at a layer before the one that is attributed; `experts` finds the unit of
greatest influence for a class and says what it looks for in the input; `conductance` is what passes
through the units of a layer on the way of the input.

May be subclassed: `distributions.Distribution`.
"""

from assay.methods.influence.distributions import (
    DataDistribution,
    Distribution,
    GaussianDistribution,
    LineDistribution,
    PointDistribution,
    WeightedPoints,
)
from assay.methods.influence.experts import ExpertUnit, expert
from assay.methods.influence.internal_influence import InternalInfluence

__all__ = [
    "DataDistribution",
    "Distribution",
    "expert",
    "ExpertUnit",
    "GaussianDistribution",
    "InternalInfluence",
    "LineDistribution",
    "PointDistribution",
    "WeightedPoints",
]
