"""The predicted cost of a study: networks, multiply-adds, hours, memory, disk.

The search is simulated with the strategy itself and made-up accuracies. A grid or a sampled search has one trajectory. A stepwise
expansion has many, so several are simulated: the cheapest candidate of each step wins, or the most expensive one, or always the
same axis. Each step costs about twice the one before, whichever candidate wins, so the trajectories cost about the same; the plan
gives their range.

Hours come from timing a few real training steps (`calibration.py`); without timing the plan has no hours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from expand.core.study import Study
from expand.planning.trajectories import Network, Trajectory, clips_seen
from expand.search.memory_check import least_bytes, memory_here, state_bytes
from expand.storage.facts import StudyFacts
from expand.storage.plans import (
    FitTogether,
    Plan,
    PlannedDisk,
    PlannedMemory,
    PlannedNetwork,
    PlannedStep,
    PlannedTrajectory,
    Range,
    TimedBefore,
    Videos,
)

if TYPE_CHECKING:
    from expand.planning.calibration import Calibration
    from expand.search.worker_plan import Workers

RAY_SECONDS = 6.0  # to start a private cluster (on two cores)
PROCESS_BYTES = 400e6  # of a worker process with torch and Ray before it trains
CUDA_CONTEXT_BYTES = 600e6


# --- the plan --------------------------------------------------------------------------------------------------------


def training_macs(network: Network, study: Study, videos: Videos) -> int:
    """Multiply-adds of all trainings of a network: a training step is three forward passes (RegNet and others count so)."""
    learned, validated = clips_seen(study, network.epochs, videos)
    return network.trainings * network.cost.macs * (3 * learned + validated)


def wall_seconds(trajectory: Trajectory, seconds: Callable[[Network], float], workers: int) -> float:
    """Seconds that the workers need for a trajectory. A step starts after the one before; its longest trainings start first."""
    steps: dict[int, list[float]] = {}
    for network in trajectory.trained:  # the start trains together with the first step
        steps.setdefault(max(network.step, 1), []).extend([seconds(network)] * network.trainings)
    total = 0.0
    for trainings in steps.values():
        busy = [0.0] * max(workers, 1)
        for one in sorted(trainings, reverse=True):
            busy[busy.index(min(busy))] += one
        total += max(busy)
    return total


def range_of(values: Sequence[float], error: float = 0.0, slowed: float = 1.0) -> Range:
    """The range over trajectories, widened by the relative `error`. The lower end is that of a machine without other work."""
    return min(values) * (1 - error) / slowed, (min(values) + max(values)) / 2, max(values) * (1 + error)


def make_plan(
    study: Study,
    found: Sequence[Trajectory],
    videos: Videos,
    workers: Workers,
    calibration: Calibration | None,
    *,
    cache_bytes: float | None = None,
) -> Plan:
    """The plan: all that is printed, and all that the report later compares with the run."""
    networks = distinct(found)
    memory, batch = memory_here(), min(study.recipe.batch_size, study.recipe.clips_of_epoch(videos.training))
    needed = [least_bytes(n.cost, study, videos.training, halved=memory.cuda) for n in networks if not n.over] or [0.0]
    macs = [sum(training_macs(network, study, videos) for network in trajectory.trained) for trajectory in found]
    plan = Plan(
        StudyFacts.of(study), videos, workers.described(), range_of(macs),
        tuple(_network(network, study, videos, calibration) for network in networks), hours=None,
        courses=tuple(
            PlannedTrajectory(trajectory.name, len(trajectory.networks), trajectory.trainings, total, _steps(trajectory))
            for trajectory, total in zip(found, macs, strict=True)
        ),
        trainings=range_of([trajectory.trainings for trajectory in found]),
        over_limits=range_of([len(trajectory.networks) - len(trajectory.trained) for trajectory in found]),
        disk=_disk(study, found, workers, cache_bytes),
        memory=PlannedMemory(batch, (min(needed), max(needed)), memory.bytes, memory.where),
    )  # fmt: skip
    return plan if calibration is None else _with_hours(plan, study, found, videos, workers, calibration)


def _network(network: Network, study: Study, videos: Videos, known: Calibration | None) -> PlannedNetwork:
    architecture, cost = network.architecture, network.cost
    return PlannedNetwork(
        architecture.to_json(),
        seconds=known.seconds(architecture, cost, network.epochs, study, videos) if known else None,
        timed=known is not None and architecture in known.timings,
        peak_bytes=known.peak_bytes(architecture, cost, study.recipe.batch_size) if known else None,
        step=network.step, label=network.label, trainings=network.trainings, macs=cost.macs, params=cost.params,
        activations=cost.activations, over=network.over,
        cpu_seconds=known.cpu_seconds(architecture, network.epochs, study, videos) if known else None,
    )  # fmt: skip


def _with_hours(
    plan: Plan, study: Study, found: Sequence[Trajectory], videos: Videos, workers: Workers, known: Calibration
) -> Plan:
    def seconds(network: Network) -> float:
        return known.seconds(network.architecture, network.cost, network.epochs, study, videos)

    batch = study.recipe.batch_size
    device = [sum(seconds(n) * n.trainings for n in trajectory.trained) / 3600 for trajectory in found]
    start = known.start_seconds + (RAY_SECONDS if workers.count else 0.0)
    wall = [(wall_seconds(trajectory, seconds, workers.count) + start) / 3600 for trajectory in found]
    trained = [network for network in distinct(found) if not network.over]
    peaks = {n.architecture: known.peak_bytes(n.architecture, n.cost, batch) for n in trained}
    largest = max(peaks, key=lambda architecture: peaks[architecture], default=None)
    return replace(
        plan,
        hours=range_of(wall, known.error, known.slowed), device_hours=range_of(device, known.error, known.slowed),
        peak_bytes=peaks[largest] if largest else 0, dearest=largest.to_json() if largest else "",
        fit_together=_fit_together(peaks[largest], workers) if largest else None,
        calibration=TimedBefore(
            known.described(), known.error, known.slowed, tuple(known.training), tuple(known.validation),
            tuple(known.memory), batch, len(known.timings), round(start, 1),
        ),
    )  # fmt: skip


def distinct(found: Sequence[Trajectory]) -> list[Network]:
    """Every network of any trajectory, once."""
    return list({n.architecture: n for trajectory in found for n in trajectory.networks}.values())


def _steps(trajectory: Trajectory) -> tuple[PlannedStep, ...]:
    """One row per step: its candidates and their costs."""
    rows = []
    for step in sorted({network.step for network in trajectory.networks}):
        own = [network for network in trajectory.networks if network.step == step]
        counts = [network.cost.macs for network in own]
        trainings = sum(network.trainings for network in own if not network.over)
        named = tuple(network.architecture.to_json() for network in own)
        rows.append(PlannedStep(step, named, (min(counts), max(counts)), trainings))
    return tuple(rows)


def _disk(study: Study, found: Sequence[Trajectory], workers: Workers, cache_bytes: float | None) -> PlannedDisk:
    weights = [sum(n.cost.weight_bytes * n.trainings for n in trajectory.trained) for trajectory in found]
    largest = max((n.cost.params for trajectory in found for n in trajectory.trained), default=0)
    # Weights and the optimiser's averages in the last checkpoint and in the one before, of every running training.
    return PlannedDisk(
        cache_bytes, range_of(weights), max(workers.count, 1) * 2 * (state_bytes(study.recipe) - 4) * largest
    )


def _fit_together(peak_bytes: float, workers: Workers) -> FitTogether:
    """How many trainings of the most expensive candidate fit into memory at the same time: of one GPU, or of this machine."""
    import torch

    if torch.cuda.is_available():
        free, what = torch.cuda.mem_get_info()[0], "one GPU"
        each = peak_bytes + CUDA_CONTEXT_BYTES
    else:
        import psutil

        free, what = psutil.virtual_memory().available, "this machine's free memory"
        each = peak_bytes + PROCESS_BYTES
    return FitTogether(int(free // each), what, int(free))
