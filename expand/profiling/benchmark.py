"""Measures a network's time and memory on this machine: multiply-adds do not predict them, least of all for channel-wise
convolutions.

Networks run exactly as in `training/loop.py`: channels last, our channel-wise gradient on CPU, mixed precision on CUDA. A time is
the median of repeats after a warm-up, given with the interquartile range. Peak memory is what a network adds to a fresh process
(see `training/memory.py`): weights, activations, and in training gradients and momentum.
"""

from __future__ import annotations

import itertools
import multiprocessing
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from expand.core.clip import Clip
from expand.core.space import Architecture, SearchSpace
from expand.core.study import Recipe
from expand.counting.cost import random_clips
from expand.data.loader import Sample, TrainingClips, ViewClips, batches
from expand.data.sampling import validation_scale
from expand.training import checkpoint
from expand.training.device import amp_dtype, as_trained, autocast, pick_device
from expand.training.loop import set_up, training_step
from expand.training.memory import PeakMemory

WARM_UP = 2
FEWEST = 3  # minimum number of timed runs, even if they are slow


@dataclass(frozen=True)
class Speed:
    """The measured speed of a network.

    `ms` is the median time of one batch of `batch` clips, `ms_iqr` its interquartile range over `repeats`; `training` is True for
    a whole training step, False for inference. `peak_bytes` is 0 if it cannot be measured.
    """

    ms: float
    ms_iqr: float
    training: bool
    batch: int
    threads: int
    repeats: int
    precision: str
    device: str
    peak_bytes: int

    @property
    def ms_a_clip(self) -> float:
        return self.ms / self.batch

    @property
    def clips_a_second(self) -> float:
        return 1000 * self.batch / self.ms

    def plain(self) -> dict[str, Any]:
        return asdict(self) | {"ms_a_clip": round(self.ms_a_clip, 4), "clips_a_second": round(self.clips_a_second, 3)}


def measure(
    network: nn.Module,
    clips: Sequence[Clip],
    recipe: Recipe,
    *,
    training: bool = False,
    batch: int = 1,
    threads: int = 1,
    repeats: int = 20,
    seconds: float = 30.0,
) -> Speed:
    """Times a network on random clips, with fewer than `repeats` runs if they would take longer than `seconds`.

    The network is moved to its device, as for training.
    """
    device, before = pick_device(), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with PeakMemory(device) as peak:
            run = _runner(network, clips, recipe, device, training=training, batch=batch)
            for _ in range(WARM_UP):
                run()
        times: list[float] = []
        while len(times) < repeats and (len(times) < FEWEST or sum(times) < seconds):
            began = time.perf_counter()
            run()
            times.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(before)
    return Speed(
        ms=round(1000 * statistics.median(times), 4), ms_iqr=round(1000 * _iqr(times), 4), training=training, batch=batch,
        threads=threads, repeats=len(times), precision=_precision(recipe, device), device=device_name(device),
        peak_bytes=peak.bytes,
    )  # fmt: skip


