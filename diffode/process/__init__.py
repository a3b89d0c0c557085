"""Forward processes: how noise is added, told as α, σ, λ and their rates."""

from diffode.process.affine import Affine
from diffode.process.base import Process
from diffode.process.cosine import CosineVP
from diffode.process.discrete import DiscreteVP
from diffode.process.elementary import EDM, VE, Flow
from diffode.process.langevin import CLD
from diffode.process.linear import VP, SubVP
from diffode.process.mean_reverting import MeanReverting
from diffode.process.system import LinearSystem

__all__ = [
    "CLD", "EDM", "VE", "VP", "Affine", "CosineVP", "DiscreteVP", "Flow", "LinearSystem", "MeanReverting", "Process",
    "SubVP", "named",
]  # fmt: skip


def named(name: str) -> Process:
    """The process with its published defaults that the command line calls by this name.

    >>> named("flow")
    Flow(shift=1.0)
    """
    from diffode.errors import ProcessError

    makers = {
        "vp": VP,
        "vp_cosine": CosineVP,
        "vp_scaled_linear": VP.scaled_linear,
        "vp_zero_snr": lambda: VP.scaled_linear().zero_terminal_snr(),
        "subvp": SubVP,
        "ve": VE,
        "edm": EDM,
        "flow": Flow,
        "mean_reverting": MeanReverting.from_schedule,
    }
    if name not in makers:
        raise ProcessError(f"no process named {name!r}; there are {', '.join(makers)}")
    return makers[name]()
