"""The job of one candidate: seed, build, train, validate. Input and output are plain data, so that it runs in any process."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from expand.core.atomic import write_atomically
from expand.core.attempt import Attempt, Epoch, Fault, InitialWeights, Speed
from expand.core.errors import ExpandError
from expand.core.outcome import Completed, Failed, Halted, Infeasible, Outcome, Paused, Retry
from expand.core.space import Architecture, SearchSpace
from expand.core.study import Objective, Recipe
from expand.data.cache.clip_cache import ClipCache
from expand.data.loader import loaders_that_fit
from expand.search.faults import fault_of
from expand.search.inherited import Parent, start_from_parent
from expand.source.fingerprint import Code, code_of
from expand.training.device import pick_device, seed_everything
from expand.training.identity import Identity
from expand.training.loop import Listener, train
from expand.training.memory import PeakMemory
from expand.weights.matching import load_weights

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
EpochReport = Callable[[Epoch], None]
StepReport = Callable[[int, int, int, int, float], None]  # trial, epoch, batches done, batches in all, mean loss


@dataclass(frozen=True)
class Job:
    """Everything that a worker needs to train trial `number`; folders are on a disk that it can reach. If the study has a
    `latency` objective, the network is measured first, unless its `speed` is known."""

    number: int
    space: SearchSpace
    architecture: Architecture
    recipe: Recipe
    epochs: int
    seed: int
    train_cache: str
    val_cache: str
    checkpoint: str
    weights: str
    threads: int
    mirrored: tuple[tuple[str, str], ...] = ()  # `Data.mirrored`
    latency: Objective | None = None
    speed: Speed | None = None
    seconds: float | None = None  # the most that one attempt may take
    until: int | None = None  # the epoch after which the training pauses
    avoid: tuple[str, ...] = ()  # nodes of Ray where it could not be trained
    parent: Parent | None = None  # whose weights it starts from

    @property
    def timeout_log(self) -> Path:
        """The file for the thread stacks of an attempt that exceeded its time limit."""
        return Path(self.checkpoint).parent / "timeout.txt"


def evaluate(job: Job, on_epoch: EpochReport, on_step: StepReport | None = None) -> Outcome:
    """Trains and validates.

    Only interrupts are raised: any other exception ends this candidate alone.
    """
    began = time.perf_counter()
    try:
        return _evaluated(job, on_epoch, on_step)
    except (
        Exception
    ) as error:  # torch's handler raises for a dead loader process anywhere, also while an error is handled
        return _ended_by(error, job, Attempt(attempts=count_starts(Path(job.checkpoint))), time.perf_counter() - began)


def _evaluated(job: Job, on_epoch: EpochReport, on_step: StepReport | None) -> Outcome:
    attempt, notes = Attempt(), list[str]()
    began = time.perf_counter()
    try:
        attempt = replace(attempt, attempts=_log_start(Path(job.checkpoint)))
        device = pick_device()
        torch.set_num_threads(job.threads)
        attempt = replace(attempt, device=device.type, threads=torch.get_num_threads())
        training, validation = ClipCache(job.train_cache), ClipCache(job.val_cache)
        code = code_of(job.space, job.architecture)  # as this process has imported it; the file may change later
        attempt = replace(attempt, code=code)
        if job.latency is not None:
            speed = job.speed or _latency(job, len(training.classes))
            attempt = replace(attempt, speed=speed)
            if job.latency.over(speed.ms):
                return Infeasible(attempt)
        seed_everything(job.seed)
        cpu = time.process_time()
        with PeakMemory(device) as peak:
            network = job.space.build(job.architecture, len(training.classes))
            clips = job.space.inputs(job.architecture)
            recipe, short = loaders_that_fit(job.recipe, clips)
            notes += short
            if job.recipe.weights is not None:
                attempt = replace(attempt, initial_weights=_start_from(job.recipe.weights, network, job))
            if job.parent is not None:
                begun = start_from_parent(
                    network, job.parent, job.space, job.architecture, (training, validation), recipe,
                    seed=job.seed, device=device,
                )  # fmt: skip
                attempt = replace(attempt, inherited=begun)
            metrics, curve = train(
                network, clips, training, validation, _identity(job, recipe, (training, validation), code),
                device=device, checkpoint_path=Path(job.checkpoint),
                listener=Listener(
                    on_epoch, notes.append, partial(on_step, job.number) if on_step else lambda *_: None,
                    lambda done: job.until is None or done < job.until,
                ),
            )  # fmt: skip
        attempt = replace(attempt, peak_bytes=peak.bytes)
        if attempt.attempts == 1:  # otherwise an earlier process did a part of it
            attempt = replace(attempt, cpu_seconds=round(time.process_time() - cpu, 3))
        seconds = round(sum(entry.seconds for entry in curve), 3)
        if len(curve) < job.epochs:
            log_return(Path(job.checkpoint))
            return Paused(curve, replace(attempt, notes=tuple(notes)), seconds)
        _save_weights(Path(job.weights), network)
    except Exception as error:
        return _ended_by(error, job, replace(attempt, notes=tuple(notes)), time.perf_counter() - began)
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return Completed(metrics, replace(attempt, notes=tuple(notes)), curve, seconds)


def _ended_by(error: Exception, job: Job, attempt: Attempt, seconds: float) -> Outcome:
    fault, reason, lines = fault_of(error), _reason(error), traceback.format_exc()[-6000:]
    full = isinstance(error, OSError) and error.errno in NO_ROOM  # waiting would not help
    if fault is Fault.OWN and not full:
        return Failed(reason, attempt, lines, round(seconds, 3))
    log_return(Path(job.checkpoint))
    return Halted(reason, attempt) if full else Retry(fault, reason, attempt, lines, round(seconds, 3))


def _start_from(weights: str, network: torch.nn.Module, job: Job) -> InitialWeights:
    """Loads weights from a file into the network; returns which tensors fitted, for the record."""
    found = load_weights(network, Path(weights), space=job.space, architecture=job.architecture)
    missing, unexpected, replaced = (tuple(names) for names in (found.missing, found.unexpected, found.replaced))
    return InitialWeights(weights, found.layout, len(found.matched), missing, unexpected, replaced)


LATENCY_THREADS = 1  # whatever the number of workers, so that studies can be compared


def _latency(job: Job, num_classes: int) -> Speed:
    """Measures inference of a single clip on the device that trains the network; takes a second or two."""
    from expand.profiling.benchmark import measure  # imported here because it is slow and most studies do without

    network = job.space.build(job.architecture, num_classes)
    clips = job.space.inputs(job.architecture)
    return measure(network, clips, job.recipe, threads=LATENCY_THREADS, repeats=30, seconds=5.0)


def _identity(job: Job, recipe: Recipe, caches: Sequence[ClipCache], code: Code | None) -> Identity:
    """The identity that a checkpoint must have to be resumed."""
    return Identity(
        job.architecture, job.seed, job.epochs, recipe, [cache.content for cache in caches],
        (job.train_cache, job.val_cache), code, job.mirrored, "" if job.parent is None else job.parent.sha256(),
    )  # fmt: skip


def _reason(error: Exception) -> str:
    if isinstance(error, ExpandError):
        return str(error)
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return f"out of memory ({first}); try a smaller recipe.batch_size"
    return f"{type(error).__name__}: {(str(error) or 'no message').splitlines()[0]}"


def _save_weights(path: Path, network: torch.nn.Module) -> None:
    from safetensors.torch import save

    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_atomically(path, save(tensors))


# --- starts ----------------------------------------------------------------------------------------------------------
# A line of `attempts.jsonl` is a start, or says that the previous start ended in an orderly way, with any outcome.


def _log_start(checkpoint: Path) -> int:
    """Adds a line for this start of the trial to its log; returns the number of starts so far."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    where = {"pid": os.getpid(), "host": socket.gethostname(), "time": time.time(), "checkpoint": stamp_of(checkpoint)}
    _log(checkpoint, where)
    return count_starts(checkpoint)


