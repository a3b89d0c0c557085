"""A solver to start from: change the formula, then run `diffode verify` on this file."""

from diffode import phi
from diffode.plan import Linear
from diffode.solvers import solver
from diffode.trace import Step


# order: what you claim, and what verify holds you to. prediction: what the network is asked for, "x0", "eps", "v",
# "score" or "velocity". history: how many past values step.past(k) the rule reads. exponential: it integrates a
# constant prediction exactly. source: where the formula is published.
@solver(order=2, prediction="x0", history=1, exponential=True, source="my derivation")
def my_solver(step: Step) -> Linear:
    r"""Two-step exponential Adams in λ: the data prediction D is a line through its last two values.

        x_t = (σ_t/σ_s) x_s + α_t h (φ_1(−h) D_0 + φ_2(−h) h D′),    D′ = (D_0 − D_1)/h_past

    The first step has no past and takes D as constant.
    """
    now, after, h = step.now, step.next, step.h  # a level has .t .alpha .sigma .lam .rho; h = after.lam − now.lam
    d = step.model(step.x, now)  # one evaluation of the network; kept for the next steps as their step.past(1)
    ratio = after.sigma / now.sigma
    if step.starting:
        return ratio * step.x + after.alpha * h * phi.phi(1, -h) * d
    h_past = now.lam - step.past_level(1).lam
    slope = (d - step.past(1)) / h_past
    return ratio * step.x + after.alpha * h * (phi.phi(1, -h) * d + phi.phi(2, -h) * h * slope)
