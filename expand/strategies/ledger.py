"""The decisions of a stepwise expansion, one entry per step: a function of the trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from expand.core.accuracy import in_percent, percent, two_errors
from expand.core.space import Architecture
from expand.core.trial import Suggestion, Trial, TrialState
from expand.strategies.inherited import from_scratch
from expand.strategies.racing import Standing, probability_best, seed_noise, standings

# Kinds of trials that belong to no step.
UNSTEPPED = ("grid", "sample", "fixed", "guided", "evolved", "optuna", "grown")


@dataclass(frozen=True)
class LedgerEntry:
    """One candidate of a step.

    `top1` is the mean over seeds, `spread` their standard deviation (None with one seed). `standard_error` is the error of `top1`
    from the finite validation split and, with several seeds, from the seeds; `clip_error` is the first alone. `scores` are
    the top-1 of the seeds. `predicted` is the expected top-1 and its standard deviation, of a model that screened the step.
    """

    axes: tuple[str, ...]
    change: str
    macs: int
    ratio: float
    top1: float | None
    spread: float | None
    standard_error: float | None
    state: TrialState
    trial_numbers: tuple[int, ...]
    scores: tuple[float, ...] = ()
    clip_error: float = 0.0
    predicted: tuple[float, float] | None = None


@dataclass(frozen=True)
class LedgerStep:
    """A step: its parent, its candidates in the order of their axes, the chosen one and the reason.

    `probability` is that the chosen candidate is truly the best of those trained, given the noise of seeds and clips; None where
    nothing was chosen or there was no choice. `trainings` were made to know it.
    """

    step: int
    kind: str
    base: Architecture | None
    base_macs: int
    entries: tuple[LedgerEntry, ...]
    chosen: int | None
    why: str
    notes: tuple[str, ...] = ()
    probability: float | None = None
    trainings: int = 0


def entries_of(trials: Sequence[Trial], candidates: Sequence[Suggestion]) -> tuple[LedgerEntry, ...]:
    """One entry per candidate, from all trials of its architecture."""
    return tuple(_entry([t for t in trials if t.architecture == c.architecture], trials) for c in candidates)


def _entry(own: Sequence[Trial], trials: Sequence[Trial]) -> LedgerEntry:
    first = own[0]
    base = _parent(first, trials)
    scores = [trial.metrics.top1 for trial in own if trial.state is TrialState.COMPLETE and trial.metrics]
    complete = len(scores) == len(own)
    running = any(not trial.state.ended for trial in own)
    spread = stdev(scores) if complete and len(scores) > 1 else None
    error = None
    if complete:
        split = mean(trial.metrics.standard_error for trial in own if trial.metrics)
        error = math.hypot(split, (spread or 0.0) / math.sqrt(len(scores)))
    return LedgerEntry(
        axes=first.suggestion.axes,
        change=base.architecture.changes(first.architecture) if base else str(first.architecture),
        macs=first.cost.macs,
        ratio=first.cost.macs / base.cost.macs if base else 1.0,
        top1=mean(scores) if complete else None,
        spread=spread,
        standard_error=error,
        state=TrialState.RUNNING if running else next((t.state for t in own if not t.metrics), own[-1].state),
        trial_numbers=tuple(trial.number for trial in own),
        scores=tuple(scores),
        clip_error=mean(trial.metrics.standard_error for trial in own if trial.metrics) if scores else 0.0,
        predicted=first.suggestion.predicted,
    )


def _parent(trial: Trial, trials: Sequence[Trial]) -> Trial | None:
    number = trial.suggestion.parent
    return next((each for each in trials if each.number == number), None) if number is not None else None


def choose(entries: Sequence[LedgerEntry], noise: float) -> int | None:
    """The index of the most accurate candidate whose seeds all completed; of equals the cheaper, then the earlier axis.

    Where candidates have different numbers of seeds, a mean of fewer counts less (`racing.standings`).
    """
    race = race_of(entries, noise)
    scored = [(-standing.top1, entries[index].macs, index) for index, standing in race.items()]
    if len({standing.seeds for standing in race.values()}) == 1:  # the order of the means, without rounding
        scored = [(-(entry.top1), entry.macs, index) for index, entry in enumerate(entries) if entry.top1 is not None]
    return min(scored)[2] if scored else None


def race_of(entries: Sequence[LedgerEntry], noise: float) -> dict[int, Standing]:
    """The standings of the candidates that completed, by their index."""
    able = [index for index, entry in enumerate(entries) if entry.top1 is not None]
    if not able:
        return {}
    groups, errors = [entries[index].scores for index in able], [entries[index].clip_error for index in able]
    return dict(zip(able, standings(groups, noise, errors), strict=True))


def noise_of(trials: Sequence[Trial]) -> float:
    """The deviation between seeds over all networks of a run (`racing.seed_noise`)."""
    groups: dict[Architecture, list[float]] = {}
    for trial in trials:
        if trial.state is TrialState.COMPLETE and trial.metrics:
            groups.setdefault(trial.architecture, []).append(trial.metrics.top1)
    return seed_noise(list(groups.values()))


def ledger(trials: Sequence[Trial]) -> tuple[LedgerStep, ...]:
    """All steps so far, in order: the start, each expansion, each contraction.

    Trials of a grid or a sampled search belong to no step and are left out.
    """
    trials = from_scratch(trials)
    groups: dict[tuple[int, str], dict[Architecture, list[Trial]]] = {}
    for trial in trials:
        if trial.suggestion.kind in UNSTEPPED:
            continue
        key = (trial.suggestion.step, trial.suggestion.kind)
        groups.setdefault(key, {}).setdefault(trial.architecture, []).append(trial)
    order = {"start": 0, "expand": 1, "contract": 2}
    steps, noise = [], noise_of(trials)
    for (step, kind), candidates in sorted(groups.items(), key=lambda item: (item[0][0], order.get(item[0][1], 3))):
        first = next(iter(candidates.values()))[0]
        base = _parent(first, trials)
        entries = tuple(_entry(own, trials) for own in candidates.values())
        ended = all(trial.state.ended for own in candidates.values() for trial in own)
        chosen = choose(entries, noise) if ended else None
        race = race_of(entries, noise)
        able = kind == "expand" and chosen is not None and len(race) > 1
        sure = probability_best(list(race.values()), list(race).index(chosen)) if able and chosen is not None else None
        notes = {t.suggestion.reason.partition("; ")[2] for own in candidates.values() for t in own} - {""}
        steps.append(
            LedgerStep(
                step, kind, base.architecture if base else None, base.cost.macs if base else first.cost.macs,
                entries, chosen, _why(entries, chosen, kind, ended, sure), tuple(sorted(notes)),
                sure, sum(len(entry.trial_numbers) for entry in entries if entry.state is not TrialState.PRUNED),
            )
        )  # fmt: skip
    return tuple(steps)


def _why(entries: Sequence[LedgerEntry], chosen: int | None, kind: str, ended: bool, sure: float | None) -> str:
    if not ended:
        return "still training: nothing chosen yet"
    if chosen is None:
        return "no candidate completed: the expansion ends here"
    best = entries[chosen]
    assert best.top1 is not None and best.standard_error is not None
    if kind == "start":
        return f"the start, top-1 {in_percent(best.top1, best.standard_error)}"
    if kind == "contract":
        return f"contracted along {best.axes[0]} only ({best.change}) to meet the target: x{best.ratio:.3f}"
    others = sorted(
        (e for i, e in enumerate(entries) if i != chosen and e.top1 is not None), key=lambda e: -(e.top1 or 0)
    )
    name = " = ".join(best.axes)
    if not others:
        return f"{name}: top-1 {in_percent(best.top1, best.standard_error)}, the only candidate that completed"
    second = others[0]
    assert second.top1 is not None and second.standard_error is not None
    margin, noise = best.top1 - second.top1, two_errors(best.standard_error, second.standard_error)
    within = [
        " = ".join(e.axes)
        for e in others
        if best.top1 - (e.top1 or 0) < two_errors(best.standard_error, e.standard_error or 0)
    ]
    errors = f"(two standard errors are {percent(noise)} points)"
    verdict = (
        f"within noise {errors} of {', '.join(within)}: another seed could change the choice"
        if within
        else f"beyond noise {errors}"
    )
    tie = ", the cheaper of equals" if margin == 0 and best.macs < second.macs else ""
    return (
        f"{name}: top-1 {in_percent(best.top1)} against {in_percent(second.top1)} for {' = '.join(second.axes)}{tie}, "
        f"a margin of {percent(margin)} points, {verdict}"
        + (f"; the right choice with a probability of {100 * sure:.0f} %" if sure is not None else "")
    )
