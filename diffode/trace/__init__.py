"""The trace: a step rule, run over a grid, leaves its plan behind.

A rule sees one `Step` at a time and computes with linear expressions (`diffode.plan.Linear`); what it does to them
is written down as rows. The rule never sees an array, so the same rule can be traced with floats, mpmath numbers,
SymPy symbols or power series: only the levels of the grid differ.
"""

from diffode.trace.recorder import Grid, Memory, Rule, Tracer
from diffode.trace.run import alive, one_step, trace
from diffode.trace.step import Step

__all__ = ["Grid", "Memory", "Rule", "Step", "Tracer", "alive", "one_step", "trace"]
