"""Random situations, asked of the library and of a slow, plain evaluation beside it.

A seed makes a situation: a predictor (`networks`, `black_boxes`), inputs of any type and layout
(`tensors`), a question's other parts (`questions`) and something to do (`actions`). An outcome is
*answered*, *refused* (an AssayError), *foreign* (any other exception), *wrong* (an answer that the
plain evaluation contradicts, or a model, inputs or random state that was not left as found) or
*slow*. `python studies/fuzz.py --situations 10000` runs many, `test_fuzz.py` some hundreds; one is
looked at with `python -m fuzz.run 123 --verbose` (tests and src on the path).
"""
