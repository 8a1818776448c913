"""The command line.

- `app`: the commands
- `demo`: the main job on real data
"""
