"""Maps of attention: where a transformer's tokens look, layer by layer, as credit of its inputs.

`capture` hears a forward and keeps every matrix of attention weights that is multiplied with values,
with the slope of the target at it; `streams` follows which tokens each of them mixes, and carries
relevance from layer to layer; `tokens` lays what tokens receive on the inputs. `base` is what the
methods have in common: `rollout` (attention rollout, and the raw attention of one layer),
`relevance` (attention times slope), `transformer_relevance` (relevance times slope, which alone
builds on another family, the rules of relevance).

May be subclassed: `base.AttentionMethod`.
"""
