"""Models: exact denoisers of Gaussian mixtures, networks, and wrappers around both."""

from diffode.models.base import Denoiser, Model, integer_time, scaled_time
from diffode.models.exact import ExactDenoiser
from diffode.models.guidance import AdaptiveGuidance, LinearGuidance, ProjectedGuidance
from diffode.models.maps import ConsistencyMap, FlowMap, GaussianMap
from diffode.models.mixtures import Gaussian, GaussianMixture, PointCloud
from diffode.models.reuse import AnalyticalFirstStep, ReusedOutputs
from diffode.models.shift import TimeShifted
from diffode.models.wrappers import Anchored, DynamicThreshold, Guided

__all__ = [
    "AdaptiveGuidance", "AnalyticalFirstStep", "Anchored", "ConsistencyMap", "Denoiser", "DynamicThreshold",
    "ExactDenoiser", "FlowMap", "Gaussian", "GaussianMap", "GaussianMixture", "Guided", "LinearGuidance", "Model",
    "PointCloud", "ProjectedGuidance", "ReusedOutputs", "TimeShifted", "integer_time", "scaled_time",
]  # fmt: skip
