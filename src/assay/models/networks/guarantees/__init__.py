"""What can be proved of a network by following its operations, without a sample.

- `breakpoints`: where a network that is linear piece by piece bends along a line
- `slope_bounds`: how far slopes may move near an input

Both are over 500 lines: each is one watch, with what each kind of operation makes of a signal.
"""
