"""Torch modules: left as they were found, cut at a layer, and made faster where that changes
nothing.

- `network`: the wrapper and its sessions
- `by_name`: a module that is given its inputs by the names of its arguments
- `module_state`: all that a session may change, kept and put back
- `decisions`: whether a forward takes numbers of its rows out of tensors
- `locks`: one thread at a time in a network
- `fingerprint`: the hash that a network is known by
- `layered`: a network whose layers have names
- `layers`: such a network cut at a layer
- `places`: layers by name or as modules, and parts of their outputs
- `graph`: capture with torch.fx, and captured graphs run node by node
- `guarantees`: what is proved of a network: where it bends along a line, how far its slopes may move
- `fast_forms`: the faster forms, two behind one class and one that rules hear, and when they are stale
- `fused`: a captured network with its batch norms folded
- `incremental`: rows that differ from their input in a patch, recomputed only where it reaches
- `operations`: the forward heard operation by operation, for rules that give them other slopes

`incremental` is over 500 lines: one interpreter, with what each kind of operation makes of a patch.
`layers` is, too: one kind of cut, before a layer, behind it and through a unit of it.
"""
