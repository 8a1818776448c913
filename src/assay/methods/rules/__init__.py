"""Signals sent backwards by rules of their own instead of the slope.

`guided` is guided backpropagation and the deconvnet; `lrp` sends relevance by a composite
(`composites`), a mapping from operations to the rules of `relevance`, and `conservation` keeps the
account of it; `deep_lift` compares with a reference by the multipliers of `multipliers`.

All of them hear the forward operation by operation (`models/networks/operations`). May be
subclassed: `relevance.Rule` and `composites.Composition`.
"""
