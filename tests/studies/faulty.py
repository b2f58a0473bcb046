"""The tiny study with networks that misbehave in the ways real ones do. `EXPAND_TEST_FAULT` says how:

kill-once   the process is killed with -9 in the second epoch of the first attempt at the network with more frames than the start
kill-always the same at every attempt
raise       that network's forward raises
nan         that network's output is not a number
hang        that network's forward never comes back, in its second epoch
"""

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tiny import study as tiny_study
from torch import nn

from search_spaces.x3d import X3D, X3DSpace

STEPS_AN_EPOCH = 3


class FaultyX3D(X3D):
    def __init__(self, *arguments, fault: str = "", flag: str = "", **keywords) -> None:
        super().__init__(*arguments, **keywords)
        self.fault, self.flag, self.calls = fault, flag, 0

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        logits = super().forward(clip)
        if not (self.training and torch.is_grad_enabled()):
            return logits
        self.calls += 1
        if self.fault == "raise":
            raise ArithmeticError("a fault in the model's code")
        if self.fault == "hang" and self.calls > STEPS_AN_EPOCH + 1:
            time.sleep(3600)
        if self.fault == "nan":
            return logits * float("nan")
        deadly = self.fault == "kill-always" or (self.fault == "kill-once" and not Path(self.flag).exists())
        if deadly and self.calls > STEPS_AN_EPOCH + 1:
            Path(self.flag).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return logits


@dataclass(frozen=True)
class FaultySpace(X3DSpace):
    fault: str = ""
    flag: str = ""

    def constructor(self, architecture, num_classes: int) -> tuple[type[nn.Module], dict]:
        _, arguments = super().constructor(architecture, num_classes)
        target = architecture["frames"] > self.frames
        return FaultyX3D, arguments | {"fault": self.fault if target else "", "flag": self.flag}


def study(scale: str = "demo"):
    base = tiny_study(scale)
    space = FaultySpace(
        frames=2, stride=2, resolution=16, width=0.2, depth=0.2,
        fault=os.environ["EXPAND_TEST_FAULT"], flag=os.environ["EXPAND_TEST_FLAG"],
    )  # fmt: skip
    return replace(base, space=space, budget=replace(base.budget, steps=1))
