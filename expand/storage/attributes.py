"""A trial as attributes of Optuna, and back."""

from __future__ import annotations

import math
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from expand.core.attempt import Attempt, EndedTry, Epoch
from expand.core.outcome import Completed, Failed, Paused
from expand.core.space import Architecture
from expand.core.study import Objective
from expand.core.trial import Cost, Metrics, Suggestion, Trial, TrialState
from expand.storage.serialize import from_plain, to_plain


def objective_value(objective: Objective, outcome: Completed, cost: Cost) -> float:
    if objective.name == "top1":
        return outcome.metrics.top1
    if objective.name == "latency_ms":
        return outcome.attempt.speed.ms if outcome.attempt.speed else math.nan
    known = known_cost(objective, cost)
    assert known is not None
    return known


def known_cost(objective: Objective, cost: Cost) -> float | None:
    """The value of a counted objective; None for one that must be measured."""
    return {"gmacs": cost.gmacs, "params_m": cost.params / 1e6}.get(objective.name)


def stop_of(suggestion: Suggestion) -> dict[str, object]:
    """What only some suggestions have, because their strategy learns or their network inherits weights."""
    values = {"until": suggestion.until, "seen": suggestion.seen, "predicted": to_plain(suggestion.predicted)}
    values["inherit"] = suggestion.inherit
    return {name: value for name, value in values.items() if value is not None}


def kept_of(outcome: Completed | Paused | Failed) -> dict[str, object]:
    """The attributes of a trial that store an outcome besides its result; unknown values are left out."""
    plain = {"curve": to_plain(outcome.curve), "train_seconds": outcome.train_seconds}
    if isinstance(outcome, Failed):
        plain["traceback"] = outcome.traceback
    return {name: value for name, value in plain.items() if value} | attempt_of(outcome.attempt)


def attempt_of(attempt: Attempt) -> dict[str, object]:
    return {name: value for name, value in to_plain(attempt).items() if value and name != "node"}


def distribution_of(axis: Any) -> BaseDistribution:
    if axis.choices:
        return CategoricalDistribution(axis.choices)
    if axis.integer:
        return IntDistribution(int(axis.low), int(axis.high))
    return FloatDistribution(axis.low, axis.high)


_NEEDED = ("state", "architecture", "step", "kind", "axes", "parent", "reason", "seed", "epochs", "cost")


def is_ours(frozen: FrozenTrial) -> bool:
    return all(name in frozen.user_attrs for name in _NEEDED)


def trial_of(frozen: FrozenTrial) -> Trial:
    a = frozen.user_attrs
    suggestion = Suggestion(
        Architecture.from_json(a["architecture"]), a["epochs"], a["seed"], a["step"], tuple(a["axes"]), a["parent"],
        a["kind"], a["reason"], a.get("name", ""), a.get("until"), a.get("seen"),
        tuple(a["predicted"]) if a.get("predicted") else None, a.get("inherit"),
    )  # fmt: skip
    # Optuna's state is the one that counts: a driver may die between writing the attribute and the state.
    paused = a["state"] == TrialState.PAUSED.value
    state = TrialState(a["state"]) if frozen.state.is_finished() or paused else TrialState.RUNNING
    error = a.get("error", "")
    if frozen.state.is_finished() and not state.ended:
        state, error = TrialState.FAILED, f"another program ended it as {frozen.state.name}"
    return Trial(
        frozen.number, state, suggestion, from_plain(a["cost"], Cost),
        metrics=from_plain(a["metrics"], Metrics) if state is TrialState.COMPLETE else None,
        curve=tuple(from_plain(entry, Epoch) for entry in a.get("curve", ())),
        train_seconds=a.get("train_seconds", 0.0),
        started=frozen.datetime_start.isoformat(timespec="seconds") if frozen.datetime_start else "",
        ended=a.get("ended", ""),
        error=error,
        traceback=a.get("traceback", ""),
        attempt=from_plain(a, Attempt),
        retries=tuple(from_plain(entry, EndedTry) for entry in a.get("retries", ())),
        interrupted=bool(a.get("interrupted")),
    )  # fmt: skip
