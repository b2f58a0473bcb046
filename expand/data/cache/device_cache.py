"""A split's clips in the memory of one device, for data sets that fit: nothing is copied during training.

Tested on a CPU; it has not been run on CUDA.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import psutil
import torch

if TYPE_CHECKING:
    from expand.data.cache.clip_cache import ClipCache


class DeviceClips:
    """A `ClipCache` whose frames are torch tensors on `device`: views of one uint8 tensor."""

    def __init__(self, cache: ClipCache, device: torch.device) -> None:
        self.cache, self.device = cache, device
        self.classes, self.labels, self.names, self.fps = cache.classes, cache.labels, cache.names, cache.fps
        self._starts = np.cumsum([0] + [int(np.prod(cache.shape(index))) for index in range(len(cache))]).tolist()
        self._frames = torch.empty(self._starts[-1], dtype=torch.uint8, device=device)
        for index in range(len(cache)):
            clip = torch.from_numpy(np.array(cache.frames(index)))  # a copy, because torch warns about read-only arrays
            self.frames(index).copy_(clip)

    def __len__(self) -> int:
        return len(self.cache)

    def length(self, index: int) -> int:
        """The number of frames of clip `index`."""
        return self.cache.length(index)

    def frames(self, index: int) -> torch.Tensor:
        """Clip `index` as uint8 (T, H, W, 3), a view."""
        return self._frames[self._starts[index] : self._starts[index + 1]].view(self.cache.shape(index))

    def picked(self, index: int, indices: Sequence[int] | np.ndarray | torch.Tensor) -> torch.Tensor:
        """The frames `indices` of clip `index`, uint8 (len(indices), H, W, 3), a copy."""
        return self.frames(index)[torch.as_tensor(indices, device=self.device)]


def cache_on_device(cache: ClipCache, device: torch.device | str, *, share: float = 0.5) -> DeviceClips | None:
    """Copies all clips to a device; None if they need more than this share of its free memory."""
    device = torch.device(device)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    return DeviceClips(cache, device) if cache.nbytes <= share * free else None
