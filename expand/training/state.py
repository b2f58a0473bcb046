"""A training under way: all that a checkpoint holds, so that going on from one is the same as never having stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from expand.core.attempt import Curve, Epoch
from expand.core.errors import ExpandError
from expand.core.trial import Metrics
from expand.storage.serialize import from_plain, to_plain
from expand.training import checkpoint
from expand.training.ema import AveragedWeights
from expand.training.identity import Identity

SECONDS_BETWEEN_CHECKPOINTS = 600.0  # within an epoch: what a kill can cost, at most
SECONDS_BETWEEN_LOOKS = 1.0  # at the losses of an epoch: a GPU is waited for no more often


class NonFiniteLoss(ExpandError):
    """Training went to NaN or infinity."""


@dataclass
class State:
    """`steps`, `total`, `seen` and `seconds` are of the epoch under way: batches done, the sum of their clips' losses, their
    clips, and the time they took, in whatever processes. `waiting` holds losses not yet looked at, with their clips."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: AveragedWeights | None
    path: Path
    identity: Identity
    curve: Curve = ()
    metrics: Metrics | None = None
    steps: int = 0
    total: float = 0.0
    seen: int = 0
    seconds: float = 0.0
    waiting: list[tuple[torch.Tensor, int]] = field(default_factory=list)
    _since: float = 0.0
    _saved: float = 0.0
    _looked: float = 0.0

    @property
    def validated(self) -> nn.Module:
        """The network whose accuracy counts: the average where there is one."""
        return self.network if self.average is None else self.average.network

    @property
    def loss(self) -> float:
        """The mean over the epoch's clips, as far as losses were looked at."""
        return self.total / max(self.seen, 1)

    def start_clock(self) -> None:
        self._since = self._saved = time.perf_counter()

    def elapsed(self) -> float:
        """Seconds spent on the epoch under way."""
        return self.seconds + time.perf_counter() - self._since

    def took_step(self, loss: torch.Tensor, clips: int) -> None:
        """One batch is through. Losses are looked at where that was long ago; a checkpoint where the last one is old.

        Raises:
            NonFiniteLoss: see `look`.
        """
        if self.average is not None:
            self.average.update(self.network)
        self.steps += 1
        self.waiting.append((loss, clips))
        now = time.perf_counter()
        if now - self._looked >= SECONDS_BETWEEN_LOOKS:
            self.look()
        if now - self._saved >= SECONDS_BETWEEN_CHECKPOINTS:
            self.save()

    def look(self) -> None:
        """Adds up the losses that wait, for which a GPU has to finish its work.

        Raises:
            NonFiniteLoss: one is not finite; names the first such step.
        """
        waiting, self.waiting, self._looked = self.waiting, [], time.perf_counter()
        values = torch.stack([loss for loss, _ in waiting]).tolist() if waiting else []
        for step, (value, (_, clips)) in enumerate(
            zip(values, waiting, strict=True), start=self.steps - len(waiting) + 1
        ):
            if not math.isfinite(value):
                raise NonFiniteLoss(f"non-finite loss ({value}) at step {step} of epoch {len(self.curve) + 1}")
            self.total, self.seen = self.total + value * clips, self.seen + clips

    def end_epoch(self, entry: Epoch, metrics: Metrics) -> None:
        self.curve = (*self.curve, entry)
        self.metrics = metrics
        self.steps, self.total, self.seen, self.seconds = 0, 0.0, 0, 0.0
        self.start_clock()
        self.save()

    def save(self) -> None:
        """Writes a checkpoint, of a training whose losses were all finite.

        Raises:
            NonFiniteLoss: see `look`.
        """
        self.look()
        checkpoint.save(self.path, {
            "network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(), "average": None if self.average is None else self.average.state_dict(),
            "curve": [to_plain(entry) for entry in self.curve], "metrics": to_plain(self.metrics),
            "steps": self.steps, "total": self.total, "seen": self.seen, "seconds": self.elapsed(),
            "identity": self.identity.text(),
        })  # fmt: skip
        self._saved = time.perf_counter()

    def restore(self, note: Callable[[str], None]) -> None:
        """Goes on from the newest whole checkpoint of this training; `note` hears about those that were not used."""
        saved, damage = checkpoint.load_latest(self.path)
        if damage:
            note(damage)
        if saved is None:
            return
        if not self.identity.has(saved["identity"]):
            return note(f"{self.path} is of another training and was not used")
        self.network.load_state_dict(saved["network"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.scaler.load_state_dict(saved["scaler"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        self.curve = tuple(from_plain(entry, Epoch) for entry in saved["curve"])
        self.metrics = from_plain(saved["metrics"], Metrics) if saved["metrics"] else None
        self.steps, self.total, self.seen, self.seconds = (saved[k] for k in ("steps", "total", "seen", "seconds"))
