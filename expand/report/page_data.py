"""The data of the page as plain JSON values, also written as front.json. Pure functions.

Accuracies are fractions, costs whole numbers, times seconds; unknown numbers are null. Candidates are referred to by their
index in `candidates`, trials by their number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from expand.core.accuracy import resolution_text
from expand.core.study import Objective
from expand.core.trial import CONVENTION, Trial, TrialState
from expand.report.about import About
from expand.report.candidates import Candidate, RunFacts, best_places, candidates, cost_name
from expand.report.expected import expected_lines, expected_of
from expand.report.front import Front, front_of
from expand.report.hypervolume import COST_AND_ACCURACY, Payoff, box_of, payoffs, training_macs
from expand.report.inherited import Inherited, inherited_of
from expand.report.plan_vs_actual import PlannedActual, compare_plan, planned_lines, planned_rows
from expand.report.predicted import Predictions, compare_predictions, predicted_lines
from expand.report.significance import Comparison, compare
from expand.report.significance_tables import beaten_text, comparison_note
from expand.storage.facts import Facts
from expand.storage.folder import Environment
from expand.storage.plans import Plan
from expand.storage.serialize import to_plain

if TYPE_CHECKING:
    from expand.strategies.ledger import LedgerStep

FORMAT = 1
COST_KEYS = {"gmacs": "macs", "params_m": "params", "latency_ms": "latency_ms"}  # an objective's, among ours
# key, name, unit, description; a cost that no candidate of a run has is not offered
COSTS = (
    ("macs", "multiply-adds", "MACs", CONVENTION),
    ("params", "parameters", "params", "all parameters of the network"),
    ("activations", "activations", "elements", "elements of all convolution and linear outputs, one clip"),
    ("latency_ms", "latency", "ms", "measured by the worker, median time of one clip"),
    ("train_seconds", "training time", "s", "measured wall time of one training, mean over its seeds"),
    (
        "train_macs",
        "training multiply-adds",
        "MACs",
        "one training, mean over its seeds: three times the network's per training clip, once per validation clip",
    ),
)


@dataclass(frozen=True)
class RunOnPage:
    """Everything that the report of a run needs."""

    facts: RunFacts
    trials: Sequence[Trial]
    objectives: Sequence[Objective]
    steps: Sequence[LedgerStep] = ()
    plan: Plan | None = None
    about: About = field(default_factory=lambda: About("run"))

    def spent(self) -> dict[int, int]:
        """Training multiply-adds of each trial, by number."""
        return {trial.number: training_macs(trial, *self.videos, self.facts.views) for trial in self.trials}

    @property
    def videos(self) -> tuple[int, int]:
        """Numbers of training and validation videos."""
        facts = self.about.facts
        return (facts.clips_of_epoch, facts.data.videos.val) if facts else (0, self.facts.clips)

    def inherited(self) -> tuple[Inherited, ...]:
        """The networks that started from another one's weights."""
        return inherited_of(self.facts, self.trials, self.objectives, self.videos)


def fronts_of(runs: Sequence[RunOnPage]) -> list[Front]:
    """One front per run. Runs with the same cost share the bounds of their hypervolumes."""
    names = {cost_name(run.objectives) for run in runs}
    box = box_of([candidates(run.trials, run.facts.seeds) for run in runs], names.pop()) if len(names) == 1 else None
    return [
        front_of(
            run.about.name, run.facts, run.trials, run.objectives, steps=run.steps, spent=run.spent(), box=box
        )
        for run in runs
    ]  # fmt: skip


def page_data(runs: Sequence[RunOnPage], fronts: Sequence[Front] | None = None) -> dict[str, Any]:
    """The page of one run or several."""
    plain = [run_data(run, front) for run, front in zip(runs, fronts or fronts_of(runs), strict=True)]
    return {"format": FORMAT, "runs": plain, "apart": _apart(runs)}


