"""Facts about one attempt to train a trial, and about its epochs. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """The cause of a failed training (`expand/search/faults.py` decides)."""

    OWN = "own"  # the candidate itself: another try would fail in the same way
    MEMORY = "memory"  # out of memory, because of the candidate or of other trials
    CRASH = "crash"  # a process died or a GPU stopped, because of the candidate or of something else
    SURROUNDINGS = "surroundings"  # disk, cache, GPU, node: any candidate would have failed there


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
    """A measurement of speed.

    Attributes:
        ms: median time of one batch of `batch` clips.
        ms_iqr: interquartile range over `repeats`.
        training: whether a whole training step was timed, or only inference.
        peak_bytes: peak memory; 0 if unknown.
    """

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
    """The tensors of a file of initial weights: how many matched, and the names of those that did not."""

    file: str
    layout: str
    matched: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True)
class InheritedWeights:
    """How a network began that started from the weights of a trial.

    Attributes:
        trial: its number.
        top1: of validation before any training, one centre clip per video.
        differences: why the network did not compute what its parent did, such as "frames 4 to 8"; empty if it did.
    """

    trial: int
    top1: float
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attempt:
    """Facts about one attempt to train a trial, besides its result. An unknown field has its default.

    Attributes:
        attempts: how often the trial was started, including this time.
        device: "cpu" or "cuda".
        threads: of torch.
        code: the hash of each definition that the network uses (`expand/source/fingerprint.py`).
        notes: remarks for the user.
        peak_bytes: peak memory of the training.
        cpu_seconds: processor time of the training; known only if there was one attempt.
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
    inherited: InheritedWeights | None = None
    node: str = ""


UNKNOWN = Attempt()


@dataclass(frozen=True)
class EndedTry:
    """The end of a try of a trial that was then tried again: when (ISO 8601), after how many epochs, by which error. `fault` is
    a `Fault`, or "failed" if `--retry-failed` opened the trial again."""

    time: str
    epochs: int
    fault: str
    error: str = ""
    traceback: str = ""
    node: str = ""
