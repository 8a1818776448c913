"""Credit over many inputs.

- `swarm`: how the credit of each feature spreads, and with which values
- `dependence`: how the credit of one feature depends on its value
- `heat`: inputs by features, below the predictions
- `groups`: whether credit differs between two groups of inputs
- `drift`: whether credit has changed over time
- `embedding`: which inputs are explained alike
- `contents`: the values of features, as colours and axes have them
"""
