"""What a strategy suggests and its result: `Suggestion`, `Cost`, `Metrics`, `Trial`. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from expand.core.attempt import UNKNOWN, Attempt, Curve, EndedTry
from expand.core.space import Architecture

CONVENTION = "multiply-adds of conv and linear layers (as fvcore counts them), one clip at the training crop, one view"
PARAMS_CONVENTION = "all parameters; params_published leaves out biases and normalisation, as X3D's tables do"


class TrialState(StrEnum):
    """The state of a trial.

    `INFEASIBLE`: exceeds a limit known before training, never trained. `PAUSED`: stopped after `Suggestion.until`, may go on from
    its checkpoint. `PRUNED`: stopped early for good, or not trained because of what was predicted. Only `COMPLETE` trials,
    trained for all epochs of their study, may be on a front.
    """

    RUNNING = "running"
    PAUSED = "paused"
    COMPLETE = "complete"
    INFEASIBLE = "infeasible"
    PRUNED = "pruned"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        return self not in (TrialState.RUNNING, TrialState.PAUSED)


@dataclass(frozen=True)
class Suggestion:
    """What a strategy suggests to train, and why: an architecture, grown from `parent` (a trial's number) along `axes`.

    `axes` holds several axes if growing any of them gives the same network. `name` is the network's common name, such as
    "MC3".

    Attributes:
        epochs: the length of the learning rate's schedule, whatever `until` is.
        until: the epoch after which the training pauses; None trains all epochs. Suggesting the same network and seed with a
            later `until` lets it go on. 0 trains nothing: the network and what was predicted of it are recorded, as pruned.
        seen: how many results the strategy had when it suggested this; None for strategies that do not learn from results.
        predicted: mean and standard deviation of the top-1 that was expected of the finished training.
        inherit: number of the trial whose weights this training starts from; None starts from random weights.
    """

    architecture: Architecture
    epochs: int
    seed: int
    step: int = 0
    axes: tuple[str, ...] = ()
    parent: int | None = None
    kind: str = "expand"  # "start", "expand", "contract", "grid", "sample", "fixed", "guided", "evolved" or "grown"
    reason: str = ""
    name: str = ""
    until: int | None = None
    seen: int | None = None
    predicted: tuple[float, float] | None = None
    inherit: int | None = None

    @property
    def key(self) -> tuple[Architecture, int, int | None]:
        """What identifies a trial: no two trials of a run have the same network, seed and inherited weights."""
        return self.architecture, self.seed, self.inherit

    @property
    def last_epoch(self) -> int:
        """The epoch at which this training stops, for now or for good."""
        return self.epochs if self.until is None else min(self.until, self.epochs)


class RaceSeeds(tuple[int, ...]):
    """The seeds of a race: every network is trained with the first, and with others only while a choice is open."""

    __slots__ = ()


@dataclass(frozen=True)
class Cost:
    """The cost of one clip at the training crop, known before training.

    Attributes:
        macs: multiply-adds of convolutions and linear layers; one multiply-add counts as one (X3D, section 3: "FLOPs").
        params: all parameters.
        params_published: parameters without biases and normalisation, as X3D's tables print them.
        activations: output elements of all convolutions and linear layers (RegNet, section 3.2).
        input: one (C, T, H, W) per stream.
        fvcore_flops: fvcore's own total, which adds norms.
        buffer_bytes: the network's buffers (running statistics).
        training_bytes: what autograd saves for the backward pass of one clip, in float32. None is unknown: an older run, or a
            network that cannot be run in training mode on shapes.
        counter: which counter was used.
    """

    macs: int
    params: int
    params_published: int
    activations: int
    input: tuple[tuple[int, ...], ...]
    fvcore_flops: int | None = None
    buffer_bytes: int | None = None
    training_bytes: int | None = None
    counter: str = "fvcore"

    @property
    def gmacs(self) -> float:
        return self.macs / 1e9

    @property
    def flops(self) -> int:
        """Operations; a multiply-add counts as two."""
        return 2 * self.macs

    @property
    def weight_bytes(self) -> int:
        """Bytes of all parameters in float32 and of the buffers."""
        return 4 * self.params + (self.buffer_bytes or 0)


@dataclass(frozen=True)
class Metrics:
    """Validation results: fractions from 0 to 1 over `clips` videos.

    Each video's score is the mean softmax of `views` uniformly spaced centre clips.
    """

    top1: float
    top5: float
    loss: float
    clips: int
    views: int

    @property
    def standard_error(self) -> float:
        """Binomial standard error of `top1`: the noise of the finite validation split alone."""
        return (self.top1 * (1 - self.top1) / max(self.clips, 1)) ** 0.5


@dataclass(frozen=True)
class Trial:
    """One architecture trained once with one seed, as stored in the record."""

    number: int
    state: TrialState
    suggestion: Suggestion
    cost: Cost
    metrics: Metrics | None = None
    curve: Curve = ()
    train_seconds: float = 0.0
    started: str = ""
    ended: str = ""
    error: str = ""
    traceback: str = field(default="", compare=False)
    attempt: Attempt = field(default=UNKNOWN, compare=False)  # the last one
    retries: tuple[EndedTry, ...] = field(default=(), compare=False)
    interrupted: bool = field(default=False, compare=False)  # by a signal, and not resumed since

    @property
    def architecture(self) -> Architecture:
        return self.suggestion.architecture

    @property
    def attempts(self) -> int:
        return self.attempt.attempts

    @property
    def reached(self) -> int:
        """How many epochs it has been trained."""
        if self.state is TrialState.COMPLETE:
            return self.suggestion.epochs
        return self.curve[-1].epoch if self.curve else 0

    @property
    def label(self) -> str:
        """A short name for people: "step 3 depth", "MC3 seed 1"."""
        suggestion = self.suggestion
        if suggestion.inherit is not None:
            return f"grown from trial {suggestion.inherit} {'='.join(suggestion.axes)}".rstrip()
        if suggestion.name:
            return f"{suggestion.name} seed {suggestion.seed}"
        return f"step {suggestion.step} {'='.join(suggestion.axes) or suggestion.kind}"
