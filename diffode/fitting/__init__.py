"""Fits: coefficients and grids chosen on trajectories of a model, saved as JSON with where they come from."""
