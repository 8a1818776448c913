"""What can be proven of a selection of features.

- `smoothing`: multiplicative smoothing (MuS) and its certificates; `smoothed_model`: the model alone
- `noise`: designs of the noise; `votes`: the model's votes over them; `radii`: the inequalities
- `claims`, `certificate`, `saved`: what follows, as data that can be verified again
- `hard_stability`, `soft_stability`, `attack`: stability of a selection without smoothing
- `selections`, `supersets`: how a selection is read, and which masks lie above it
- `lipschitz`: the bound of smoothing, checked; `finetuning`: models that cope with masked inputs
"""

from assay.certificates.attack import Attack, Counterexample
from assay.certificates.certificate import Certificate, Verdict
from assay.certificates.claims import Claims
from assay.certificates.finetuning import masked_finetuning
from assay.certificates.hard_stability import HardStability
from assay.certificates.lipschitz import LipschitzCheck
from assay.certificates.noise import NoiseDesign
from assay.certificates.smoothed_model import SmoothedModel
from assay.certificates.smoothing import MultiplicativeSmoothing
from assay.certificates.soft_stability import SoftStability

__all__ = [
    "Attack",
    "Certificate",
    "Claims",
    "Counterexample",
    "HardStability",
    "LipschitzCheck",
    "masked_finetuning",
    "MultiplicativeSmoothing",
    "NoiseDesign",
    "SmoothedModel",
    "SoftStability",
    "Verdict",
]
