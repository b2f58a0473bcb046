"""plan.json of a run: what it was planned to cost (`expand/planning/plan.py` makes it)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from expand.core.errors import UsageError
from expand.core.files import read_json
from expand.storage.atomic import write_json
from expand.storage.facts import StudyFacts
from expand.storage.serialize import from_plain, to_plain

Range = tuple[float, float, float]  # low, middle, high, over the courses of a search


@dataclass(frozen=True)
class Videos:
    """How many there are to train on and to validate with, in how many classes; `source` says where the numbers are from."""

    training: int
    validation: int
    classes: int
    source: str


@dataclass(frozen=True)
class PlannedStep:
    """One step of a course: its networks (architectures as JSON), the lowest and the highest multiply-adds."""

    step: int
    networks: tuple[str, ...]
    macs: tuple[int, int]
    trainings: int


@dataclass(frozen=True)
class PlannedCourse:
    """One way that the search may go, with the multiply-adds of all its trainings."""

    name: str
    networks: int
    trainings: int
    training_macs: int
    steps: tuple[PlannedStep, ...]


@dataclass(frozen=True)
class PlannedNetwork:
    """A candidate: `trainings` are its seeds, `over` the limit that it breaks, `seconds` of one training (None where nothing was
    timed), `timed` whether it was timed itself."""

    architecture: str
    seconds: float | None
    timed: bool
    peak_bytes: float | None
    step: int = 0
    label: str = ""
    trainings: int = 1
    macs: int = 0
    params: int = 0
    activations: int = 0
    over: str = ""
    cpu_seconds: float | None = None


@dataclass(frozen=True)
class PlannedDisk:
    """Bytes: decoded clips (None where they are not known), weights that are kept, checkpoints while training."""

    cache: float | None
    weights: Range
    checkpoints: float


@dataclass(frozen=True)
class PlannedMemory:
    """Bytes that training on a batch of so many clips takes at least, by the smallest and the largest candidate, and those
    that are there."""

    batch: int
    needed: tuple[float, float]
    there: float
    where: str


@dataclass(frozen=True)
class FitTogether:
    """How many of the dearest candidate have room at once."""

    count: int
    where: str
    free_bytes: int


@dataclass(frozen=True)
class TimedBefore:
    """What was timed for the plan, in words; `error` is relative; the coefficients of the fits."""

    described: str
    error: float = 0.0
    slowed: float = 1.0
    training: tuple[float, ...] = ()
    validation: tuple[float, ...] = ()
    memory: tuple[float, ...] = ()
    batch: int = 0
    timed: int = 0
    start_seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """Everything that `expand plan` prints, and what sets it against a run later.

    Attributes:
        hours: until the search ends; None where nothing was timed.
        device_hours: of all trainings added up.
        peak_bytes: of the dearest candidate.
        dearest: its architecture as JSON.
    """

    study: StudyFacts
    videos: Videos
    workers: str
    training_macs: Range
    networks: tuple[PlannedNetwork, ...]
    hours: Range | None
    courses: tuple[PlannedCourse, ...] = ()
    trainings: Range = (0, 0, 0)
    over_limits: Range = (0, 0, 0)
    disk: PlannedDisk | None = None
    memory: PlannedMemory | None = None
    calibration: TimedBefore | None = None
    device_hours: Range | None = None
    peak_bytes: float | None = None
    dearest: str = ""
    fit_together: FitTogether | None = None


def read_plan(folder: Path) -> Plan | None:
    """plan.json of a run that was planned.

    Raises:
        UsageError: it is damaged.
    """
    try:
        return from_plain(read_json(folder / "plan.json"), Plan)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{folder}/plan.json cannot be read ({getattr(error, 'strerror', None) or error}): delete it, or make it again "
            "with --keep"
        ) from None


def write_plan(folder: Path, plan: Plan) -> Path:
    write_json(folder / "plan.json", to_plain(plan))
    return folder / "plan.json"
