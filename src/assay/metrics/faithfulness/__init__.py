"""Whether an attribution accounts for what the model does.

- `infidelity`: its account of random changes against the model's
- `completeness`: its sum against f(x) - f(absent)
- `subsets`: its account of random subsets against what removing them does
- `monotonicity`: whether more credit raises the target more
- `units`: which credit can be added up at all
"""

from assay.metrics.faithfulness.completeness import Completeness
from assay.metrics.faithfulness.infidelity import Infidelity
from assay.metrics.faithfulness.monotonicity import Monotonicity
from assay.metrics.faithfulness.subsets import FaithfulnessCorrelation, SensitivityN

__all__ = ["Completeness", "FaithfulnessCorrelation", "Infidelity", "Monotonicity", "SensitivityN"]
