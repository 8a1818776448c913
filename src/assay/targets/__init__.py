"""Which number is explained: a function of the model's outputs with one value per row.

Classification explains a logit, a log-probability or log-odds; captions a sum of log-probabilities;
"why a rather than b" a difference (contrastive explanations, Jacovi et al. 2021); neurons an inner
activation.

- `target`: a target, chosen once and then scored, and what is known of the outputs beforehand
- `output`: an output by its number, and the largest one
- `label`: the output of a class, by its label
- `probability`: log-probabilities, log-odds, centred logits
- `sequence`: the words of a caption
- `combination`: differences, and what speaks against
- `neuron`: units inside a network
- `function`: any function of the outputs
- `index`: numbers of outputs, read from whatever holds them
- `conversion`: a target from what a user writes for one

May be subclassed: `Target`.
"""

from assay.targets.combination import Contrast, Negated
from assay.targets.conversion import as_target
from assay.targets.function import Function
from assay.targets.label import Label
from assay.targets.neuron import LayerPart, Neuron
from assay.targets.output import Output, Predicted
from assay.targets.probability import Centred, LogOdds, LogProb
from assay.targets.sequence import Sequence
from assay.targets.target import Outputs, Part, Target

__all__ = [
    "as_target",
    "Centred",
    "Contrast",
    "Function",
    "Label",
    "LayerPart",
    "LogOdds",
    "LogProb",
    "Negated",
    "Neuron",
    "Output",
    "Outputs",
    "Part",
    "Predicted",
    "Sequence",
    "Target",
]
