"""How many trials run in parallel, and on which hardware."""

from __future__ import annotations

import os
from dataclasses import dataclass

from expand.core.errors import UsageError


@dataclass(frozen=True)
class Workers:
    """How many trials run in parallel, with which threads and GPUs. `count` 0 trains in this process, one trial at a time.

    `address` is a running Ray cluster's ("auto" finds one on this machine); without it a private one is started here.
    """

    count: int
    threads: int
    gpus_per_trial: float = 0.0
    address: str | None = None

    def described(self) -> str:
        if self.count == 0:
            return f"in this process, {self.threads} threads"
        gpus = f", {self.gpus_per_trial:g} GPU each" if self.gpus_per_trial else ""
        return f"{self.count} Ray worker{'s' if self.count > 1 else ''} of {self.threads} threads{gpus}"


def plan_workers(count: int | None, gpus_per_trial: float | None, address: str | None = None) -> Workers:
    """Fills in missing options: one worker per GPU, or else per core. Cores are divided among the workers.

    Raises:
        UsageError: a GPU is requested but there is none, or a number is impossible.
    """
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    here = torch.cuda.device_count()
    if count is not None and count < 0:
        raise UsageError(f"--workers {count}: 0 trains in this process, 1 or more start Ray")
    if gpus_per_trial is not None and not (
        0 <= gpus_per_trial <= 1 or (gpus_per_trial > 1 and gpus_per_trial % 1 == 0)
    ):
        raise UsageError(f"--gpus-per-trial {gpus_per_trial:g}: a share of one GPU (0 to 1), or whole GPUs")
    if address is None and gpus_per_trial and gpus_per_trial > here:
        raise UsageError(f"--gpus-per-trial {gpus_per_trial:g}: this machine has {here} GPUs; omit the option")
    if count is None:
        count = _fit(here, gpus_per_trial or 1) if here else min(cores, 6)
    if gpus_per_trial is None:
        gpus_per_trial = 1 / max(1, -(-count // here)) if here and address is None else 0.0
    if address is None and gpus_per_trial and (fit := _fit(here, gpus_per_trial)) < count:
        raise UsageError(
            f"--workers {count} with --gpus-per-trial {gpus_per_trial:g}: {fit} fit on this machine's {here} GPUs; "
            "a share is always a part of one GPU"
        )
    return Workers(count, max(1, cores // max(count, 1)), gpus_per_trial, address)


def _fit(gpus: int, each: float) -> int:
    """How many trials fit at the same time. A share is a part of a single GPU, so 0.3 fits three times on each."""
    return gpus * int(1 / each + 1e-6) if each <= 1 else gpus // int(each)
