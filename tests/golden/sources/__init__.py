"""One module per published code; each says what its cases mean in diffode's terms, and holds no formula of a solver."""

from __future__ import annotations

from collections.abc import Callable

from tests.golden.cases import Case
from tests.golden.setup import Setup
from tests.golden.sources import (
    bdia,
    belm,
    dc_solver,
    deis,
    diff_sampler,
    diffusers,
    dpm_solver,
    dpm_solver_v3,
    edm,
    er_sde,
    exact_flow,
    gddim,
    k_diffusion,
    momentum,
    mr_sampler,
    pndm,
    sa_solver,
    ts_dpm,
    unipc,
)

ADAPTERS: dict[str, Callable[[Case], Setup]] = {
    "(closed form / DOP853, no official code)": exact_flow.setup,
    "LuChengTHU/dpm-solver": dpm_solver.setup,
    "NVlabs/edm": edm.setup,
    "Newbeeer/pfgmpp": edm.setup,
    "QinpengCui/ER-SDE-Solver": er_sde.setup,
    "crowsonkb/k-diffusion": k_diffusion.setup,
    "grrrute/mr-sampler": mr_sampler.setup,
    "huggingface/diffusers (PyPI)": diffusers.setup,
    "guoqiang-zhang-x/BDIA": bdia.setup,
    "Mingxiao-Li/TS-DPM": ts_dpm.setup,
    "luping-liu/PNDM": pndm.setup,
    "qsh-zh/deis": deis.setup,
    "qsh-zh/gDDIM": gddim.setup,
    "sWizad/momentum-diffusion": momentum.setup,
    "scxue/SA-Solver": sa_solver.setup,
    "thu-ml/DPM-Solver-v3": dpm_solver_v3.setup,
    "wl-zhao/DC-Solver": dc_solver.setup,
    "wl-zhao/UniPC": unipc.setup,
    "zituitui/BELM": belm.setup,
    "zju-pi/diff-sampler": diff_sampler.setup,
}
"""By the repository that a file names."""
