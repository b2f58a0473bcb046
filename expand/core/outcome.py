"""What came of a job: `Completed | Failed | Infeasible | Halted | Retry`. Standard library only."""

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
class Failed:
    """Ended for good by a fault of its own."""

    error: str
    attempt: Attempt = UNKNOWN
    traceback: str = ""
    train_seconds: float = 0.0
    curve: Curve = ()


@dataclass(frozen=True)
class Infeasible:
    """Slower than the study allows, and not trained; `attempt.speed` was measured."""

    attempt: Attempt


@dataclass(frozen=True)
class Halted:
    """No candidate could be trained there, such as on a full disk."""

    error: str
    attempt: Attempt = UNKNOWN


@dataclass(frozen=True)
class Retry:
    """Could not be trained, by what may not be the candidate's fault."""

    fault: Fault
    error: str
    attempt: Attempt = UNKNOWN
    traceback: str = ""
    train_seconds: float = 0.0


Outcome = Completed | Failed | Infeasible | Halted | Retry
