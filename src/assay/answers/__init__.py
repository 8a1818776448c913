"""What comes back: plain data that can be saved, and knows where it came from.

- `attribution`: credit per input and feature, with its diagnostics
- `score`: one number per input, averaged late, with an interval
- `named`: facts and details by name; a name that there is not is refused
- `corpora`: which words push a class, over the texts of a corpus
- `provenance`: versions
- `shown`: the card of a noun in a notebook
- `storage`: the file format; `header`: its fields, checked; `files`: the paths
"""

from assay.answers.attribution import Attribution, Kind
from assay.answers.corpora import TriggerWord, trigger_words
from assay.answers.score import Direction, Score

__all__ = ["Attribution", "Direction", "Kind", "Score", "trigger_words", "TriggerWord"]
