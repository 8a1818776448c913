"""Slopes of a network at an input, and gathered along a path to one.

- `gradient`: the slope, and the slope times the input
- `paths`: slopes integrated along a path: integrated and expected gradients, any path of one's own
- `exact_paths`: the same without error, where a network is linear piece by piece
"""
