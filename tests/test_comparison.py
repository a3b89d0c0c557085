"""Comparisons of laws, of the whole registry, and what is best at its cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffode as de
from diffode.analysis import comparison
from diffode.analysis.comparison import Row, Rows
from diffode.analysis.convergence import quantile_flow
from diffode.analysis.judging import apart
from diffode.cli import main
from diffode.problems.named import MIXTURE_1D
from diffode.solvers import get_solver


def test_laws_of_solvers_with_noise_converge_to_what_exact_draws_have() -> None:
    rows = de.compare(["dpmpp_2m_sde", "unipc_2"], problem="mixture_1d", nfe=[10, 40, 160], measure="law")
    for solver in ("dpmpp_2m_sde", "unipc_2"):
        errors = [row.error for row in rows if row.solver == solver]
        assert errors == sorted(errors, reverse=True)
    noisy, quiet = rows[2], rows[5]
    assert noisy.stochastic
    assert not quiet.stochastic
    assert quiet.uncertainty == 0.0
    assert quiet.error is not None
    assert quiet.error < 1e-4
    assert noisy.error is not None
    assert noisy.error < 4 * noisy.uncertainty


def test_distance_of_laws_is_the_integral_of_quantile_differences() -> None:
    """A solver that shifts every state by a constant is off by that constant."""
    process = de.EDM(0.02, 20.0)
    grid = de.grids.karras(process, 4)
    middles = (np.arange(64) + 0.5) / 64
    first, last = quantile_flow(process, [grid[0], grid[-1]], middles, MIXTURE_1D)
    assert np.all(np.diff(first, axis=0) > 0)
    assert apart(last + 0.25, last) == pytest.approx(0.25, rel=1e-12)
    assert apart(last[::-1], last) == 0.0


def test_all_is_the_registry_and_what_is_too_dear_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("ddim", "gauss_2", "dpmpp_2m_sde")
    monkeypatch.setattr(comparison, "registry", lambda: {name: get_solver(name) for name in names})
    rows = de.compare("all", problem="mixture_1d", nfe=[4, 24])
    assert [row.solver for row in rows[::2]] == list(names)
    assert "takes more than 4 evaluations" in rows[2].note
    assert rows[2].error is None
    assert rows[3].error is not None
    assert "draws noise" in rows[4].note
    with pytest.raises(de.DiffodeError, match="more than 4 evaluations"):
        de.compare(list(names), problem="mixture_1d", nfe=[4])


def test_front_has_no_row_that_another_beats() -> None:
    def row(name: str, spent: int, error: float | None) -> Row:
        return Row(name, "", spent, spent, error)

    rows = Rows([row("a", 5, 3.0), row("b", 5, 2.0), row("c", 10, 2.5), row("d", 20, 1.0), row("e", 4, None)])
    assert [r.solver for r in rows.front] == ["b", "d"]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"problem": "mixture_1d", "measure": "laws"}, "measure"),
        ({"problem": "mixture_2d", "measure": "law"}, "2 dimensions; take mixture_1d"),
        ({"problem": "digits", "measure": "law"}, "known law"),
    ],
)
def test_laws_that_are_not_to_be_had(options: dict[str, Any], what: str) -> None:
    with pytest.raises(de.DiffodeError, match=what):
        de.compare(["ddim"], nfe=[4], **options)


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    names = [n for n in de.list_solvers() if get_solver(n).history == 0 and "dpm" in n][:13]
    assert len(names) == 13
    monkeypatch.setattr(comparison, "registry", lambda: {name: get_solver(name) for name in names})
    plot = tmp_path / "pareto.svg"
    words = ["compare", "all", "--problem", "mixture_1d", "--nfe", "6,12", "--measure", "law", "--samples", "500"]
    assert main([*words, "--plot", str(plot)]) == 0
    assert "best at their cost" in capsys.readouterr().out
    assert "with noise" in plot.read_text(encoding="utf-8")
    assert main(["compare", "ddim", "--measure", "laws"]) == 2


def test_a_system_is_refused() -> None:
    model = de.Gaussian(0.0, 1.0).denoiser(de.CLD())
    with pytest.raises(de.DiffodeError, match=r"compare: CLD.* is a system"):
        de.compare(["gddim_2"], model, nfe=5, x_T=np.ones((2, 2, 1)))