def _runner(
    network: nn.Module, clips: Sequence[Clip], recipe: Recipe, device: torch.device, *, training: bool, batch: int
) -> Callable[[], None]:
    """The timed function: one batch, from ordinary CPU memory to a finished result."""
    optimiser, scaler = set_up(network, recipe, device)
    network.train(training)
    streams, labels = random_clips(clips, batch=batch), torch.zeros(batch, dtype=torch.long)

    def step() -> None:
        training_step(network, optimiser, scaler, streams, labels, recipe, device)
        _wait(device)

    def infer() -> None:
        with torch.no_grad(), autocast(device, wanted=recipe.mixed_precision):
            network(*(as_trained(stream, device) for stream in streams))
        _wait(device)

    return step if training else infer


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _iqr(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return high - low


def _precision(recipe: Recipe, device: torch.device) -> str:
    mixed = recipe.mixed_precision and device.type == "cuda"
    return str(amp_dtype()).removeprefix("torch.") if mixed else "float32"


def device_name(device: torch.device) -> str:
    """The name of the GPU or processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine() or device.type


def measured(
    space: SearchSpace, architecture: Architecture, num_classes: int, recipe: Recipe, options: dict[str, Any]
) -> Speed:
    """Builds an architecture and measures it; the arguments can be sent to another process."""
    torch.manual_seed(0)
    return measure(space.build(architecture, num_classes), space.inputs(architecture), recipe, **options)


def measure_fresh(
    space: SearchSpace, architectures: Sequence[Architecture], num_classes: int, recipe: Recipe, **options: Any
) -> Iterator[Speed]:
    """Measures each network in its own process, one after the other, so that peak memory belongs to it alone."""
    with fresh_processes(1, tasks_each=1) as pool:
        for architecture in architectures:
            yield pool.submit(measured, space, architecture, num_classes, recipe, options).result()


def fresh_processes(count: int, *, tasks_each: int | None = None) -> ProcessPoolExecutor:
    """Spawned processes: a forked one would inherit this process's memory and could not use CUDA."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=context, max_tasks_per_child=tasks_each)


# --- real training steps, for a plan ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timing:
    """Measured times of training and validation, for a plan.

    Attributes:
        train_seconds: seconds per training clip on idle cores, loading included if there are videos; median over batches.
        validation_seconds: the same for a validation clip.
        train_cpu_seconds: processor time per training clip, summed over all threads.
        validation_cpu_seconds: the same for a validation clip.
        slowed: how many times longer it took because of other work on the machine.
        spread: interquartile range of `train_seconds` as a share of it.
        batch: clips per batch.
        steps: timed training steps.
        peak_bytes: peak memory with batches of `batch` clips.
    """

    train_seconds: float
    validation_seconds: float
    train_cpu_seconds: float
    validation_cpu_seconds: float
    slowed: float
    spread: float
    batch: int
    steps: int
    peak_bytes: int


@dataclass(frozen=True)
class Task:
    """A network to time; `macs` and `activations` give its expected cost."""

    architecture: Architecture
    macs: int
    activations: int


class _Random(Dataset[Sample]):
    """Replaces videos that are not available, by the same random clip each time."""

    def __init__(self, clips: Sequence[Clip], length: int) -> None:
        self.streams, self.length = tuple(stream[0] for stream in random_clips(clips)), length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        return self.streams, 0


LONGEST = 5.0  # seconds for one network; longer runs are not more precise
EXPECTED_MACS_A_SECOND = 5e9  # before the first timing; pessimistic, so that the first network fits its time


def time_networks(
    space: SearchSpace, tasks: Sequence[Task], num_classes: int, recipe: Recipe, caches: tuple[str, str] | None,
    threads: int, seconds: float,
) -> dict[Architecture, Timing]:  # fmt: skip
    """Times a few real training steps of each network, in about `seconds` in total, the cheapest network first.

    Batches are smaller if the recipe's would not fit the time. Networks that do not fit, or fail, are left out.
    """
    torch.set_num_threads(threads)
    end = time.perf_counter() + seconds
    found: dict[Architecture, Timing] = {}
    macs_second = EXPECTED_MACS_A_SECOND
    for position, task in enumerate(tasks):
        share = (end - time.perf_counter()) / (len(tasks) - position)
        expected = 3 * task.macs / macs_second  # seconds per clip
        fits = int(share / (WARM_UP + FEWEST + 1) / expected)
        if fits < 2:
            share = end - time.perf_counter()  # use all remaining time for one last network
            fits = min(2, int(share / (WARM_UP + FEWEST + 1) / expected))
        if fits < 2:
            break
        try:
            timing = time_network(
                space, task.architecture, num_classes, recipe, caches, min(recipe.batch_size, fits), min(share, LONGEST)
            )
        except Exception:  # this network fails; the search will report it
            continue
        found[task.architecture] = timing
        macs_second = 3 * task.macs / (timing.slowed * timing.train_seconds)
    return found


def time_network(
    space: SearchSpace, architecture: Architecture, num_classes: int, recipe: Recipe, caches: tuple[str, str] | None,
    batch: int, seconds: float,
) -> Timing:  # fmt: skip
    """Times a few batches of training and validation, with the same loader as a training."""
    device, clips = pick_device(), space.inputs(architecture)
    training, validation, network_classes = _datasets(clips, recipe, caches, batch, num_classes)
    with PeakMemory(device) as peak:
        torch.manual_seed(0)
        network = space.build(architecture, network_classes)
        optimiser, scaler = set_up(network, recipe, device)
        network.train()

        def learn(streams: Sequence[torch.Tensor], labels: torch.Tensor) -> None:
            training_step(network, optimiser, scaler, streams, labels, recipe, device)
            _wait(device)

        learned = _timed(learn, _endless(training, batch, recipe, device), 0.6 * seconds)
        network.eval()
        checked = _timed(
            lambda streams, labels: _score(network, streams, recipe, device),
            _endless(validation, 2 * batch, recipe, device), 0.1 * seconds,
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:  # a checkpoint is built in memory
            state = {"network": network.state_dict(), "optimiser": optimiser.state_dict()}
            checkpoint.save(Path(folder) / "last.pt", state)
        # A second epoch needs more memory than the first: the C library keeps freed blocks of other sizes.
        network.train()
        _timed(learn, _endless(training, batch, recipe, device), 0.0)
    # With loader processes or another device, this process's processor time does not contain all the work.
    alone = device.type == "cpu" and recipe.loader_workers == 0
    times, cpu = learned
    steady = cpu if alone else times
    train_seconds = _undisturbed(*learned) if alone else statistics.median(times)
    return Timing(
        train_seconds, _undisturbed(*checked) if alone else statistics.median(checked[0]),
        statistics.median(cpu), statistics.median(checked[1]),
        slowed=statistics.median(times) / train_seconds, spread=_iqr(steady) / statistics.median(steady),
        batch=batch, steps=len(times), peak_bytes=peak.bytes,
    )  # fmt: skip


def _undisturbed(times: Sequence[float], cpu: Sequence[float]) -> float:
    """Seconds of a batch on idle cores: its processor time divided by the most cores that its threads kept busy.

    Waiting for a core that other programs use adds to wall time, but not to processor time.
    """
    cores = max(used / taken for used, taken in zip(cpu, times, strict=True))
    return statistics.median(cpu) / min(max(cores, 1.0), torch.get_num_threads())


Batches = Generator[tuple[tuple[torch.Tensor, ...], torch.Tensor], None, None]


def _timed(
    work: Callable[[Sequence[torch.Tensor], torch.Tensor], None], loaded: Batches, seconds: float
) -> tuple[list[float], list[float]]:
    """Seconds per clip of each batch, from the loader to the result, as wall time and as processor time."""
    times: list[float] = []
    cpu: list[float] = []
    for streams, labels in itertools.islice(loaded, WARM_UP):
        work(streams, labels)
    began = last = time.perf_counter()
    last_cpu = time.process_time()
    for streams, labels in loaded:
        work(streams, labels)
        now, now_cpu = time.perf_counter(), time.process_time()
        times.append((now - last) / len(labels))
        cpu.append((now_cpu - last_cpu) / len(labels))
        last, last_cpu = now, now_cpu
        if len(times) >= FEWEST and now - began > seconds:
            break
    loaded.close()
    return times, cpu


def _datasets(
    clips: Sequence[Clip], recipe: Recipe, caches: tuple[str, str] | None, batch: int, num_classes: int
) -> tuple[Dataset[Any], Dataset[Sample], int]:
    """Training and validation clips, and the number of classes."""
    if caches is None:
        return _Random(clips, 8 * batch), _Random(clips, 8 * batch), num_classes
    from expand.data.cache.clip_cache import ClipCache

    training, validation = ClipCache(caches[0]), ClipCache(caches[1])
    return (
        TrainingClips(training, clips, recipe, seed=0, epoch=0),
        ViewClips(validation, clips, 1, scale=validation_scale(recipe)),
        len(training.classes),
    )


def _endless(data: Dataset[Any], batch: int, recipe: Recipe, device: torch.device) -> Batches:
    """An endless sequence of full batches in random order."""
    size = min(batch, len(data))  # type: ignore[arg-type]
    for round_ in itertools.count():
        shuffled = batches(
            data, size, shuffle_seed=round_, workers=recipe.loader_workers, device=device
        )  # fmt: skip
        yield from (pair for pair in shuffled if len(pair[1]) == size)


@torch.no_grad()
def _score(network: nn.Module, streams: Sequence[torch.Tensor], recipe: Recipe, device: torch.device) -> None:
    with autocast(device, wanted=recipe.mixed_precision):
        network(*(as_trained(stream, device) for stream in streams)).float().softmax(1).cpu()
