"""Golden trajectories: runs of the authors' own published code, and the package beside them.

`python -m tests.golden FOLDER` compares the package with every case in a folder; `data/` holds the files that ship and
FORMAT.md, which describes them. `cases` reads a file, `sources` says for each published code which solver, grid, model
and noise a case stands for, and `runner` runs that and compares.
"""