def run_data(run: RunOnPage, front: Front) -> dict[str, object]:
    """The data of one run. The module's docstring gives the units."""
    facts, trials = run.facts, sorted(run.trials, key=lambda trial: trial.number)
    found, box = front.candidates, front.box
    place = {candidate.architecture: index for index, candidate in enumerate(found)}
    shown = (*found, *front.inherited)
    at = {number: index for index, candidate in enumerate(shown) for number in candidate.numbers}
    by_number = {trial.number: trial for trial in trials}
    name, spent = front.cost, run.spent()
    costs = [_costs(candidate, [by_number[number] for number in candidate.numbers], spent) for candidate in shown]
    offered = [key for key, *_ in COSTS if any(cost[key] for cost in costs)]
    comparison = compare(found, trials, facts.seeds)
    planned, predicted = compare_plan(run.plan, trials), compare_predictions(trials)
    return {
        "name": run.about.name, "study": facts.study, "scale": facts.scale, "data_name": facts.data,
        "complete": facts.complete, "epochs": facts.epochs, "views": facts.views, "val_clips": facts.clips,
        "seeds": list(facts.seeds), "texts": _texts(facts),
        "objectives": [asdict(objective) for objective in run.objectives], "main_cost": COST_KEYS[name],
        "costs": [dict(zip(("key", "name", "unit", "what"), cost, strict=True)) for cost in COSTS if cost[0] in offered],
        "candidates": [
            _candidate(candidate, cost, at)
            for candidate, cost in zip(shown, costs, strict=True)
        ],
        "inherited": [_inherited(row, at) for row in run.inherited()],
        "inherited_fronts": {key: front_over(shown, [cost[key] for cost in costs], inherited=True) for key in offered},
        "front": [place[candidate.architecture] for candidate in front.best],
        "fronts": {key: front_over(shown, [cost[key] for cost in costs]) for key in offered},
        "path": [place[candidate.architecture] for candidate in front.path],
        "steps": [_step(step, place, at) for step in run.steps],
        "payoffs": [_payoff(payoff) for payoff in payoffs(run.steps, found)],
        "comparison": _comparison(facts, comparison, place) if comparison else None,
        "volume": {
            "cost": COST_KEYS[name], "low": box.low if box else None, "high": box.high if box else None,
            "moments": [[m.number, round(m.seconds, 1), m.macs, round(m.volume, 5)] for m in front.growth],
        },
        "trials": [_trial(trial, at[trial.number]) for trial in trials],
        "planned": _planned(run.plan, planned) if run.plan and planned else None,
        "predicted": _predicted(predicted) if predicted else None,
        "expected": expected_lines(expected_of(found, trials, run.objectives)),
        "about": {
            "data": {}, "classes": run.about.classes, "environment": _known(run.about.environment),
            "tested": list(run.about.tested), "tests": to_plain(run.about.tests), **_asked(run.about.facts),
        },
    }  # fmt: skip


def _known(environment: Environment) -> dict[str, object]:
    return {name: value for name, value in to_plain(environment).items() if value}


def _asked(facts: Facts | None) -> dict[str, object]:
    """What study.json says of the run, by the headings of the page."""
    if facts is None:
        return {}
    varied = facts.study.varied
    asked = {
        name: getattr(facts, name)
        for name in ("reference", "settings", "recipe_axes", "recipe_from", "limits", "forced")
    }
    return {
        "recipe": to_plain(facts.study.recipe) | {name: f"searched: {text}" for name, text in varied.items()},
        "space": to_plain(facts.study.space) | ({"recipe_axes": varied} if varied else {}),
        **{part: to_plain(getattr(facts.study, part)) for part in ("budget", "strategy")},
        "data": to_plain(facts.data), "asked": {name: to_plain(value) for name, value in asked.items() if value},
    }  # fmt: skip


def front_over(found: Sequence[Candidate], costs: Sequence[float | None], *, inherited: bool = False) -> list[int]:
    """Indices of the complete candidates that are not dominated in top-1 and this cost, cheapest first: of those trained from
    scratch, or of the `inherited` ones."""
    points = [
        (math.nan, math.nan) if cost is None or candidate.top1 is None or (candidate.inherit is not None) != inherited
        else (cost, candidate.top1)
        for candidate, cost in zip(found, costs, strict=True)
    ]  # fmt: skip
    return sorted(best_places(found, points, COST_AND_ACCURACY), key=lambda place: (points[place][0], place))


def _costs(candidate: Candidate, own: Sequence[Trial], spent: dict[int, int]) -> dict[str, float | None]:
    """Each cost, None if unknown. Training costs only of candidates that were trained in full."""
    done = [trial for trial in own if trial.state is TrialState.COMPLETE and candidate.state is TrialState.COMPLETE]
    seconds = sum(trial.train_seconds for trial in done) / len(done) if done else 0.0
    macs = sum(spent[trial.number] for trial in done) / len(done) if done else 0.0
    cost = candidate.cost
    plain: dict[str, float | None] = {
        "macs": cost.macs, "params": cost.params, "activations": cost.activations, "latency_ms": candidate.latency_ms,
        "train_seconds": round(seconds, 2), "train_macs": round(macs),
    }  # fmt: skip
    return {name: value if value and math.isfinite(value) else None for name, value in plain.items()}


