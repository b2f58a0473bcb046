"""The tiny study with networks that misbehave in the ways real ones do. `EXPAND_TEST_FAULT` says how:

kill-once   the process is killed with -9 in the second epoch of the first attempt at the network with more frames than the start
kill-always the same in the first epoch of every attempt
kill-loader the processes that load its clips are killed with -9, once
hog         that network's forward takes ever more memory, in the first epoch of every attempt
oserror     that network's forward raises an OSError on the first node of Ray that it sees, at every attempt there
raise       that network's forward raises, until the flag exists
nan         that network's output is not a number
hang        that network's forward never comes back, in its second epoch
"""

import multiprocessing
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
        if self.fault == "raise" and not Path(self.flag).exists():
            raise ArithmeticError("a fault in the model's code")
        if self.fault == "hang" and self.calls > STEPS_AN_EPOCH + 1:
            time.sleep(3600)
        if self.fault == "nan":
            return logits * float("nan")
        if self.calls <= 2:  # the network may only be counted, in the driver
            return logits
        if self.fault == "hog":
            hog()
        if self.fault == "oserror":
            self.fail_on_one_node()
        first, late = not Path(self.flag).exists(), self.calls > STEPS_AN_EPOCH + 1
        if self.fault == "kill-loader" and first:
            Path(self.flag).touch()
            for process in multiprocessing.active_children():
                os.kill(process.pid, signal.SIGKILL)
        if self.fault == "kill-always" or (self.fault == "kill-once" and first and late):
            Path(self.flag).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return logits

    def fail_on_one_node(self) -> None:
        import ray

        here, broken = ray.get_runtime_context().get_node_id(), Path(self.flag)
        if not broken.exists():
            broken.write_text(here)
        if broken.read_text() == here:
            raise OSError(116, "Stale file handle")


def hog() -> None:
    """Up to 6 GiB in steps of 64 MiB, then a while with all of it."""
    taken = [torch.ones(2**24) for _ in range(96) if time.sleep(0.02) is None]
    time.sleep(10)
    del taken


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
