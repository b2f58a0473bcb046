"""The candidates of a run and the Pareto front among them. Standard library only.

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
from expand.core.trial import CONVENTION, Cost, RaceSeeds, Trial, TrialState
from expand.strategies.inherited import from_scratch

CostName = Literal["gmacs", "params_m", "latency_ms"]


@dataclass(frozen=True)
class RunFacts:
    """The conditions under which the printed numbers of a run were measured.

    Attributes:
        views: centre clips per video in validation.
        clips: videos of the validation split, each scored once as the mean over its views.
        complete: whether the search has ended.
    """

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
        if isinstance(self.seeds, RaceSeeds):
            others = ", ".join(map(str, self.seeds[1:]))
            return f"seed {self.seeds[0]}, and {others} where a choice was open, {self.epochs} epochs"
        seeds = f"seed{'s' if len(self.seeds) > 1 else ''} {', '.join(map(str, self.seeds))}"
        return f"{seeds}, {self.epochs} epoch{'s' if self.epochs != 1 else ''}"

    @property
    def noise(self) -> str:
        """What ± stands for."""
        if isinstance(self.seeds, RaceSeeds):
            return "± is the sample standard deviation over seeds, or with one seed the standard error of the validation split"
        if len(self.seeds) > 1:
            return f"± is the sample standard deviation over {len(self.seeds)} seeds"
        return "± is the binomial standard error of the validation split"


@dataclass(frozen=True)
class Candidate:
    """One architecture with the results of all its trials. Accuracies are fractions.

    Attributes:
        numbers: of its trials.
        parent: number of the trial that it was grown from.
        state: COMPLETE only if every seed was trained in full; otherwise the accuracies are None.
        top1: mean over seeds.
        spread: sample standard deviation over seeds; None with one seed.
        standard_error: binomial standard error of the validation split, which all seeds share.
        inherit: number of the trial whose weights it started from; None if it was trained from scratch.
    """

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
    inherit: int | None = None

    @property
    def noise(self) -> float | None:
        """What is printed after ±: the spread over seeds if there is one, otherwise the standard error."""
        return self.spread if self.spread is not None else self.standard_error

    @property
    def label(self) -> str:
        return self.name or "=".join(self.axes) or self.kind

    @property
    def title(self) -> str:
        """A name that is unique within a run: "MC3", "start", "step 3 depth", "trial 7"."""
        if self.inherit is not None:
            return f"trial {self.numbers[0]} from {self.inherit}"
        if self.name or self.kind == "start":
            return self.name or "start"
        if not self.axes:
            return f"trial {self.numbers[0]}"  # sampled: it has no other name
        return f"step {self.step} {'contract ' if self.kind == 'contract' else ''}{' = '.join(self.axes)}"

    def amount(self, name: CostName) -> float:
        """Its cost in multiply-adds, parameters or milliseconds."""
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
    """One candidate per architecture that was trained from scratch, in the order of their first trials. A candidate is COMPLETE
    when each of `seeds` has a complete trial (in a race the first); trials with other seeds do not count."""
    return tuple(_candidate(group, seeds) for group in _grouped(from_scratch(trials)))


def inherited_candidates(trials: Sequence[Trial]) -> tuple[Candidate, ...]:
    """One candidate per architecture and parent whose weights it started from, with all seeds that it was trained with. They
    never stand among `candidates`: their trainings are not comparable."""
    groups = _grouped([trial for trial in trials if trial.suggestion.inherit is not None])
    return tuple(_candidate(group, sorted({trial.suggestion.seed for trial in group})) for group in groups)


def _grouped(trials: Sequence[Trial]) -> list[list[Trial]]:
    groups: dict[tuple[Architecture, int | None], list[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        groups.setdefault((trial.architecture, trial.suggestion.inherit), []).append(trial)
    return list(groups.values())


def by_seed(group: Sequence[Trial]) -> dict[int, Trial]:
    """The trial of an architecture that counts for each seed: the first complete one with a finite accuracy."""
    scored: dict[int, Trial] = {}
    for trial in group:
        if trial.state is TrialState.COMPLETE and trial.metrics and math.isfinite(trial.metrics.top1):
            scored.setdefault(trial.suggestion.seed, trial)
    return scored


def front(candidates: Sequence[Candidate], objectives: Sequence[Objective]) -> tuple[Candidate, ...]:
    """The complete candidates that are not dominated in the objectives of the front, cheapest first."""
    aims, name = [objective for objective in objectives if objective.on_front], cost_name(objectives)
    points = [tuple(candidate.value(aim.name) for aim in aims) for candidate in candidates]
    chosen = [candidates[place] for place in best_places(candidates, points, [aim.direction for aim in aims])]
    return tuple(sorted(chosen, key=lambda candidate: (candidate.amount(name), candidate.numbers)))


def best_places(candidates: Sequence[Candidate], points: Sequence[Point], directions: Sequence[Direction]) -> list[int]:
    """Indices of the complete candidates that are not dominated, in the given order. `points` holds one number per direction for
    each candidate; candidates with a number that is not finite are left out."""
    offered = [
        place
        for place, (candidate, point) in enumerate(zip(candidates, points, strict=True))
        if candidate.state is TrialState.COMPLETE and all(map(math.isfinite, point))
    ]
    return [offered[index] for index in pareto_front([points[place] for place in offered], directions)]


def cost_name(objectives: Sequence[Objective]) -> CostName:
    """The cost of tables and of the x axis of figures: the study's first cost objective."""
    for objective in objectives:
        if objective.name != "top1" and objective.on_front:
            return objective.name
    return "gmacs"


def _candidate(group: list[Trial], seeds: Sequence[int]) -> Candidate:
    first = group[0]
    scored = by_seed(group)
    state = _state(group, scored, seeds)
    metrics = [scored[seed].metrics for seed in seeds if seed in scored] if state is TrialState.COMPLETE else []
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
        inherit=first.suggestion.inherit,
    )


def _state(group: list[Trial], scored: dict[int, Trial], seeds: Sequence[int]) -> TrialState:
    if all(seed in scored for seed in (seeds[:1] if isinstance(seeds, RaceSeeds) else seeds)):
        return TrialState.COMPLETE
    states = {trial.state for trial in group if trial.number not in {done.number for done in scored.values()}}
    for state in (TrialState.RUNNING, TrialState.PAUSED, TrialState.INFEASIBLE, TrialState.FAILED, TrialState.PRUNED):
        if state in states:
            return state
    # What is left: a complete trial without a finite score, or a seed that has not started yet.
    return TrialState.FAILED if TrialState.COMPLETE in states else TrialState.RUNNING
