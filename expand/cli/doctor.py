"""Whether this machine has what a search needs, each check with its remedy."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.text import Text

PACKAGES = ("torch", "optuna", "ray", "fvcore", "av", "pandas", "matplotlib", "safetensors", "optuna-dashboard")


@dataclass(frozen=True)
class Finding:
    """The result of one check. `level` is "ok", "note" (works, could be better) or "fault" (a search will not work)."""

    what: str
    level: str
    detail: str


def show(*, as_json: bool) -> bool:
    """Prints the findings; False if one is a fault."""
    findings = list(examine())
    if as_json:
        from expand.cli.listing import print_json

        print_json([asdict(finding) for finding in findings])
    else:
        console = Console()
        styles = {"ok": "green", "note": "yellow", "fault": "red"}
        for finding in findings:
            line = Text(f"{finding.level:>5}", style=styles[finding.level])
            line.append(f"  {finding.what}: {finding.detail}", style="default")
            console.print(line, soft_wrap=True)
    return all(finding.level != "fault" for finding in findings)


def examine() -> Iterator[Finding]:
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _packages,
        _devices,
        _kernels,
        _video,
        _places,
        _shared_memory,
    )
    for check in checks:
        try:
            yield from check()
        except Exception as error:
            yield Finding(check.__name__.strip("_"), "fault", f"{type(error).__name__}: {error}")


def _packages() -> Iterator[Finding]:
    yield Finding(
        "python", "ok" if sys.version_info >= (3, 11) else "fault", sys.version.split()[0] + " (3.11 or newer)"
    )
    for name in PACKAGES:
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            yield Finding(name, "fault", f"not installed: pip install {name}")


def _devices() -> Iterator[Finding]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("cores", "ok", f"{cores}; one worker per core by default")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        yield Finding("GPUs", "ok", ", ".join(names))
    elif torch.backends.mps.is_available():
        yield Finding("GPUs", "ok", "Apple MPS, for --workers 0")
    else:
        yield Finding("GPUs", "note", "none that this torch can use: demo scale fits CPUs, paper scale does not")


def _kernels() -> Iterator[Finding]:
    from expand.training.kernels.native import why_not

    missing = why_not()
    yield Finding(
        "CPU kernels", "note" if missing else "ok",
        f"{missing}: X3D trains on CPUs at about half the speed; install g++ or clang" if missing
        else "compiled for this machine, in the cache",
    )  # fmt: skip


def _video() -> Iterator[Finding]:
    import av

    h264 = "libx264" in av.codecs_available
    yield Finding("decoder", "ok", f"PyAV {av.__version__}")
    yield Finding(
        "encoder", "ok" if h264 else "note", "H.264" if h264 else "no H.264: the default clips will be MPEG-4"
    )


def _places() -> Iterator[Finding]:
    from expand.data.manifest import cache_root

    for what, place in (("working directory", Path.cwd()), ("cache (EXPAND_CACHE)", cache_root())):
        there = next(parent for parent in (place, *place.parents) if parent.exists())
        free = shutil.disk_usage(there).free / 1e9
        writable = os.access(there, os.W_OK)
        level = "fault" if not writable else "note" if free < 2 else "ok"
        yield Finding(what, level, f"{place}, {free:.1f} GB free{'' if writable else ', not writable'}")


def _shared_memory() -> Iterator[Finding]:
    place = Path("/dev/shm")
    if place.exists():
        size = shutil.disk_usage(place).total / 1e9
        remedy = "" if size > 0.2 else "; too small for Ray: docker run --shm-size=1g, or --workers 0"
        yield Finding("/dev/shm", "ok" if size > 0.2 else "note", f"{size:.1f} GB{remedy}")
