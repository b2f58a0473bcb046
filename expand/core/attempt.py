"""What is known of one attempt to train a trial, and of its epochs. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """Whose fault it is that a candidate could not be trained (`expand/search/faults.py` decides)."""

    OWN = "own"  # the candidate's: another try would end the same way
    MEMORY = "memory"  # out of memory: the candidate's need, or that of what runs beside it
    CRASH = "crash"  # a process died, a GPU stopped: the candidate's doing, or somebody else's
    SURROUNDINGS = "surroundings"  # disk, cache, GPU, node: whatever was trained there would have failed


@dataclass(frozen=True)
class Epoch:
    """One entry of a learning curve.

    Attributes:
        epoch: counted from 1.
        loss: mean training loss of the epoch.
        top1: of validation, from 0 to 1, with `views` clips per video.
        val_loss: mean validation loss; None in runs that did not record it.
        learning_rate: of the last step; None in runs that did not record it.
        seconds: training and validation together.
    """

    epoch: int
    loss: float
    top1: float
    val_loss: float | None = None
    views: int = 1
    learning_rate: float | None = None
    seconds: float = 0.0


Curve = tuple[Epoch, ...]


@dataclass(frozen=True)
class Speed:
    """`ms` is the median time of one batch of `batch` clips, `ms_iqr` the interquartile range over `repeats`; `training` says
    whether that is a whole training step or inference. `peak_bytes` is 0 where nobody can tell."""

    ms: float
    ms_iqr: float
    training: bool
    batch: int
    threads: int
    repeats: int
    precision: str
    device: str
    peak_bytes: int

    @property
    def ms_a_clip(self) -> float:
        return self.ms / self.batch

    @property
    def clips_a_second(self) -> float:
        return 1000 * self.batch / self.ms


@dataclass(frozen=True)
class InitialWeights:
    """Which tensors of a file a training started from: how many matched, and the names of those that did not."""

    file: str
    layout: str
    matched: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attempt:
    """What is known of one attempt to train a trial, beside its result. A field is at its default where it is not known.

    Attributes:
        attempts: how often the trial was started, this time included.
        device: "cpu" or "cuda".
        threads: of torch.
        code: the hash of each definition that the network is made of (`expand/source/fingerprint.py`).
        notes: remarks for the person who watches.
        peak_bytes: peak memory of the training.
        cpu_seconds: of the training's process; known only where there was one attempt.
        speed: the latency that was measured before training.
        node: Ray's name of the machine.
    """

    attempts: int = 1
    device: str = ""
    threads: int | None = None
    code: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()
    peak_bytes: int = 0
    cpu_seconds: float = 0.0
    speed: Speed | None = None
    initial_weights: InitialWeights | None = None
    node: str = ""


UNKNOWN = Attempt()


@dataclass(frozen=True)
class EndedTry:
    """How one try of a trial ended that was then tried again: when (ISO 8601), after how many epochs, by what. `fault` is
    a `Fault`, or "failed" where `--retry-failed` opened it again."""

    time: str
    epochs: int
    fault: str
    error: str = ""
    traceback: str = ""
    node: str = ""
