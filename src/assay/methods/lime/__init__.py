"""LIME: a linear surrogate in a neighbourhood of the input.

- `lime`: the method
- `neighbourhood`: what a neighbourhood is; `masks`, `points`, `quartiles`: the kinds of it;
  `bins`: the law of a table's column
- `surrogate`, `least_squares`: the weighted fit, selection of columns, error bars;
  `few_draws`: the same where draws are fewer than columns
- `bayesian_quadrature`: the same moments by way of a Gaussian process over the draws

May be subclassed: `Neighbourhood`.
"""

from assay.methods.lime.lime import Lime
from assay.methods.lime.masks import CoinMasks, SizeMasks
from assay.methods.lime.neighbourhood import Neighbourhood
from assay.methods.lime.points import Gaussian, Instances
from assay.methods.lime.quartiles import Quartiles

__all__ = ["CoinMasks", "Gaussian", "Instances", "Lime", "Neighbourhood", "Quartiles", "SizeMasks"]
