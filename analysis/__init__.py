"""Studies: each module applies the tools of `diffode.analysis` to the whole registry and writes into `results/`: `python -m analysis.orders`."""
