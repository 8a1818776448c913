"""The command line.

- `app`: the commands; `options`: what several of them take, declared once; neither imports anything heavy
- `exits`: how a command ends: codes and messages
- `completion`: what a shell offers at the TAB
- `asked`: the options that make a question
- `explaining`, `comparing`, `certifying`, `checking`, `listing`: what the commands do
- `varying`: winners under other settings of a metric
- `run_file`: a run as a file
- `records`: JSON, as `schemas/` describes it; `printing`: tables
- `demo`: the main job on real data

It hands nothing on: what it does is in the library, and `python -m assay` is its door.
"""
