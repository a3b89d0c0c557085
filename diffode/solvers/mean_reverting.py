r"""MR Sampler by its names: solvers that act on x − b_t μ, an ordinary process, and so need no formula of their own.

Its ODE and SDE updates, in data and noise prediction, are multistep DPM-Solver with the exact ("taylor") second
weight, the slip of its third order included; `sample(…, mu=μ)` subtracts and adds the anchor.
"""

from __future__ import annotations

from diffode.solvers.base import Solver
from diffode.solvers.multistep import dpm_multistep


def _named(name: str, order: int, prediction: str, tau: float) -> Solver:
    return dpm_multistep.configure(
        name, order=order, prediction=prediction, tau=tau, kind="taylor", source="arXiv:2502.07856, official code"
    )


mr_ode_data_1, mr_ode_data_2, mr_ode_data_3 = (_named(f"mr_ode_data_{k}", k, "x0", 0.0) for k in (1, 2, 3))
mr_ode_noise_1, mr_ode_noise_2, mr_ode_noise_3 = (_named(f"mr_ode_noise_{k}", k, "eps", 0.0) for k in (1, 2, 3))
mr_sde_data_1, mr_sde_data_2 = (_named(f"mr_sde_data_{k}", k, "x0", 1.0) for k in (1, 2))
mr_sde_noise_1, mr_sde_noise_2 = (_named(f"mr_sde_noise_{k}", k, "eps", 1.0) for k in (1, 2))
