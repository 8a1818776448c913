"""Whether explanations agree: with each other, or with credit that is known.

- `agreement`: of one explanation with another method's, or with the question's truth
- `between`: of several explanations with each other, as a table
"""

from assay.metrics.agreement.agreement import RankCorrelation, SignAgreement, TopKOverlap
from assay.metrics.agreement.between import agreement_between

__all__ = ["agreement_between", "RankCorrelation", "SignAgreement", "TopKOverlap"]
