"""Real architectures with random weights, asked at the input and at layers, beside autograd by hand.

`catalogue` builds them, `asked` asks and checks; `python studies/architectures.py` runs all of them,
`test_architectures.py` a few.
"""
