"""The state of a running training, all of which is in its checkpoints: a resumed training equals an uninterrupted one."""

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

SECONDS_BETWEEN_CHECKPOINTS = 600.0  # within an epoch: the most work that a kill can lose
SECONDS_BETWEEN_CHECKS = 1.0  # of the losses within an epoch, because each check waits for the GPU


class NonFiniteLoss(ExpandError):
    """A loss was NaN or infinite."""


@dataclass
class State:
    """The state of a training.

    Attributes:
        average: moving average of the weights; None if the recipe has none.
        steps: batches done in the current epoch.
        total: sum of the checked losses of the current epoch over clips.
        seen: clips in `total`.
        seconds: spent on the current epoch by earlier processes.
        waiting: losses that are not checked yet, with their numbers of clips.
    """

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
    _checked: float = 0.0

    @property
    def validated(self) -> nn.Module:
        """The network that is validated: the averaged one if there is one."""
        return self.network if self.average is None else self.average.network

    @property
    def loss(self) -> float:
        """Mean loss over the clips of the current epoch whose losses were checked."""
        return self.total / max(self.seen, 1)

    def start_clock(self) -> None:
        self._since = self._saved = time.perf_counter()

    def elapsed(self) -> float:
        """Seconds spent on the current epoch."""
        return self.seconds + time.perf_counter() - self._since

    def end_step(self, loss: torch.Tensor, clips: int) -> None:
        """Counts one batch; checks the losses and writes a checkpoint if the last time was long enough ago.

        Raises:
            NonFiniteLoss: see `check_losses`.
        """
        if self.average is not None:
            self.average.update(self.network)
        self.steps += 1
        self.waiting.append((loss, clips))
        now = time.perf_counter()
        if now - self._checked >= SECONDS_BETWEEN_CHECKS:
            self.check_losses()
        if now - self._saved >= SECONDS_BETWEEN_CHECKPOINTS:
            self.save()

    def check_losses(self) -> None:
        """Adds the waiting losses to the sum; waits until the GPU has computed them.

        Raises:
            NonFiniteLoss: a loss is not finite; the error names the first such step.
        """
        waiting, self.waiting, self._checked = self.waiting, [], time.perf_counter()
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
        """Checks the losses, then writes a checkpoint.

        Raises:
            NonFiniteLoss: see `check_losses`.
        """
        self.check_losses()
        checkpoint.save(self.path, {
            "network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(), "average": None if self.average is None else self.average.state_dict(),
            "curve": [to_plain(entry) for entry in self.curve], "metrics": to_plain(self.metrics),
            "steps": self.steps, "total": self.total, "seen": self.seen, "seconds": self.elapsed(),
            "identity": self.identity.text(),
        })  # fmt: skip
        self._saved = time.perf_counter()

    def restore(self, note: Callable[[str], None]) -> None:
        """Resumes from the newest intact checkpoint of this training; `note` gets a line about each that was not used."""
        saved, damage = checkpoint.load_latest(self.path)
        if damage:
            note(damage)
        if saved is None:
            return
        if not self.identity.has(saved["identity"]):
            return note(f"{self.path} belongs to another training and was not used")
        self.network.load_state_dict(saved["network"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.scaler.load_state_dict(saved["scaler"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        self.curve = tuple(from_plain(entry, Epoch) for entry in saved["curve"])
        self.metrics = from_plain(saved["metrics"], Metrics) if saved["metrics"] else None
        self.steps, self.total, self.seen, self.seconds = (saved[k] for k in ("steps", "total", "seen", "seconds"))