def _candidate(candidate: Candidate, cost: dict[str, float | None], at: dict[int, int]) -> dict[str, object]:
    parent = None if candidate.parent is None else at.get(candidate.parent)
    return {
        "label": candidate.label, "title": candidate.title, "name": candidate.name, "kind": candidate.kind,
        "step": candidate.step,
        "axes": list(candidate.axes), "parent": parent, "values": dict(candidate.architecture.values),
        "family": candidate.architecture.family, "text": str(candidate.architecture),
        "costs": cost | {"params_published": candidate.cost.params_published}, "state": candidate.state.value,
        "top1": candidate.top1, "spread": candidate.spread, "standard_error": candidate.standard_error,
        "trials": list(candidate.numbers), "error": candidate.error, "inherit": candidate.inherit,
    }  # fmt: skip


def _inherited(row: Inherited, at: dict[int, int]) -> dict[str, object]:
    return {
        "candidate": at[row.candidate.numbers[0]], "lineage": list(row.lineage), "epochs": row.epochs, "macs": row.macs,
        "before": row.before, "differences": list(row.differences), "on_front": row.on_front,
        "scratch": at[row.scratch.numbers[0]] if row.scratch else None, "scratch_epochs": row.scratch_epochs,
        "scratch_macs": row.scratch_macs,
    }  # fmt: skip


def _step(step: LedgerStep, place: dict[Any, int], at: dict[int, int]) -> dict[str, object]:
    return {
        "step": step.step, "kind": step.kind, "base": place.get(step.base) if step.base is not None else None,
        "chosen": step.chosen, "why": step.why, "notes": list(step.notes),
        "entries": [
            {
                "candidate": at[entry.trial_numbers[0]], "axes": list(entry.axes),
                "change": entry.change, "ratio": round(entry.ratio, 4), "top1": entry.top1, "spread": entry.spread,
                "standard_error": entry.standard_error, "state": entry.state.value,
            }
            for entry in step.entries
        ],
    }  # fmt: skip


def _payoff(payoff: Payoff) -> dict[str, object]:
    plain = asdict(payoff) | {"gains": list(payoff.gains)}
    return plain | {"mean": payoff.mean, "standard_error": payoff.standard_error}


def _comparison(facts: RunFacts, comparison: Comparison, place: dict[Any, int]) -> dict[str, object]:
    return {
        "seeds": list(comparison.seeds), "least_difference": comparison.least_difference,
        "note": comparison_note(facts, comparison),
        "networks": [
            {
                "label": network.label, "candidate": place[network.candidate.architecture], "top1": network.top1,
                "scores": list(network.scores), "beats": beaten_text(comparison, network),
            }
            for network in comparison.networks
        ],
    }  # fmt: skip


def _trial(trial: Trial, place: int) -> dict[str, object]:
    metrics = trial.metrics
    return {
        "number": trial.number, "candidate": place, "state": trial.state.value,
        "seed": trial.suggestion.seed, "epochs": trial.suggestion.epochs, "seconds": round(trial.train_seconds, 1),
        "top1": metrics.top1 if metrics else None, "top5": metrics.top5 if metrics else None,
        "loss": _number(metrics.loss) if metrics else None, "attempts": trial.attempts, "started": trial.started,
        "ended": trial.ended, "error": trial.error, "interrupted": trial.interrupted,
        "curve": {
            key: [_number(getattr(entry, key)) for entry in trial.curve] for key in ("epoch", "loss", "val_loss", "top1")
        },
    }  # fmt: skip


def _number(value: Any) -> float | None:
    """Rounded to the decimals that the record keeps of an accuracy, so that curves and tables print the same."""
    return round(value, 6) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _planned(plan: Plan, planned: PlannedActual) -> dict[str, object]:
    rows = [row | {"label": kept.label} for row, kept in zip(planned_rows(planned), planned.rows, strict=True)]
    return {
        "lines": planned_lines(planned),
        "rows": rows,
        "timed": plan.calibration.described if plan.calibration else "",
    }


def _predicted(found: Predictions) -> dict[str, object]:
    return {"lines": predicted_lines(found), "rows": [asdict(row) for row in found.rows]}


def _texts(facts: RunFacts) -> dict[str, str]:
    """The conditions of the numbers, as sentences."""
    return {
        "accuracy": facts.accuracy, "scoring": facts.scoring, "training": facts.training, "noise": facts.noise,
        "convention": facts.convention, "resolution": resolution_text(facts.clips),
    }  # fmt: skip


def _apart(runs: Sequence[RunOnPage]) -> list[str]:
    """The differences between the runs that make their accuracies incomparable."""
    sides: dict[str, list[Any]] = {
        "data": [run.about.facts.data.fingerprint if run.about.facts else run.facts.data for run in runs],
        "epochs": [run.facts.epochs for run in runs],
        "views": [run.facts.views for run in runs],
        "validation clips": [run.facts.clips for run in runs],
        "seeds": [run.facts.seeds for run in runs],
    }
    return [name for name, values in sides.items() if len(set(values)) > 1]
