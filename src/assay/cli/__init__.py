"""The command line.

- `app`: the commands
- `demo`: the main job on real data

It hands nothing on: what it does is in the library, and `python -m assay` is its door.
"""
