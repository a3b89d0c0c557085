"""Stochastic solvers by their names elsewhere, which need no formula of their own."""

from __future__ import annotations

from diffode.solvers.multistep import dpm_multistep, exponential_adams
from diffode.solvers.singlestep import singlestep_2

_PP = "arXiv:2211.01095, appendix B"

dpm2_ancestral = singlestep_2.configure("dpm2_ancestral", eta=1.0, source="k-diffusion, sample_dpm_2_ancestral")
dpmpp_2s_ancestral = singlestep_2.configure(
    "dpmpp_2s_ancestral", prediction="x0", eta=1.0, source="k-diffusion, sample_dpmpp_2s_ancestral"
)
dpmpp_3m_sde_corrected = exponential_adams.configure(
    "dpmpp_3m_sde_corrected", tau=1.0, source=f"{_PP}, of third order, with the second derivative doubled"
)
gddim_scalar = dpm_multistep.configure(
    "gddim_scalar", order=1, tau=0.5, source="arXiv:2206.05564, proposition 6, on a process of one rate; its λ is τ"
)
