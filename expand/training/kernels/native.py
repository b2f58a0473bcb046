"""Our C++ kernels (`kernels.cpp`): compiled once for this machine, when they are first needed, and kept in the cache.

They have a C interface and need neither Python nor torch to be compiled, so this takes two seconds. Without a compiler
everything works with torch's own operators, slower; `expand doctor` says so.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch

from expand.core.atomic import appearing, locked
from expand.core.errors import Unavailable
from expand.data.manifest import cache_root

SOURCE = Path(__file__).with_name("kernels.cpp")
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC")
# The first that the compiler takes: for exactly this processor and with threads, then with less.
MORE_FLAGS = (("-march=native", "-fopenmp"), ("-mcpu=native", "-fopenmp"), ("-fopenmp",), ())
SECONDS = 120  # the longest compilation


class Shape(ctypes.Structure):
    """The sizes of a convolution, as in `kernels.cpp`."""

    _fields_ = (
        ("clips", ctypes.c_int64), ("channels", ctypes.c_int64), ("size_in", ctypes.c_int64 * 3),
        ("size_out", ctypes.c_int64 * 3), ("kernel", ctypes.c_int64 * 3), ("stride", ctypes.c_int64 * 3),
        ("padding", ctypes.c_int64 * 3),
    )  # fmt: skip


@functools.cache
def kernels() -> ctypes.CDLL | None:
    """The compiled kernels; None where they cannot be had."""
    try:
        return _load()
    except Unavailable:
        return None


def why_not() -> str:
    """Why there are no kernels; empty if there are."""
    try:
        _load()
    except Unavailable as error:
        return str(error)
    return ""


def _load() -> ctypes.CDLL:
    """
    Raises:
        Unavailable: there is no compiler, or it failed.
    """
    compiler = os.environ.get("CXX") or next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
    if compiler is None:
        raise Unavailable("no C++ compiler (c++, g++, clang++ or $CXX)")
    path = cache_root() / "kernels" / f"{_fingerprint(compiler)}.so"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with locked(path.with_suffix(".lock")):  # several workers start at once
                if not path.exists():
                    _compile(compiler, path)
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise Unavailable(f"the kernels in {path.parent} cannot be written or loaded ({error})") from error
    pointers = [ctypes.POINTER(Shape), *[ctypes.c_void_p] * 3, ctypes.c_int]
    for name in ("expand_depthwise_for_input", "expand_depthwise_for_weight"):
        function = getattr(library, name)
        function.argtypes, function.restype = pointers, None
    return library


def _fingerprint(compiler: str) -> str:
    """Of source, compiler and processor: a cache may be shared by different machines."""
    facts = [SOURCE.read_text(), str(FLAGS), str(MORE_FLAGS), compiler, platform.platform(), platform.machine()]
    processor = Path("/proc/cpuinfo")
    if processor.exists():
        lines = processor.read_text().splitlines()
        facts += [line for line in lines if line.startswith(("model name", "flags", "Features"))][:2]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:24]


def _compile(compiler: str, path: Path) -> None:
    for number, more in enumerate(MORE_FLAGS, start=1):
        try:
            with appearing(path) as partial:
                _run([compiler, *FLAGS, *more, "-o", str(partial), str(SOURCE)])
            return
        except Unavailable:
            if number == len(MORE_FLAGS):
                raise


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{command[0]} cannot compile the kernels: {error}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise Unavailable(f"{command[0]} cannot compile the kernels: {lines[0]}")


def sizes(x: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> Shape:
    """The sizes of the convolution of an (N, C, T, H, W) tensor, with "same" padding."""
    clips, channels, *size = x
    padding = [taps // 2 for taps in kernel]
    out = [(size[axis] + 2 * padding[axis] - kernel[axis]) // stride[axis] + 1 for axis in range(3)]
    triple = ctypes.c_int64 * 3
    return Shape(clips, channels, triple(*size), triple(*out), triple(*kernel), triple(*stride), triple(*padding))


def call(name: str, shape: Shape, *tensors: torch.Tensor) -> None:
    """Calls a kernel with as many threads as torch uses.

    Args:
        tensors: float32 on the CPU, in the memory layout that the kernel expects.
    """
    library = kernels()
    assert library is not None, "asked for only where `kernels` has them"
    pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors)
    getattr(library, name)(ctypes.byref(shape), *pointers, torch.get_num_threads())
