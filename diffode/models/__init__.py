"""Models: exact denoisers of Gaussian mixtures, networks, and wrappers around both."""

from diffode.models.base import Denoiser, Model, integer_time, scaled_time
from diffode.models.exact import ExactDenoiser
from diffode.models.mixtures import Gaussian, GaussianMixture, PointCloud
from diffode.models.wrappers import Anchored, DynamicThreshold, Guided

__all__ = [
    "Anchored", "Denoiser", "DynamicThreshold", "ExactDenoiser", "Gaussian", "GaussianMixture", "Guided", "Model",
    "PointCloud", "integer_time", "scaled_time",
]  # fmt: skip
