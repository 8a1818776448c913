"""The explanation that infidelity likes best, for a law of perturbations.

Infidelity is a quadratic form in the explanation, so that its minimiser is a linear regression of
what the model loses on what is perturbed (Yeh et al. 2019, proposition 3.1).

- `optimal`: the method
- `design`: the rows of that regression, a piece at a time
- `solvers`: its normal equations, as a matrix and without one
"""

from assay.methods.optimal.optimal import Optimal, kernel_smoothed

__all__ = ["kernel_smoothed", "Optimal"]
