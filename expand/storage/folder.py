"""The files of a run directory besides the record, and its driver's lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from expand.core.atomic import write_atomically
from expand.core.errors import ExpandError, UsageError
from expand.core.files import json_bytes, misfit, read_json

# What study.json holds; "?" is what only some commands need.
FACTS = {
    "optuna_study": str, "reference?": str | None, "classes?": dict, "scale?": str, "settings?": [str],
    "data_option?": str | None,
    "seed_option?": int | None, "limits?": [str], "storage?": str | None,
    "study": {
        "name": str, "space?": dict, "recipe?": {"epochs": int, "views": int}, "data?": {"cache_side": int},
        "budget?": dict, "objectives": [{"name": str, "direction": str, "known_before_training": bool}], "seeds": [int],
    },
    "data?": {"name": str, "fingerprint": str, "classes": [str], "videos": {"train": int, "val": int}},
    "alone?": dict | None,
}  # fmt: skip


ALONE = {"name": str, "network": str, "label": str, "seeds": [int], "settings": [str]}


LISTING = 3  # of data.json: class, split, SHA-256 of a video


class Facts(dict[str, Any]):
    """study.json. A missing key that a command needs raises a `UsageError`."""

    def __missing__(self, key: str) -> Any:
        raise UsageError(
            f"study.json of the run has no '{key}': put it back as it was, or begin anew with another --out"
        )


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
    "checkpoints",
    "artifacts",
}


def check_folder(folder: Path) -> None:
    """Creates the run directory if necessary, checks that it is ours and writable, before any work is done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        foreign = [entry.name for entry in folder.iterdir() if entry.name not in _OURS and entry.name[0] != "."]
        if foreign and _read_facts(folder) is None:
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
def _only_driver(folder: Path) -> Iterator[None]:
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


def environment() -> dict[str, Any]:
    """Versions and hardware that the results were measured with."""
    import platform
    from importlib.metadata import version

    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    packages = ("torch", "optuna", "ray", "fvcore", "av", "numpy")
    return {
        "started": _now(), "python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count(),
        "gpus": gpus, **{name: version(name) for name in packages},
    }  # fmt: skip


def _read_facts(folder: Path) -> dict[str, Any] | None:
    try:
        facts = read_json(folder / "study.json", FACTS)
        if facts.get("alone") and (problem := misfit(facts["alone"], ALONE, "alone")):
            raise ValueError(problem)
        return Facts(facts)
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{folder}/study.json cannot be read ({reason}); give another folder with --out") from None


def read_listing(folder: Path) -> dict[str, list[str]] | None:
    """data.json of a run: its videos as `Manifest.listing` told them."""
    try:
        listing = read_json(folder / "data.json", dict)
        if any(misfit(row, [str]) or len(row) != LISTING for row in listing.values()):
            raise ValueError("it is no listing of videos")
        return listing
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{folder}/data.json cannot be read ({getattr(error, 'strerror', None) or error}): put it back as it was"
        ) from None


def write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, json_bytes(content, indent=1) + b"\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
