"""The device a candidate trains on, chosen by itself: CUDA, then MPS, then CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def pick_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def autocast(device: torch.device, *, wanted: bool) -> AbstractContextManager[object]:
    """Mixed precision on CUDA only: bfloat16 is slower than float32 on CPUs."""
    if wanted and device.type == "cuda":
        return torch.autocast("cuda", dtype=amp_dtype())
    return nullcontext()


def amp_dtype() -> torch.dtype:
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def seed_everything(seed: int) -> None:
    """The same seed on the same machine gives the same numbers; on CUDA that rules out cuDNN's self-tuning."""
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
