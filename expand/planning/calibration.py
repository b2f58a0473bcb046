"""How long the candidates of a plan take, from a few real training steps of some of them.

As many processes as the run has workers train in parallel, so that they compete for the machine like the workers. Each times
its share of the networks, from the cheapest to the most expensive. If there is not enough time for all candidates, some spread
evenly over the costs are timed and the others are predicted by a fit: seconds per clip = a + b x multiply-adds + c x bytes saved
for the backward pass + d x pixels read, with non-negative coefficients and small relative errors. Multiply-adds alone are not
enough: small networks and channel-wise ones are limited by memory access.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from expand.core.space import Architecture
from expand.core.study import Study
from expand.core.trial import Cost
from expand.planning.trajectories import Network, clips_seen
from expand.profiling.benchmark import Task, Timing, device_name, fresh_processes, time_networks
from expand.search.worker_plan import Workers
from expand.storage.plans import Videos
from expand.training.device import pick_device

SECONDS = (
    45.0  # for all timings once the processes have started: a plan should take at most a minute, also on a busy machine
)
MOST_NETWORKS = 24
BUSY = 1.15  # a slowdown from which the plan mentions it
LEAST_ERROR = 0.10  # relative variation of a machine from hour to hour


@dataclass(frozen=True)
class Calibration:
    """The timings and the fit. `error` is the estimated relative error of a training's length. `slowed` is the factor by which
    other work on the machine slowed everything down."""

    timings: dict[Architecture, Timing]
    training: tuple[float, ...]
    validation: tuple[float, ...]
    memory: tuple[float, ...]
    error: float
    slowed: float
    device: str
    threads: int
    processes: int
    start_seconds: float  # of one worker process
    with_videos: bool
    candidates: int

    def seconds(self, architecture: Architecture, cost: Cost, epochs: int, study: Study, videos: Videos) -> float:
        """Seconds of one training with validation, on a machine as busy as this one now."""
        learned, validated = clips_seen(study, epochs, videos)
        if timing := self.timings.get(architecture):
            return self.slowed * (learned * timing.train_seconds + validated * timing.validation_seconds)
        features = _time_features(cost)
        alone = learned * np.dot(features, self.training) + validated * np.dot(features, self.validation)
        return float(self.slowed * alone)

    def cpu_seconds(self, architecture: Architecture, epochs: int, study: Study, videos: Videos) -> float | None:
        """Processor time of one training; None if the network was not timed itself, or is not trained on a CPU."""
        timing = self.timings.get(architecture)
        if timing is None or pick_device().type != "cpu":
            return None
        learned, validated = clips_seen(study, epochs, videos)
        return learned * timing.train_cpu_seconds + validated * timing.validation_cpu_seconds

    def peak_bytes(self, architecture: Architecture, cost: Cost, batch: int) -> float:
        """Peak memory that one training adds to its process, or to its GPU."""
        timing = self.timings.get(architecture)
        if timing is not None and timing.batch == batch:
            return timing.peak_bytes
        return float(np.dot(_memory_features(cost, batch), self.memory))

    def described(self) -> str:
        timed, which = len(self.timings), "every candidate timed"
        if timed < self.candidates:
            which = f"{timed} of {self.candidates} candidates timed, the others by a fit"
        loading = "real clips" if self.with_videos else "random clips, without decoding and loading"
        busy = ""
        if self.slowed > BUSY:
            busy = f"; other work on this machine makes it x{self.slowed:.1f} as long, but not at the lower ends"
        at_once = f", {self.processes} in parallel" if self.processes > 1 else ""
        return (
            f"{which}, {loading}, {self.device}, {self.threads} thread{'s' if self.threads > 1 else ''}{at_once}{busy}"
        )


def calibrate(
    study: Study,
    networks: Sequence[Network],
    videos: Videos,
    workers: Workers,
    caches: tuple[str, str] | None,
    *,
    seconds: float = SECONDS,
    note: Callable[[str], None] = lambda text: None,
) -> Calibration | None:
    """Times some of these networks; None if none could be timed."""
    costs = {network.architecture: network.cost for network in networks}
    chosen = _spread(sorted(costs, key=lambda architecture: costs[architecture].macs), MOST_NETWORKS)
    count = min(_at_once(workers), len(chosen))
    tasks = [Task(architecture, costs[architecture].macs, costs[architecture].activations) for architecture in chosen]
    note(f"timing training steps of {len(tasks)} networks")
    timings: dict[Architecture, Timing] = {}
    began = time.perf_counter()
    with fresh_processes(count) as pool:
        for ready in [pool.submit(time.sleep, 0.2) for _ in range(count)]:
            ready.result()  # the processes have started and imported torch
        started = time.perf_counter() - began
        left = max(seconds - started, seconds / 3)
        parts = [
            pool.submit(
                time_networks, study.space, tasks[first::count], videos.classes, study.recipe, caches, workers.threads, left
            )
            for first in range(count)
        ]  # fmt: skip
        for part in parts:
            timings |= part.result()
    if not timings:
        return None
    features = np.array([_time_features(costs[architecture]) for architecture in timings])
    training = np.array([timing.train_seconds for timing in timings.values()])
    validation = np.array([timing.validation_seconds for timing in timings.values()])
    space_features = np.array([_memory_features(costs[a], timing.batch) for a, timing in timings.items()])
    space = np.array([max(timing.peak_bytes, 1) for timing in timings.values()], dtype=float)
    spread = statistics.median(timing.spread for timing in timings.values())
    slowed = max(1.0, statistics.median(timing.slowed for timing in timings.values()))
    fitted = _left_out_error(features, training) if len(timings) < len(costs) else 0.0
    return Calibration(
        timings, _fit(features, training), _fit(features, validation), _fit(space_features, space),
        error=round(max(LEAST_ERROR, spread / 2, fitted), 3),
        slowed=round(slowed, 3), device=device_name(pick_device()), threads=workers.threads,
        processes=count, start_seconds=started, with_videos=caches is not None, candidates=len(costs),
    )  # fmt: skip


def _at_once(workers: Workers) -> int:
    """How many trainings run in parallel on this machine, or on its first GPU."""
    if workers.gpus_per_trial:
        return max(1, min(workers.count, int(1 / workers.gpus_per_trial)))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(workers.count, cores // workers.threads))


def _spread(ordered: Sequence[Architecture], most: int) -> list[Architecture]:
    """At most so many of them, evenly spaced, including the first and the last."""
    if len(ordered) <= most:
        return list(ordered)
    return [ordered[round(index * (len(ordered) - 1) / (most - 1))] for index in range(most)]


def kept_bytes(cost: Cost) -> float:
    """Bytes that autograd saves per clip; if not counted, three float32 per activation (before and after a norm, and after a
    nonlinearity)."""
    return cost.training_bytes if cost.training_bytes is not None else 12.0 * cost.activations


def _time_features(cost: Cost) -> tuple[float, ...]:
    pixels = sum(int(np.prod(shape)) for shape in cost.input)
    return 1.0, cost.macs / 1e9, kept_bytes(cost) / 1e9, pixels / 1e6


def _memory_features(cost: Cost, batch: int) -> tuple[float, ...]:
    """Terms of the memory fit: weights, gradients and momentum; activations of a batch; a constant."""
    return 12.0 * cost.params / 1e9, batch * kept_bytes(cost) / 1e9, 1.0


def _fit(features: np.ndarray, values: np.ndarray) -> tuple[float, ...]:
    """Least squares of the relative errors with non-negative coefficients."""
    from scipy.optimize import nnls

    return tuple(float(x) for x in nnls(features / values[:, None], np.ones(len(values)))[0])


def _left_out_error(features: np.ndarray, values: np.ndarray) -> float:
    """Root mean square of the relative errors in leave-one-out fits."""
    if len(values) < 4:
        return 0.3  # too few for an estimate
    errors = []
    for index in range(len(values)):
        keep = np.arange(len(values)) != index
        errors.append(features[index] @ np.array(_fit(features[keep], values[keep])) / values[index] - 1)
    return float(np.sqrt(np.mean(np.square(errors))))
