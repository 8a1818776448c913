"""Whether an attribution accounts for what the model does.

- `infidelity`: its account of random changes against the model's
- `completeness`: its sum against f(x) - f(absent)
- `units`: which credit can be added up at all
"""

from assay.metrics.faithfulness.completeness import Completeness
from assay.metrics.faithfulness.infidelity import Infidelity

__all__ = ["Completeness", "Infidelity"]
