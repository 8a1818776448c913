"""The Shapley family: credit as a share of what coalitions of features are worth.

- `games`: exact values of games from all coalitions; `coalitions`: which to ask when there are too many
- `mask_method`: the base of methods that ask coalitions shared by all inputs
- `exact`, `permutation`, `kernel_shap`, `proxy_shap`, `sampling`: Shapley values, exactly and by sampling
- `interactions`: of pairs, exactly; `owen`: values of nested groups
- `linear_shap`, `max_shap`: closed forms; `shapley_regression`: by retraining
- `qii`: quantitative input influence

May be subclassed: `MaskMethod`, `Quantity`.
"""

from assay.methods.shapley.exact import ExactShapley
from assay.methods.shapley.interactions import ExactInteractions
from assay.methods.shapley.kernel_shap import KernelShap, LowOrderShap
from assay.methods.shapley.linear_shap import LinearShap
from assay.methods.shapley.mask_method import MaskMethod
from assay.methods.shapley.max_shap import MaxShap
from assay.methods.shapley.owen import OwenValues
from assay.methods.shapley.permutation import PermutationShapley
from assay.methods.shapley.proxy_shap import ProxyShap
from assay.methods.shapley.qii import Disparity, Group, Qii, Quantity
from assay.methods.shapley.sampling import SamplingShapley
from assay.methods.shapley.shapley_regression import ShapleyRegression

__all__ = [
    "Disparity",
    "ExactInteractions",
    "ExactShapley",
    "Group",
    "KernelShap",
    "LinearShap",
    "LowOrderShap",
    "MaskMethod",
    "MaxShap",
    "OwenValues",
    "PermutationShapley",
    "ProxyShap",
    "Qii",
    "Quantity",
    "SamplingShapley",
    "ShapleyRegression",
]
