"""Any predictor, wrapped once at the door.

- `base`: what a model can do (`Ability`) and how it is called
- `wrapping`: the door, the one place where the kind of a predictor is found out
- `black_box`: estimators and plain functions
- `boosters`: those of XGBoost and LightGBM without the clothes of scikit-learn
- `columns`: what an estimator was fitted on, and a frame in that order
- `missing`: whether an estimator takes NaN
- `identity`: what decides the outputs, as one hash
- `failures`: what a predictor raises, as a refusal that says what helps
- `networks`: torch modules
- `forests`: ensembles of trees as flat arrays

May be subclassed: `Model`.
"""

from assay.models.base import Ability, Model
from assay.models.wrapping import wrap

__all__ = ["Ability", "Model", "wrap"]
