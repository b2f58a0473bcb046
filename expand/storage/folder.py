"""The files of a run directory besides the record, and its driver's lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from expand.core.errors import ExpandError, UsageError
from expand.storage.facts import read_facts
from expand.storage.serialize import read_file

Listing = dict[str, tuple[str, str, str]]  # data.json: class, split and SHA-256 of each video, by path

_OURS = {
    "driver.lock",
    "study.json",
    "environment.json",
    "data.json",
    "plan.json",
    "report",
    "tune",
    "tensorboard",
    "mlflow.db",
    "wandb",
    "optuna.db",
    "optuna.db-journal",
    "tuning.db",
    "tuning.db-journal",
    "tune.json",
    "recipe.json",
    "checkpoints",
    "artifacts",
}


def check_folder(folder: Path) -> None:
    """Creates the run directory if necessary, checks that it is ours and writable, before any work is done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        foreign = [entry.name for entry in folder.iterdir() if entry.name not in _OURS and entry.name[0] != "."]
        if read_facts(folder) is None and foreign:  # a study.json that cannot be read is reported now, too
            raise UsageError(f"{folder} holds {foreign[0]} and no run of expand; give another folder with --out")
        probe = folder / f".write-probe-{os.getpid()}"
        try:
            probe.write_bytes(b"0" * 4096)
        finally:
            probe.unlink(missing_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(
            f"{folder} is a file or lies in one, and is no folder; give another place with --out"
        ) from None
    except OSError as error:
        raise ExpandError(f"cannot write to {folder}: {error.strerror}; give another place with --out") from None


@contextlib.contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """`check_folder` for the block; if the block fails without writing anything, the folder is removed."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        check_folder(folder)
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            if folder in missing and [entry.name for entry in folder.iterdir()] == ["driver.lock"]:
                (folder / "driver.lock").unlink()
            for path in missing:
                path.rmdir()  # fails if it is not empty
        raise


@contextlib.contextmanager
def only_driver(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, which the kernel releases when this process ends in any way."""
    with (folder / "driver.lock").open("a+") as lock:
        for patience in (0.1, 0.2, 0.4, None):  # `expand status` takes the lock for a moment
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if patience is not None:
                    time.sleep(patience)
                    continue
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise UsageError(
                    f"{folder} has a live driver already ({holder}); wait for it, end it, or give another folder with --out"
                ) from None
        lock.truncate(0)
        lock.write(f"pid {os.getpid()} on {socket.gethostname()} since {_now()}")
        lock.flush()
        yield


def live_driver(folder: Path) -> str:
    """The live driver of a run ("pid 12 on host since ..."), or ""."""
    try:
        with (folder / "driver.lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return ""
    except FileNotFoundError:
        return ""
    except OSError:
        return (folder / "driver.lock").read_text().strip()


def in_training(folder: Path, checkpoint: Path) -> bool:
    """Whether a worker of the live driver has started the trial of this checkpoint: the last start in its log is later than the
    driver's start. An open trial that was not started is queued."""
    try:
        last = json.loads((checkpoint.parent / "attempts.jsonl").read_text().splitlines()[-1])
        return "pid" in last and last["time"] >= (folder / "driver.lock").stat().st_mtime
    except (OSError, ValueError, LookupError):
        return False


@dataclass(frozen=True)
class Environment:
    """environment.json: versions and hardware that the results were measured with. `threads` are those of a worker."""

    started: str = ""
    python: str = ""
    system: str = ""
    cores: int | None = None
    gpus: tuple[str, ...] = ()
    torch: str = ""
    optuna: str = ""
    ray: str = ""
    fvcore: str = ""
    av: str = ""
    numpy: str = ""
    threads: int | None = None


def environment(threads: int | None) -> Environment:
    """This machine's."""
    import platform
    from importlib.metadata import version

    import torch

    gpus = tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    packages = {name: version(name) for name in ("torch", "optuna", "ray", "fvcore", "av", "numpy")}
    return Environment(
        _now(), platform.python_version(), platform.platform(), os.cpu_count(), gpus, threads=threads, **packages
    )


def read_environment(folder: Path) -> Environment:
    """environment.json of a run; empty if it is missing or damaged."""
    with contextlib.suppress(UsageError):
        return read_file(folder / "environment.json", Environment, remedy="delete it") or Environment()
    return Environment()


def read_listing(folder: Path) -> Listing | None:
    """data.json of a run: its videos."""
    return read_file(folder / "data.json", Listing, remedy="put it back as it was")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
