"""Trees: exact values from the nodes of an ensemble, which is never asked for them.

- `tree_shap`: Shapley and Banzhaf values; `interactions`: those of pairs of features
- `asked`: a question as the forest sees it: rows, background, the target as a sum of its outputs
- `solving`: the values on plain arrays, tree by tree by tables or by walks
- `cells`, `tables`, `walks`: loops that numba compiles: trees cut into cells, tables of credit over
  what a row can do in a cell, and walks through trees too deep for them
- `compiling`: how loops are compiled, by who calls them
"""

from assay.methods.trees.interactions import TreeInteractions
from assay.methods.trees.tree_shap import TreeShap

__all__ = ["TreeInteractions", "TreeShap"]
