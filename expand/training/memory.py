"""Measures the peak memory of a `with` block, beyond the memory in use before it.

On CUDA it is torch's own count (`max_memory_allocated`). On Linux without CUDA it is the growth of the process's anonymous
resident memory, sampled every few milliseconds; mapped clips and libraries, which several workers share, are not included.
Before the block the C library returns free memory to the system, because reusing it would not be seen. On other systems `bytes`
stays 0.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import re
import threading
from pathlib import Path

import torch
from torch import nn

SECONDS_BETWEEN_SAMPLES = 0.02
_STATUS = Path("/proc/self/status")


class PeakMemory:
    """`with PeakMemory(device) as peak: ...`, then `peak.bytes`."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.bytes = device, 0
        self._end = threading.Event()
        self._watcher: threading.Thread | None = None

    def __enter__(self) -> PeakMemory:
        _settle()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        elif _STATUS.exists():
            with contextlib.suppress(OSError, AttributeError):  # not glibc
                ctypes.CDLL(None).malloc_trim(0)
            self._before = anonymous_bytes()
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self.device) - self._before
        elif self._watcher is not None:
            self._end.set()
            self._watcher.join()
            self.bytes = max(self.bytes, anonymous_bytes() - self._before)

    def _watch(self) -> None:
        while not self._end.wait(SECONDS_BETWEEN_SAMPLES):
            self.bytes = max(self.bytes, anonymous_bytes() - self._before)


@functools.cache
def _settle() -> None:
    """Runs a first optimiser step and convolution, for which torch loads 70 MB once per process: they must not count for a
    network. The random state is restored, so that the training that follows does not change."""
    with torch.random.fork_rng(devices=[]):
        layer = nn.Sequential(nn.Conv3d(3, 8, 3), nn.BatchNorm3d(8), nn.Conv3d(8, 8, 3, groups=8))
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    layer(torch.zeros(2, 3, 5, 8, 8)).sum().backward()
    optimiser.step()


def anonymous_bytes() -> int:
    """Resident memory of this process that is not mapped from a file."""
    found = re.search(r"RssAnon:\s+(\d+) kB", _STATUS.read_text())
    return int(found.group(1)) * 1024 if found else 0
