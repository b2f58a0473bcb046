"""The outcome of a job: `Completed | Paused | Failed | Infeasible | Halted | Retry`. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

from expand.core.attempt import UNKNOWN, Attempt, Curve, Fault
from expand.core.trial import Metrics


@dataclass(frozen=True)
class Completed:
    """Trained and validated."""

    metrics: Metrics
    attempt: Attempt = UNKNOWN
    curve: Curve = ()
    train_seconds: float = 0.0


@dataclass(frozen=True)
class Paused:
    """Trained as far as was asked for now; its checkpoint is kept."""

    curve: Curve
    attempt: Attempt = UNKNOWN
    train_seconds: float = 0.0


@dataclass(frozen=True)
class Failed:
    """Failed by its own fault, so it is not tried again."""

    error: str
    attempt: Attempt = UNKNOWN
    traceback: str = ""
    train_seconds: float = 0.0
    curve: Curve = ()


@dataclass(frozen=True)
class Infeasible:
    """Not trained because it exceeds the study's latency limit; `attempt.speed` was measured."""

    attempt: Attempt


@dataclass(frozen=True)
class Halted:
    """No candidate can be trained there, for example because the disk is full."""

    error: str
    attempt: Attempt = UNKNOWN


@dataclass(frozen=True)
class Retry:
    """Could not be trained, perhaps not by the candidate's own fault."""

    fault: Fault
    error: str
    attempt: Attempt = UNKNOWN
    traceback: str = ""
    train_seconds: float = 0.0


Outcome = Completed | Paused | Failed | Infeasible | Halted | Retry
