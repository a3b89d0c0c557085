"""What `import diffode` costs and loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent

# the process that is measured is a child of a small one: a child begins with the memory peak of its parent, and
# the parent that runs the tests is large
MEASURE = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-c", "import diffode"], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
kib = used.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
print(used.ru_utime + used.ru_stime, kib / 1024)
"""


def python(program: str) -> str:
    """What a program prints, run by a Python of its own at the root of the repository."""
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    return run.stdout


def test_import_costs_little():
    runs = [[float(word) for word in python(MEASURE).split()] for _ in range(5)]
    seconds, mebibytes = (median(run[i] for run in runs) for i in (0, 1))
    assert seconds <= 0.25
    assert mebibytes <= 60


def test_import_loads_nothing_heavy():
    loaded = set(python("import sys, diffode; print(*sys.modules)").split())
    assert "diffode" in loaded
    assert not loaded & {"torch", "sympy", "matplotlib", "numba", "scipy"}


def test_sampling_needs_no_extra():
    program = """
import sys
import diffode as de
import numpy as np
process = de.EDM()
model = de.GaussianMixture([1.0], [[0.0]], [1.0]).denoiser(process)
de.sample(model, "dpmpp_2m", de.grids.karras(process, 4), 80.0 * np.ones((2, 1)))
print(*sys.modules)
"""
    loaded = set(python(program).split())
    assert "diffode.sampling" in loaded
    assert not loaded & {"torch", "matplotlib", "sklearn"}


def test_every_public_name_is_there():
    program = """
import diffode
for name in diffode.__all__:
    getattr(diffode, name)
"""
    python(program)


def test_a_family_that_asks_for_solvers_while_it_is_imported_hides_none():
    """The first call imports the families, of which one may ask for a base by name and find the registry half full."""
    program = """
from diffode.solvers import get_solver, registry
first, then = registry(), registry()
assert list(first) == list(then)
assert all(get_solver(name) is solver for name, solver in first.items())
"""
    python(program)
