"""The noun: model, inputs, target, features and removal bound together, and asked.

- `question`: with masks, at points, for slopes, along paths
- `evaluation`: chunks of rows sent to the model
- `masked_rows`: the rows of inputs under masks
- `players`: which features of an input can be changed at all
- `layers`: the same question asked behind a layer
- `arguments`: masks, points and numbers of inputs, read from whatever holds them
- `generators`: whether a model draws random numbers while it is asked
- `validation`: what is checked before any model is asked

`question` is over 500 lines: it is the noun that everyone touches, and its verbs belong together.
"""

from assay.question.question import Question

__all__ = ["Question"]
