"""What a record says about each architecture: `Candidate`, and the front among the candidates. Standard library only.

A trial is one architecture trained with one seed; a candidate is one architecture with all its trials.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from expand.core.pareto import Direction, Point, pareto_front
from expand.core.space import Architecture
from expand.core.study import Objective
from expand.core.trial import CONVENTION, Cost, Trial, TrialState

CostName = Literal["gmacs", "params_m", "latency_ms"]


@dataclass(frozen=True)
class RunFacts:
    """What every printed number of a run rests on. `views` and `clips` are those of validation: K centre clips of each
    of N videos. `complete` says that the search has ended."""

    study: str
    scale: str
    data: str
    epochs: int
    views: int
    clips: int
    seeds: tuple[int, ...] = (0,)
    convention: str = CONVENTION
    complete: bool = True

    @property
    def accuracy(self) -> str:
        return f"top-1 on {self.clips:,} validation clips, {self.scoring}"

    @property
    def scoring(self) -> str:
        """How a video is scored."""
        return "one centre clip" if self.views == 1 else f"mean softmax of {self.views} centre clips"

    @property
    def training(self) -> str:
        seeds = f"seed{'s' if len(self.seeds) > 1 else ''} {', '.join(map(str, self.seeds))}"
        return f"{seeds}, {self.epochs} epoch{'s' if self.epochs != 1 else ''}"

    @property
    def noise(self) -> str:
        """What ± stands for."""
        if len(self.seeds) > 1:
            return f"± is the sample standard deviation over {len(self.seeds)} seeds"
        return "± is the binomial standard error of the validation split"


@dataclass(frozen=True)
class Candidate:
    """One architecture and what its trials (`numbers`) say. `top1` is the mean over seeds, `spread` the sample standard
    deviation over seeds (None with one seed), `standard_error` the noise of the validation split, which all seeds
    share. All are fractions. They are None unless every seed was trained in full (`state` COMPLETE); `parent` is a
    trial's number."""

    architecture: Architecture
    numbers: tuple[int, ...]
    step: int
    axes: tuple[str, ...]
    kind: str
    parent: int | None
    cost: Cost
    state: TrialState
    top1: float | None = None
    spread: float | None = None
    standard_error: float | None = None
    error: str = ""
    name: str = ""
    latency_ms: float | None = None

    @property
    def noise(self) -> float | None:
        """What is printed behind ±: the seed spread where there is one, else the standard error."""
        return self.spread if self.spread is not None else self.standard_error

    @property
    def label(self) -> str:
        return self.name or "=".join(self.axes) or self.kind

    @property
    def title(self) -> str:
        """What it is called among all candidates of a run: "MC3", "start", "step 3 depth", "trial 7"."""
        if self.name or self.kind == "start":
            return self.name or "start"
        if not self.axes:
            return f"trial {self.numbers[0]}"  # drawn by a sampler: it has no other name
        return f"step {self.step} {'contract ' if self.kind == 'contract' else ''}{' = '.join(self.axes)}"

    def amount(self, name: CostName) -> float:
        """Its cost in whole multiply-adds or parameters, or in milliseconds."""
        if name == "latency_ms":
            return math.nan if self.latency_ms is None else self.latency_ms
        return self.cost.params if name == "params_m" else self.cost.macs

    def value(self, objective: str) -> float:
        if objective == "top1":
            return math.nan if self.top1 is None else self.top1
        if objective == "latency_ms":
            return self.amount("latency_ms")
        return self.amount("params_m") / 1e6 if objective == "params_m" else self.cost.gmacs


def candidates(trials: Sequence[Trial], seeds: Sequence[int]) -> tuple[Candidate, ...]:
    """One candidate an architecture, in the order of their first trials. One is COMPLETE when each of `seeds` has a
    complete trial of it; trials with other seeds do not count."""
    groups: dict[Architecture, list[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        groups.setdefault(trial.architecture, []).append(trial)
    return tuple(_candidate(group, seeds) for group in groups.values())


def by_seed(group: Sequence[Trial]) -> dict[int, Trial]:
    """Of one architecture's trials, the one that counts for each seed: the first complete one with a finite accuracy."""
    scored: dict[int, Trial] = {}
    for trial in group:
        if trial.state is TrialState.COMPLETE and trial.metrics and math.isfinite(trial.metrics.top1):
            scored.setdefault(trial.suggestion.seed, trial)
    return scored


def front(candidates: Sequence[Candidate], objectives: Sequence[Objective]) -> tuple[Candidate, ...]:
    """The complete candidates that no other one dominates in the objectives that stand on the front, cheapest first."""
    aims, name = [objective for objective in objectives if objective.on_front], cost_name(objectives)
    points = [tuple(candidate.value(aim.name) for aim in aims) for candidate in candidates]
    chosen = [candidates[place] for place in best_places(candidates, points, [aim.direction for aim in aims])]
    return tuple(sorted(chosen, key=lambda candidate: (candidate.amount(name), candidate.numbers)))


def best_places(candidates: Sequence[Candidate], points: Sequence[Point], directions: Sequence[Direction]) -> list[int]:
    """Places of the complete candidates that no other dominates, in the order given. `points` holds a number per direction for
    each candidate; one with a number that is not known (not finite) is not on offer."""
    offered = [
        place
        for place, (candidate, point) in enumerate(zip(candidates, points, strict=True))
        if candidate.state is TrialState.COMPLETE and all(map(math.isfinite, point))
    ]
    return [offered[index] for index in pareto_front([points[place] for place in offered], directions)]


def cost_name(objectives: Sequence[Objective]) -> CostName:
    """The cost that tables and figures are drawn over: the study's first one."""
    for objective in objectives:
        if objective.name != "top1" and objective.on_front:
            return objective.name
    return "gmacs"


def _candidate(group: list[Trial], seeds: Sequence[int]) -> Candidate:
    first = group[0]
    scored = by_seed(group)
    state = _state(group, scored, seeds)
    metrics = [scored[seed].metrics for seed in seeds] if state is TrialState.COMPLETE else []
    top1 = [entry.top1 for entry in metrics if entry]
    errors = [entry.standard_error for entry in metrics if entry]
    latencies = [trial.attempt.speed.ms for trial in group if trial.attempt.speed]
    return Candidate(
        architecture=first.architecture,
        numbers=tuple(trial.number for trial in group),
        step=first.suggestion.step,
        axes=first.suggestion.axes,
        kind=first.suggestion.kind,
        parent=first.suggestion.parent,
        cost=first.cost,
        state=state,
        top1=statistics.fmean(top1) if top1 else None,
        spread=statistics.stdev(top1) if len(top1) > 1 else None,
        standard_error=statistics.fmean(errors) if errors else None,
        error="; ".join(dict.fromkeys(trial.error for trial in group if trial.error)),
        name=first.suggestion.name,
        latency_ms=statistics.median(latencies) if latencies else None,
    )


def _state(group: list[Trial], scored: dict[int, Trial], seeds: Sequence[int]) -> TrialState:
    if all(seed in scored for seed in seeds):
        return TrialState.COMPLETE
    states = {trial.state for trial in group if trial.number not in {done.number for done in scored.values()}}
    for state in (TrialState.RUNNING, TrialState.INFEASIBLE, TrialState.FAILED, TrialState.PRUNED):
        if state in states:
            return state
    # complete where a seed is still to come, or complete without a score, which cannot be compared
    return TrialState.FAILED if TrialState.COMPLETE in states else TrialState.RUNNING
