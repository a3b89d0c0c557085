"""Figures of a paper: each module computes its data, draws them, and writes a vector figure into `out/`.

Run one with `python -m paper_figs.convergence_exponential_multistep`, all with `make figures`.
"""
