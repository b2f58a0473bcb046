"""A grid trained for real, on clips of squares: all of it, and as much as a budget allows."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from conftest import STUDIES
from rich.console import Console

from expand.config.request import Request
from expand.core.trial import Trial
from expand.monitoring.progress import PlainLines
from expand.report.run_report import summary
from expand.search.run import run
from expand.search.worker_plan import Workers
from expand.storage.run_directory import open_for_reading
from expand.testing.space_contract import plain_kernels
from search_spaces.c3d import PATTERNS

pytestmark = pytest.mark.usefixtures("no_pictures")
POINTS = "strategy.points=depth-1,decreasing,depth-3"


@pytest.fixture(autouse=True)
def quick():
    with plain_kernels():
        yield


def trained(squares: Path, folder: Path, *settings: str, force: bool = False) -> tuple[tuple[Trial, ...], str]:
    """The trials after `expand run`, and what it said."""
    console = Console(file=io.StringIO(), width=200)
    request = Request(str(STUDIES / "tiny_grid.py"), "demo", settings, str(squares))
    assert summary(run(request, folder, Workers(0, 1), PlainLines(console), force=force), console)
    return open_for_reading(folder).trials(), console.file.getvalue()  # type: ignore[attr-defined]


def outcomes(trials: tuple[Trial, ...]) -> list[tuple]:
    return [(t.suggestion.name, t.suggestion.seed, t.state.value) for t in trials]


def test_a_budget_ends_a_grid_between_two_networks_and_a_larger_one_goes_on(squares, tmp_path) -> None:
    trials, said = trained(squares, tmp_path / "run", POINTS, "budget.trials=5")
    assert outcomes(trials) == [(name, seed, "complete") for name in ("depth-1", "decreasing") for seed in (0, 1)]
    assert "budget.trials=5 is used up after 4 trials" in said and "Pareto front of tiny_grid" in said
    assert (tmp_path / "run" / "report" / "front.csv").stat().st_size > 0

    more, said = trained(squares, tmp_path / "run", POINTS, "budget.trials=6", force=True)
    assert more[:4] == trials and outcomes(more[4:]) == [("depth-3", 0, "complete"), ("depth-3", 1, "complete")]
    assert "used up" not in said


def test_candidates_over_a_limit_cost_nothing_of_a_budget(squares, tmp_path) -> None:
    settings = ("strategy.points=depth-7,depth-1", "budget.epochs=2", "objectives.gmacs.limit=0.0005")
    trials, _ = trained(squares, tmp_path / "run", *settings)
    assert [state for _, _, state in outcomes(trials)] == ["infeasible"] * 2 + ["complete"] * 2


@pytest.mark.heavy
def test_every_pattern_and_seed_completes(squares, tmp_path) -> None:
    trials, said = trained(squares, tmp_path / "run")
    assert outcomes(trials) == [(name, seed, "complete") for name in PATTERNS for seed in (0, 1)]
    assert all(len(trial.curve) == 1 for trial in trials)
    assert "Pareto front of tiny_grid" in said and "used up" not in said
