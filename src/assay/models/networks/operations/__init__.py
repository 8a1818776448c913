"""A network's forward, operation by operation, as it is called.

Rules that send a signal backwards act on operations and not on module classes: a ReLU is a ReLU as a
module, as a function, in place, reused, or made in the forward. `interception` hears every operation
that carries signal and hands it to a rule; `kinds` says which operation is which; `operation` is one
of them, with its arguments by name; `opened` looks inside Python functions that are made of others;
`linear` has those that are linear in one operand; `decomposed` says composite ones (attention,
softmax, normalisation) and `recurrent` the recurrent ones in plain operations; `pulled` gives an
operation a slope of its own; `saved_tensors` holds what the way back needs, checkpoints or not;
`grad_mode` reads off the code whether a forward asks if slopes are asked of it.

May be subclassed: `Interception`.
"""
