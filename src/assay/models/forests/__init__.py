"""Ensembles of trees as flat arrays, read from the libraries that grow them.

- `forest`: the arrays, where a row goes, and what the leaves add up to
- `assembly`: trees one by one, put into such arrays
- `reading`: from a predictor or its file to its forest; pipelines and searches
- `sklearn`, `xgboost`, `lightgbm`, `catboost`: what each library keeps, and how it compares
- `pipelines`: the raw column that each encoded column is made of
- `encoding`: tables as matrices of numbers
- `probes`: rows at and beside thresholds
- `verification`: the forest beside the library
- `answers`: what a model answers with, out of the margin
- `tree_model`: a forest with the way from a model's rows to it

A model with the ability TREES has `model.trees`, a `TreeModel`:

    model.trees.forest           Forest: arrays, `goes_left` for compiled loops, `margin` its twin
    model.trees.encoded(rows)    (rows, forest.features) float64, of rows as the model is called with
                                 (`rows[0]` of `Model.call`); checked, and refused where a forest and
                                 its library differ. Compiled loops take `forest.rounded` of it
    model.trees.source_in(rows)  (forest.features,) int64: the column of `rows` that a feature of the
                                 forest is made of. Encoding works column by column, so that rows mixed
                                 by column are mixed by `source_in` after it: players are raw columns
    model.trees.answers          Answers: the model's outputs out of the margin, `answers(margin)`;
                                 `answers.is_linear` where they are `answers.factor` times the margin
                                 (shift 0); None where they are labels

Every one of them has been verified against the library's own margin when it was read.
"""
