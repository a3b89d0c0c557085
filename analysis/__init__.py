"""Studies: each module applies the tools of `diffode.analysis` to the whole registry and writes into `results/`.

Run one with `python -m analysis.orders`.
"""
