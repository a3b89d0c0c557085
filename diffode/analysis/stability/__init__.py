"""Linear and semilinear stability: what a rule does to y′ = ζ y, by exact algebra and in pictures.

`recursion` holds a characteristic polynomial and `reading` reads it off a plan; `polynomials` and `intervals` decide
where its roots lie, exactly; `kernel` does so on a grid, fast; `regions` puts them together as `de.stability`, and
`plots` draws them.
"""

from diffode.analysis.stability.reading import recursion
from diffode.analysis.stability.recursion import Recursion, multistep, runge_kutta
from diffode.analysis.stability.regions import Region, stability

__all__ = ["Recursion", "Region", "multistep", "recursion", "runge_kutta", "stability"]
