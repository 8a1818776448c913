"""Torch modules: left as they were found, cut at a layer, and made faster where that changes
nothing.

- `network`: the wrapper, its state and its sessions
- `layers`: a network cut at a layer
- `graph`: capture with torch.fx
- `fused`: a captured network with its batch norms folded
- `incremental`: rows that differ from their input in a patch, recomputed only where the patch reaches
"""
