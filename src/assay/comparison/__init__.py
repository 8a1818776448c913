"""Which explanation to trust.

- `comparison`: every method by every metric on the same inputs and draws
- `ranking`: where methods stand by one metric, and which differences are significant
- `saved_comparison`: a comparison as a folder, read back about the same question

`comparison` is over 500 lines: the table, how it is made, and what it says in words.
"""

from assay.comparison.comparison import Comparison, compare
from assay.comparison.ranking import Ranking

__all__ = ["compare", "Comparison", "Ranking"]
