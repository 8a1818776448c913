"""Ensembles of trees as flat arrays, read from the libraries that grow them.

- `forest`: the arrays, where a row goes, and what the leaves add up to

A model with the ability TREES has `model.trees`, a `TreeModel`:

    model.trees.forest           Forest: arrays, `goes_left` for compiled loops, `margin` its twin
    model.trees.encoded(table)   (rows, forest.features) float64, from rows as the model is called
                                 with (what `Layout.fold` gives); `forest.margin` of it is the margin
    model.trees.source           (forest.features,) int64: the raw column that a feature of the forest
                                 is made of. Encoding works column by column, so that rows mixed by raw
                                 column are mixed by `source` after it: players are raw columns
    model.trees.raw              the number of raw columns
    model.trees.answers(margin)  the model's own outputs (rows, columns) from the margin: the identity
                                 for `output="margin"`, the sigmoid and so on for probabilities
    model.trees.linear           whether they are an affine function of the margin; and then
    model.trees.slope            (columns, outputs): answers = margin @ slope.T + intercept
    model.trees.intercept        (columns,)

Every one of them has been verified against the library's own margin when it was read.
"""
