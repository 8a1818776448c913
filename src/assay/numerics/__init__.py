"""Mathematics that knows no model.

- `rng`: a seed and an input become one stream of random numbers (Philox, counter-based, the same on
  every device)
- `statistics`: bootstrap and Wilson intervals, paired tests, Holm's correction, letters of equal means
- `studentised`: how far an interval of a mean reaches, by Student and by the bootstrap
- `concordance`: whether several judges put things in the same order (Kendall's W)
- `power`: how many inputs would find a difference
- `integration`: quadrature rules on [0, 1] (Gauss-Legendre, Riemann sums, trapezoid)
- `designs`: randomised orthogonal arrays and scrambled Sobol' points
- `gaussian_process`: hyperparameters of a Gaussian process by maximum a posteriori
- `ranks`: ranks with ties, rank correlation, the area under a ROC curve
- `rectangles`: patches of feature maps, where they reach and how they are pasted
- `caching`: results that are remembered, bounded by their bytes
- `pieces`: long work in pieces of bounded memory
- `threads`: one thread of torch for small matrices
- `precision`: number types of results, and how much of a difference is rounding

`statistics` is over 500 lines: intervals and tests that share their resampling.
"""
