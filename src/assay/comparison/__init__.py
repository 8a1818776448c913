"""Which explanation to trust.

- `comparison`: every method by every metric on the same inputs and draws, as a table
- `comparing`: how it is made, of methods that are asked or of scores that are there
- `candidates`: methods and metrics as a user writes them, and their names
- `scoring`: answers and scores of all candidates, and of the reference points
- `ranking`: where methods stand by one metric, and which differences are significant
- `evidence`: what more inputs, more draws and other metrics would say
- `persistence`: whether the winner stays the winner when a metric's settings change
- `reach`: all of that in rows of one form, each with its sentence: words, frame and JSON
- `saved_comparison`: a comparison as a folder, read back about the same question
"""

from assay.comparison.comparing import compare
from assay.comparison.comparison import Comparison
from assay.comparison.ranking import Ranking

__all__ = ["compare", "Comparison", "Ranking"]
