"""What is asked for and what came of it: `Suggestion`, `Cost`, `Metrics`, `Trial`. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from expand.core.attempt import UNKNOWN, Attempt, Curve, EndedTry
from expand.core.space import Architecture

CONVENTION = "multiply-adds of conv and linear layers (as fvcore counts them), one clip at the training crop, one view"
PARAMS_CONVENTION = "all parameters; params_published leaves out biases and normalisation, as X3D's tables do"


class TrialState(StrEnum):
    """`INFEASIBLE`: over a limit known before training, never trained. `PRUNED`: stopped early. Only `COMPLETE` trials,
    trained to the full budget of their study, may stand on a front."""

    RUNNING = "running"
    COMPLETE = "complete"
    INFEASIBLE = "infeasible"
    PRUNED = "pruned"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        return self is not TrialState.RUNNING


@dataclass(frozen=True)
class Suggestion:
    """A strategy's wish: train this architecture, grown from `parent` (a trial's number) along `axes`, and why.

    `axes` names more than one axis where growing either gives the same network. `name` is what people call the network
    where it has a name, such as "MC3".
    """

    architecture: Architecture
    epochs: int
    seed: int
    step: int = 0
    axes: tuple[str, ...] = ()
    parent: int | None = None
    kind: str = "expand"  # "start", "expand", "contract", "grid", "sample" or "fixed"
    reason: str = ""
    name: str = ""


@dataclass(frozen=True)
class Cost:
    """What one clip costs at the training crop, known before training.

    `macs` are multiply-adds of convolutions and linear layers (one multiply-add is one; X3D, section 3: "FLOPs").
    `params` are all parameters; `params_published` leaves out biases and normalisation, which is what X3D's tables
    print. `activations` are the elements of all convolution and linear outputs (RegNet, section 3.2). `input` is one
    (C, T, H, W) a stream. `fvcore_flops` is fvcore's own total, which adds norms. `buffer_bytes` are the network's buffers
    (running statistics), `training_bytes` what autograd keeps of one clip for the backward pass, in float32. None is unknown:
    a run recorded before these were counted, a network that cannot be run in training mode on shapes. `counter` says
    which counter counted.
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
        """A multiply-add as two operations."""
        return 2 * self.macs

    @property
    def weight_bytes(self) -> int:
        """All parameters in float32, and the buffers."""
        return 4 * self.params + (self.buffer_bytes or 0)


@dataclass(frozen=True)
class Metrics:
    """What validation said: fractions from 0 to 1 over `clips` videos, each scored by the mean softmax of `views`
    uniformly spaced centre clips."""

    top1: float
    top5: float
    loss: float
    clips: int
    views: int

    @property
    def standard_error(self) -> float:
        """Binomial standard error of `top1`: the noise that the finite validation split alone brings."""
        return (self.top1 * (1 - self.top1) / max(self.clips, 1)) ** 0.5


@dataclass(frozen=True)
class Trial:
    """One architecture trained once with one seed, as the record knows it."""

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
    interrupted: bool = field(default=False, compare=False)  # by a signal, and not taken up since

    @property
    def architecture(self) -> Architecture:
        return self.suggestion.architecture

    @property
    def attempts(self) -> int:
        return self.attempt.attempts

    @property
    def label(self) -> str:
        """How people call it: "step 3 depth", "MC3 seed 1"."""
        wish = self.suggestion
        return f"{wish.name} seed {wish.seed}" if wish.name else f"step {wish.step} {'='.join(wish.axes) or wish.kind}"
