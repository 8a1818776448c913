"""The noun: model, inputs, target, features and removal bound together, and asked.

- `question`: the noun itself: how it is made, and asked behind and at layers
- `parts`: what it holds, and what absent means
- `clean_answers`: what the model says of the inputs themselves and of their absence
- `verbs`: asked with masks, at points, for slopes, along paths, with any rows
- `derivations`: the same question of other inputs, targets, outputs or features
- `evaluation`: chunks of rows sent to the model
- `consistency`: whether the same row is answered the same way, alone and in company
- `masked_rows`: the rows of inputs under masks
- `players`: which features of an input can be changed at all
- `layers`: the activations that stand in for inputs behind a layer
- `arguments`: masks, points and numbers of inputs, read from whatever holds them
- `generators`: whether a model draws random numbers while it is asked
- `validation`: what is checked before any model is asked

A `Question` is built on `Parts`, `CleanAnswers`, `Verbs` and `Derivations`, each on the one before: one
class for whoever asks, and a file for each of its ideas.
"""

from assay.question.question import Question

__all__ = ["Question"]
