"""Chooses a network of a run: by trial number, by the best accuracy, or by the best accuracy under a cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from expand.core.errors import UsageError, unknown
from expand.core.study import COSTS
from expand.core.trial import Trial, TrialState
from expand.report.candidates import Candidate, candidates, front
from expand.storage.run_directory import Record


@dataclass(frozen=True)
class Choice:
    """Which network of a run: this trial, the best by an objective, or the best within a cost; or all of its front."""

    trial: int | None = None
    best: str | None = None
    under: str | None = None
    all_front: bool = False

    def trials(self, record: Record) -> list[Trial]:
        """The chosen trials. With several seeds, the best seed of a network.

        Raises:
            UsageError: not exactly one option is given, or no complete trial fits it.
        """
        if not self.all_front:
            return [choose(record, self)]
        if (self.trial, self.best, self.under) != (None, None, None):
            raise UsageError("--all-front cannot be combined with --trial, --best or --under")
        trials, on_offer = _on_offer(record)
        return [_best_seed(candidate, trials) for candidate in front(on_offer, record.objectives)]


def choose(record: Record, choice: Choice) -> Trial:
    """The one chosen trial."""
    trial, under, best = choice.trial, choice.under, choice.best
    if sum(option is not None for option in (under, trial, best)) != 1:
        raise UsageError("say which network: --under gmacs=X, --trial N, --best top1 or --all-front")
    if trial is not None:
        found = record.trial(trial)
        if found.state is not TrialState.COMPLETE:
            raise UsageError(
                f"trial {trial} is {found.state.value}{f' ({found.error})' if found.error else ''}: it has no weights; "
                "`expand status` shows which trials are complete"
            )
        return found
    trials, on_offer = _on_offer(record)
    if under is not None:
        name, _, text = under.partition("=")
        limit = _limit(name, text, under)
        within = [candidate for candidate in on_offer if candidate.value(name) <= limit]  # nan is not
        if not within:
            raise UsageError(f"--under {under}: no complete trial is within this limit; {_cheapest(on_offer, name)}")
        on_offer = within
    elif best not in ("top1",):
        raise unknown("objective in --best", best, ["top1"])
    winner = max(front(on_offer, record.objectives), key=lambda candidate: candidate.top1 or 0.0)
    return _best_seed(winner, trials)


def _on_offer(record: Record) -> tuple[tuple[Trial, ...], list[Candidate]]:
    """All trials, and the candidates with an accuracy."""
    trials = record.trials()
    found = [candidate for candidate in candidates(trials, record.seeds) if candidate.top1 is not None]
    if not found:
        raise UsageError("no trial of this run is complete yet: `expand status RUN` shows how far it is")
    return trials, found


def _cheapest(on_offer: Sequence[Candidate], name: str) -> str:
    measured = [candidate for candidate in on_offer if not math.isnan(candidate.value(name))]
    if not measured:
        return f"no {name} was measured in this run"
    nearest = min(measured, key=lambda candidate: candidate.value(name))
    return f"the cheapest is trial {nearest.numbers[0]} with {name}={nearest.value(name):.4g}"


def _limit(name: str, text: str, option: str) -> float:
    if name not in COSTS:
        raise unknown("cost in --under", name, COSTS)
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--under {option}: write it as gmacs=0.01") from None


def _best_seed(candidate: Candidate, trials: tuple[Trial, ...]) -> Trial:
    own = [trial for trial in trials if trial.number in candidate.numbers and trial.metrics]
    return max(own, key=lambda trial: trial.metrics.top1 if trial.metrics else 0.0)
