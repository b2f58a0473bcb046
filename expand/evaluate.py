"""One candidate's whole job: seed, build, train, validate. Plain data in, plain data out, in whatever process."""

from __future__ import annotations

import json
import os
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from expand.data.cache import ClipCache
from expand.errors import ExpandError
from expand.space import Architecture, SearchSpace
from expand.study import Recipe
from expand.training import checkpoint
from expand.training.device import pick_device, seed_everything
from expand.training.loop import train

EpochReport = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Job:
    """Everything a worker needs to train trial `number`; folders are on a disk that it can reach."""

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


def evaluate(job: Job, on_epoch: EpochReport) -> dict[str, Any]:
    """Trains and validates. The answer is JSON: status "complete" with metrics, or "failed" with an error and traceback.

    Only an interrupt leaves this function as an exception: what is wrong with one candidate ends that candidate.
    """
    attempts = _count_attempt(Path(job.checkpoint).parent)
    began = time.perf_counter()
    curve: list[dict[str, Any]] = []
    device = pick_device()
    about = {"attempts": attempts, "device": device.type, "pid": os.getpid()}

    def keep(entry: dict[str, Any]) -> None:
        curve.append(entry)
        on_epoch(entry | {"attempts": attempts})

    try:
        torch.set_num_threads(job.threads)
        training, validation = ClipCache(job.train_cache), ClipCache(job.val_cache)
        seed_everything(job.seed)
        network = job.space.build(job.architecture, len(training.classes))
        metrics, whole_curve = train(
            network, job.space.inputs(job.architecture), training, validation, job.recipe,
            epochs=job.epochs, seed=job.seed, device=device, checkpoint_path=Path(job.checkpoint), on_epoch=keep,
        )  # fmt: skip
        _save_weights(Path(job.weights), network)
    except Exception as error:
        return about | {
            "status": "failed", "error": _reason(error), "curve": curve,
            "traceback": traceback.format_exc()[-6000:], "train_seconds": round(time.perf_counter() - began, 3),
        }  # fmt: skip
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()
    seconds = round(sum(entry["seconds"] for entry in whole_curve), 3)
    return about | {
        "status": "complete", "metrics": asdict(metrics), "curve": whole_curve, "train_seconds": seconds
    }  # fmt: skip


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
    checkpoint.write_atomically(path, save(tensors))


def _count_attempt(folder: Path) -> int:
    """Adds a line for this start of the trial to its log and says how many there are now."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "attempts.jsonl"
    with log.open("a") as stream:
        stream.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "time": time.time()}) + "\n")
    return len(log.read_text().splitlines())
