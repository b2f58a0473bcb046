"""What a study will cost, before anything is launched: networks, multiply-adds, hours, memory, disk.

The search is played through with the strategy itself, its candidates' accuracies being made up. A grid or a sample has one
course. A stepwise expansion has many, so several are played: the cheapest candidate of each step wins, the dearest, and for
each axis that one whenever it is on offer. Whatever wins, a step costs about twice the one before, so that they lie close
together; the plan gives their range.

Hours come from timing a few real training steps (`calibrate.py`); without that there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from expand.config.serialize import describe
from expand.core.study import Study
from expand.planning.trajectories import Course, Network, Videos, clips_seen
from expand.search.memory_check import least_bytes, memory_here

if TYPE_CHECKING:
    from expand.planning.calibration import Calibration
    from expand.search.worker_plan import Workers

RAY_SECONDS = 6.0  # until a private cluster is there (two cores)
PROCESS_BYTES = 400e6  # a worker process with torch and Ray, before it trains anything
CUDA_CONTEXT_BYTES = 600e6


# --- what it comes to ------------------------------------------------------------------------------------------------


def training_macs(network: Network, study: Study, videos: Videos) -> int:
    """Multiply-adds of all trainings of a network: a training step is three forward passes (RegNet and others count so)."""
    learned, validated = clips_seen(study, network.epochs, videos)
    return network.trainings * network.cost.macs * (3 * learned + validated)


def wall_seconds(course: Course, seconds: Callable[[Network], float], workers: int) -> float:
    """How long workers take over a course: a step begins when the one before has ended, the longest trainings first."""
    steps: dict[int, list[float]] = {}
    for network in course.trained:  # the start trains together with the first step
        steps.setdefault(max(network.step, 1), []).extend([seconds(network)] * network.trainings)
    total = 0.0
    for trainings in steps.values():
        busy = [0.0] * max(workers, 1)
        for one in sorted(trainings, reverse=True):
            busy[busy.index(min(busy))] += one
        total += max(busy)
    return total


@dataclass(frozen=True)
class Range:
    """Between which values a figure lies, and the one in the middle of the courses."""

    low: float
    middle: float
    high: float

    def plain(self) -> list[float]:
        return [self.low, self.middle, self.high]


def range_of(values: Sequence[float], error: float = 0.0, slowed: float = 1.0) -> Range:
    """Over courses; `error` is relative and widens it. The lower end is without what slows everything down."""
    return Range(min(values) * (1 - error) / slowed, (min(values) + max(values)) / 2, max(values) * (1 + error))


def make_plan(
    study: Study,
    found: Sequence[Course],
    videos: Videos,
    workers: Workers,
    calibration: Calibration | None,
    *,
    cache_bytes: float | None = None,
) -> dict[str, Any]:
    """plan.json: everything that is printed, and what sets it against a run later. Ranges are [low, middle, high]."""
    networks = distinct(found)
    memory = memory_here()
    needed = [least_bytes(n.cost, study, videos.training, halved=memory.cuda) for n in networks if not n.over] or [0.0]
    macs = [sum(training_macs(network, study, videos) for network in course.trained) for course in found]
    plan: dict[str, Any] = {
        "study": describe(study), "videos": asdict(videos), "workers": workers.described(), "courses": [
            {
                "name": course.name, "networks": len(course.networks), "trainings": course.trainings, "training_macs": total,
                "steps": _steps(course),
            }
            for course, total in zip(found, macs, strict=True)
        ],
        "trainings": range_of([course.trainings for course in found]).plain(),
        "over_limits": range_of([len(course.networks) - len(course.trained) for course in found]).plain(),
        "training_macs": range_of(macs).plain(),
        "disk": _disk(study, found, workers, cache_bytes),
        "memory": {
            "batch": min(study.recipe.batch_size, videos.training), "needed": [min(needed), max(needed)],
            "there": memory.bytes, "where": memory.where,
        },
        "calibration": None, "hours": None, "device_hours": None, "peak_bytes": None,
    }  # fmt: skip

    def seconds(network: Network) -> float:
        assert calibration is not None
        return calibration.seconds(network.architecture, network.cost, network.epochs, study, videos)

    if calibration is not None:
        batch = study.recipe.batch_size
        device = [sum(seconds(n) * n.trainings for n in course.trained) / 3600 for course in found]
        start = calibration.start_seconds + (RAY_SECONDS if workers.count else 0.0)
        wall = [(wall_seconds(course, seconds, workers.count) + start) / 3600 for course in found]
        peaks = {n.architecture: calibration.peak_bytes(n.architecture, n.cost, batch) for n in networks if not n.over}
        dearest = max(peaks, key=lambda architecture: peaks[architecture], default=None)
        plan |= {
            "hours": range_of(wall, calibration.error, calibration.slowed).plain(),
            "device_hours": range_of(device, calibration.error, calibration.slowed).plain(),
            "peak_bytes": peaks[dearest] if dearest else 0,
            "dearest": dearest.to_json() if dearest else "",
            "fit_together": _fit_together(peaks[dearest], workers) if dearest else None,
            "calibration": {
                "described": calibration.described(), "error": calibration.error, "slowed": calibration.slowed,
                "training": list(calibration.training),
                "validation": list(calibration.validation), "memory": list(calibration.memory), "batch": batch,
                "timed": len(calibration.timings), "start_seconds": round(start, 1),
            },
        }  # fmt: skip
    plan["networks"] = [
        {
            "architecture": n.architecture.to_json(), "step": n.step, "label": n.label, "trainings": n.trainings,
            "macs": n.cost.macs, "params": n.cost.params, "activations": n.cost.activations, "over": n.over,
            "seconds": seconds(n) if calibration else None,
            "cpu_seconds": calibration.cpu_seconds(n.architecture, n.epochs, study, videos) if calibration else None,
            "timed": calibration is not None and n.architecture in calibration.timings,
            "peak_bytes": calibration.peak_bytes(n.architecture, n.cost, study.recipe.batch_size) if calibration else None,
        }
        for n in networks
    ]  # fmt: skip
    return plan


def distinct(found: Sequence[Course]) -> list[Network]:
    """Every network of any course, once."""
    return list({n.architecture: n for course in found for n in course.networks}.values())


def _steps(course: Course) -> list[dict[str, Any]]:
    """One row a step: how many candidates it has and what they cost."""
    rows = []
    for step in sorted({network.step for network in course.networks}):
        own = [network for network in course.networks if network.step == step]
        counts = [network.cost.macs for network in own]
        rows.append({
            "step": step, "networks": [network.architecture.to_json() for network in own], "macs": [min(counts), max(counts)],
            "trainings": sum(network.trainings for network in own if not network.over),
        })  # fmt: skip
    return rows


def _disk(study: Study, found: Sequence[Course], workers: Workers, cache_bytes: float | None) -> dict[str, Any]:
    """Bytes: decoded clips (None where they are not known), weights that are kept, checkpoints while training."""
    weights = [sum(n.cost.weight_bytes * n.trainings for n in course.trained) for course in found]
    largest = max((n.cost.params for course in found for n in course.trained), default=0)
    # Weights and momentum, the last checkpoint and the one before, of every training that is under way.
    return {
        "cache": cache_bytes, "weights": range_of(weights).plain(),
        "checkpoints": max(workers.count, 1) * 2 * 8 * largest,
    }  # fmt: skip


def _fit_together(peak_bytes: float, workers: Workers) -> dict[str, Any]:
    """How many of the dearest candidate have room at once: on one GPU, or in this machine's memory."""
    import torch

    if torch.cuda.is_available():
        free, what = torch.cuda.mem_get_info()[0], "one GPU"
        each = peak_bytes + CUDA_CONTEXT_BYTES
    else:
        import psutil

        free, what = psutil.virtual_memory().available, "this machine's free memory"
        each = peak_bytes + PROCESS_BYTES
    return {"count": int(free // each), "where": what, "free_bytes": int(free)}
