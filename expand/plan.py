"""What a study will cost, before anything is launched: networks, multiply-adds, hours, memory, disk.

The search is played through with the strategy itself, its candidates' accuracies being made up. A grid or a sample has one
course. A stepwise expansion has many, so several are played: the cheapest candidate of each step wins, the dearest, and for
each axis that one whenever it is on offer. Whatever wins, a step costs about twice the one before, so that they lie close
together; the plan gives their range.

Hours come from timing a few real training steps (`calibrate.py`); without that there are none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from expand.errors import UsageError, unknown
from expand.progress import format_bytes
from expand.settings import describe
from expand.space import Architecture
from expand.strategies.budget import affordable
from expand.study import CountMacs, Study
from expand.trial import Cost, Metrics, Suggestion, Trial, TrialState

if TYPE_CHECKING:
    from expand.calibrate import Calibration
    from expand.workers import Workers

CountCost = Callable[[Architecture], Cost]
Seconds = Callable[[Architecture, Cost], float]  # of one training of one network
MOST_TRIALS = 5000  # of one course, before it is taken for endless
FIRST_TRIALS = 60  # of a search that hours end, as long as nobody knows how long a training takes
RAY_SECONDS = 6.0  # until a private cluster is there (two cores)
PROCESS_BYTES = 400e6  # a worker process with torch and Ray, before it trains anything
CUDA_CONTEXT_BYTES = 600e6


@dataclass(frozen=True)
class Videos:
    """How many there are to train on and to validate with, in how many classes; `source` says where the numbers are from."""

    training: int
    validation: int
    classes: int
    source: str


@dataclass(frozen=True)
class Network:
    """A candidate of a course and how often it is trained (its seeds); `over` is the limit that keeps it from being trained."""

    architecture: Architecture
    cost: Cost
    step: int
    label: str
    trainings: int
    epochs: int
    over: str = ""


@dataclass(frozen=True)
class Course:
    """One way that the search may go."""

    name: str
    networks: tuple[Network, ...]

    @property
    def trained(self) -> tuple[Network, ...]:
        return tuple(network for network in self.networks if not network.over)

    @property
    def trainings(self) -> int:
        return sum(network.trainings for network in self.trained)


def courses(
    study: Study, macs: CountMacs, cost: CountCost, *, wins: Sequence[str] = (), seconds: Seconds | None = None
) -> tuple[Course, ...]:
    """The ways that a search may go, the distinct ones. `wins` names the axes that win, step by step, in a course of the
    reader's own. `seconds` is what a training takes, for budgets in hours; without it a sample that only hours would end
    is played for its first networks.

    Raises:
        UsageError: as the strategy's; an axis in `wins` that is not of the space.
    """
    first = study.strategy.ask(study, (), macs)
    if not any(wish.kind in ("start", "expand") for wish in first):
        return (_play("as asked for", study, macs, cost, _cheapest, seconds),)
    axes = list(dict.fromkeys(axis for wish in first for axis in wish.axes))
    rules: dict[str, Choose] = {"cheapest wins": _cheapest, "dearest wins": _dearest}
    rules |= {f"{axis} wins": _whenever(axis) for axis in axes}
    if wins:
        rules = {", ".join(wins): _in_turn(wins, [axis.name for axis in study.space.axes]), **rules}
    played = [_play(name, study, macs, cost, choose, seconds) for name, choose in rules.items()]
    distinct = {tuple(network.architecture for network in course.networks): course for course in reversed(played)}
    return tuple(course for course in played if course in distinct.values())


Choose = Callable[[int, Sequence[tuple[Suggestion, Cost]]], int]  # (step, candidates) -> the index of the winner


def _cheapest(step: int, candidates: Sequence[tuple[Suggestion, Cost]]) -> int:
    return min(range(len(candidates)), key=lambda index: candidates[index][1].macs)


def _dearest(step: int, candidates: Sequence[tuple[Suggestion, Cost]]) -> int:
    return max(range(len(candidates)), key=lambda index: candidates[index][1].macs)


def _whenever(axis: str) -> Choose:
    """This axis where it is on offer, else the candidate in the middle."""

    def choose(step: int, candidates: Sequence[tuple[Suggestion, Cost]]) -> int:
        offered = [index for index, (wish, _) in enumerate(candidates) if axis in wish.axes]
        order = sorted(range(len(candidates)), key=lambda index: candidates[index][1].macs)
        return offered[0] if offered else order[len(order) // 2]

    return choose


def _in_turn(wins: Sequence[str], known: Sequence[str]) -> Choose:
    for name in wins:
        if name not in known:
            raise unknown("axis in --wins", name, known)

    def choose(step: int, candidates: Sequence[tuple[Suggestion, Cost]]) -> int:
        if step > len(wins):
            return _cheapest(step, candidates)
        return _whenever(wins[step - 1])(step, candidates)

    return choose


def _play(
    name: str, study: Study, macs: CountMacs, cost: CountCost, choose: Choose, seconds: Seconds | None
) -> Course:  # fmt: skip
    """All candidates of a search in which `choose` names the winner of each step."""
    trials: list[Trial] = []
    networks: dict[Architecture, Network] = {}
    while wanted := affordable(study, trials, study.strategy.ask(study, trials, macs))[0]:
        winners: set[Architecture] = set()
        steps: dict[int, dict[Architecture, Suggestion]] = {}
        costs = {wish.architecture: cost(wish.architecture) for wish in wanted}
        limits = {architecture: over_limit(study, counted) for architecture, counted in costs.items()}
        for wish in wanted:
            if not limits[wish.architecture]:
                steps.setdefault(wish.step, {})[wish.architecture] = wish
        for step, wishes in steps.items():
            offered = [(wish, costs[architecture]) for architecture, wish in wishes.items()]
            winners.add(offered[choose(step, offered)][0].architecture)
        for wish in wanted:
            counted, over = costs[wish.architecture], limits[wish.architecture]
            state = TrialState.INFEASIBLE if over else TrialState.COMPLETE
            metrics = None if over else Metrics(float(wish.architecture in winners), 1.0, 0.0, 1, 1)
            took = 0.0 if over or seconds is None else seconds(wish.architecture, counted)
            trials.append(Trial(len(trials), state, wish, counted, metrics, train_seconds=took))
            earlier = networks.get(wish.architecture)
            label = wish.name or "=".join(wish.axes) or wish.kind
            networks[wish.architecture] = Network(
                wish.architecture, counted, wish.step, earlier.label if earlier else label,
                (earlier.trainings if earlier else 0) + 1, wish.epochs, over,
            )  # fmt: skip
        if len(trials) >= FIRST_TRIALS and study.budget.hours is not None and seconds is None:
            break  # the hours would end it somewhere here
        if len(trials) > MOST_TRIALS:
            raise UsageError(f"{study.name}: more than {MOST_TRIALS} trainings; set budget.trials")
    return Course(name, tuple(networks.values()))


def over_limit(study: Study, cost: Cost) -> str:
    """The counted limit that a candidate breaks, or nothing; what is measured is known to nobody yet."""
    from expand.record import known_cost

    for objective in study.objectives:
        value = known_cost(objective, cost)
        if value is not None and objective.over(value):
            return f"{objective.name} {value:.4g}, the limit {objective.limit:g}"
    return ""


# --- what it comes to ------------------------------------------------------------------------------------------------


def clips_seen(study: Study, epochs: int, videos: Videos) -> tuple[int, int]:
    """Clips that one training reads to learn from, and to validate with: one view after each epoch, all after the last."""
    return epochs * videos.training, (epochs - 1 + study.recipe.views) * videos.validation


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


def least_bytes(cost: Cost, study: Study, clips: int, *, halved: bool = False) -> float:
    """What training one network on so many clips takes at least: weights, gradients and momentum, and what autograd keeps of a
    batch, which is next to nothing where only the head learns, and `halved` in mixed precision. 0 of what nobody counted."""
    recipe = study.recipe
    if recipe.freeze or cost.training_bytes is None:
        return 4.0 * cost.params
    kept = cost.training_bytes / 2 if halved and recipe.mixed_precision else cost.training_bytes
    return 12.0 * cost.params + min(recipe.batch_size, clips) * kept


@dataclass(frozen=True)
class Memory:
    """What training may take on this machine at the very most: all of a GPU, or all of the main memory and swap."""

    bytes: int
    where: str
    cuda: bool = False


def memory_here() -> Memory:
    import torch

    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_properties(index).total_memory for index in range(torch.cuda.device_count())]
        return Memory(max(gpus), "the GPU", True)
    import psutil

    return Memory(psutil.virtual_memory().total + psutil.swap_memory().total, "this machine")


def require_memory(study: Study, costs: Sequence[Cost], clips: int, memory: Memory) -> None:
    """Raises `UsageError` where not one of these networks can be trained in this memory."""
    if not costs:
        return
    least = min(least_bytes(cost, study, clips, halved=memory.cuda) for cost in costs)
    if least > memory.bytes:
        batch = min(study.recipe.batch_size, clips)
        raise UsageError(
            f"recipe.batch_size={study.recipe.batch_size}: training the smallest candidate on batches of {batch:,} clips "
            f"takes about {format_bytes(least)}, {memory.where} has {format_bytes(memory.bytes)}; "
            f"at most about {max(2, int(batch * memory.bytes / least)):,} would fit"
        )


def require_memory_for_one(study: Study, first: Sequence[Suggestion], count: CountCost, clips: int) -> None:
    """Raises `UsageError` where this machine cannot train even the smallest of the networks that a search begins with."""
    networks = {suggestion.architecture for suggestion in first}
    if any(suggestion.kind == "sample" for suggestion in first):
        networks.add(study.space.start)  # later samples may be smaller than the first ones
    costs = []
    for network in networks:
        with contextlib.suppress(Exception):  # what cannot be counted becomes a failed trial, with its reason
            costs.append(count(network))
    require_memory(study, costs, clips, memory_here())


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