def log_return(checkpoint: Path) -> None:
    """Adds that the training process survived. If that cannot be written, the start counts as a failed one."""
    with contextlib.suppress(OSError):
        _log(checkpoint, {"ended": time.time()})


def stamp_of(checkpoint: Path) -> int | None:
    """A different number for each checkpoint of a trial; None if there is none, or if the disk is unavailable."""
    try:
        return checkpoint.stat().st_mtime_ns
    except OSError:
        return None


def count_starts(checkpoint: Path) -> int:
    """How often the trial of this checkpoint was started."""
    return sum("pid" in line for line in _logged(checkpoint))


def fruitless_starts(checkpoint: Path) -> int:
    """How often in a row a training was started and neither ended in an orderly way nor wrote a checkpoint.

    Starts logged by earlier versions do not say at which checkpoint they began; they are not counted.
    """
    now, count = stamp_of(checkpoint), 0
    for line in reversed(_logged(checkpoint)):
        if "checkpoint" not in line or line["checkpoint"] != now:
            break
        count += 1
    return count


def _log(checkpoint: Path, line: dict[str, object]) -> None:
    with (checkpoint.parent / "attempts.jsonl").open("a") as stream:
        stream.write(json.dumps(line) + "\n")


def _logged(checkpoint: Path) -> list[dict[str, object]]:
    log = checkpoint.parent / "attempts.jsonl"
    lines = []
    for text in log.read_text().splitlines() if log.exists() else ():
        with contextlib.suppress(ValueError):  # a line that a kill cut short
            lines.append(json.loads(text))
    return lines
