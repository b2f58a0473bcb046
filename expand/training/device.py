"""The device a candidate trains on, chosen by itself: CUDA, then MPS, then CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

MIXED = ("cuda",)  # where mixed precision pays: on CPUs bfloat16 is slower than float32
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}  # by the number of dimensions


def pick_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def autocast(device: torch.device, *, wanted: bool) -> AbstractContextManager[object]:
    """Mixed precision where it is wanted and pays."""
    if wanted and device.type in MIXED:
        return torch.autocast(device.type, dtype=amp_dtype())
    return nullcontext()


def amp_dtype() -> torch.dtype:
    """bfloat16 where the GPU computes in it. GPUs before Ampere only emulate it, slower than float32."""
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def put(network: nn.Module, device: torch.device) -> None:
    """Moves a network to a device, its tensors as `as_trained` lays them out."""
    network.to(device)
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = as_trained(tensor.data, device)


def as_trained(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """On the device, images and clips with channels last, which decides the speed of channel-wise 3D convolutions (a whole
    step is 1.7 times as fast on CPU); MPS has no such kernels."""
    layout = torch.contiguous_format if device.type == "mps" else _CHANNELS_LAST.get(tensor.ndim, torch.preserve_format)
    return tensor.to(device, non_blocking=True, memory_format=layout)


def seed_everything(seed: int) -> None:
    """On a CPU the same seed and the same number of threads give the same numbers on the same machine. On CUDA cuDNN is kept to
    deterministic algorithms and does not tune itself, but torch has operators without one (the backward passes of 3D max
    pooling and adaptive pooling add up in any order), so that two trainings may differ in the last digits."""
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
