"""plan.json of a run: its predicted cost (`expand/planning/plan.py` computes it)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from expand.storage.facts import StudyFacts
from expand.storage.serialize import read_file, write_json

Range = tuple[float, float, float]  # low, middle, high, over the trajectories of a search


@dataclass(frozen=True)
class Videos:
    """Numbers of training and validation videos and of classes; `source` says where the numbers are from."""

    training: int
    validation: int
    classes: int
    source: str


@dataclass(frozen=True)
class PlannedStep:
    """One step of a trajectory: its networks (architectures as JSON), the lowest and the highest multiply-adds."""

    step: int
    networks: tuple[str, ...]
    macs: tuple[int, int]
    trainings: int


@dataclass(frozen=True)
class PlannedTrajectory:
    """One trajectory of the search, with the multiply-adds of all its trainings."""

    name: str
    networks: int
    trainings: int
    training_macs: int
    steps: tuple[PlannedStep, ...]


@dataclass(frozen=True)
class PlannedNetwork:
    """A candidate: `trainings` is its number of seeds, `over` the limit that it exceeds, `seconds` the time of one training (None
    without timing), `timed` whether it was timed itself."""

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
    """Bytes: decoded clips (None if unknown), stored weights, checkpoints during training."""

    cache: float | None
    weights: Range
    checkpoints: float


@dataclass(frozen=True)
class PlannedMemory:
    """The least bytes for training on a batch of so many clips, of the smallest and the largest candidate, and the bytes of the
    machine or GPU."""

    batch: int
    needed: tuple[float, float]
    there: float
    where: str


@dataclass(frozen=True)
class FitTogether:
    """How many trainings of the most expensive candidate fit into memory at the same time."""

    count: int
    where: str
    free_bytes: int


@dataclass(frozen=True)
class TimedBefore:
    """A description of the timings, the relative `error`, and the coefficients of the fits."""

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
        hours: until the search ends; None without timing.
        device_hours: sum over all trainings.
        peak_bytes: of the most expensive candidate.
        courses: the simulated trajectories; plan.json has this key.
        dearest: the most expensive candidate's architecture as JSON; plan.json has this key.
    """

    study: StudyFacts
    videos: Videos
    workers: str
    training_macs: Range
    networks: tuple[PlannedNetwork, ...]
    hours: Range | None
    courses: tuple[PlannedTrajectory, ...] = ()
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
    return read_file(folder / "plan.json", Plan, remedy="delete it, or make it again with --keep")


def write_plan(folder: Path, plan: Plan) -> Path:
    write_json(folder / "plan.json", plan)
    return folder / "plan.json"
