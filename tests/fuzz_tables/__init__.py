"""Random tables and texts, asked of the library and of a slow, plain evaluation beside it.

A seed makes a situation: a table (`columns`, `frames`) and who predicts from it (`predictors`), or
texts in the scripts of the world (`scripts`, `texts`); the other parts of a question (`questions`);
and something to do with it (`actions`). `plain` is the slow twin: frames that pandas itself puts
together, whole values switched, the predictor called row by row, sums over all subsets.

An outcome is *answered*, *refused* (an AssayError), *foreign* (any other exception), *wrong* (an
answer that the twin contradicts, that is another one alone, shuffled, in other chunks or under
another order of columns, or a predictor that was handed what is no value of its column) or *slow*.
`python studies/fuzz_tables.py` runs 10,000, `test_fuzz_tables.py` some hundreds; one is looked at
with `python -m fuzz_tables.run 123 --verbose` (tests and src on the path).
"""
