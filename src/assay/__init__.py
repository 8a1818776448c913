"""assay: explains a prediction, measures how good the explanation is, and certifies what it can."""
