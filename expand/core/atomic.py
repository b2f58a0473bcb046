"""Files and folders that are complete or absent, and locks between processes. Standard library only."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from expand.core.errors import ExpandError


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, for a file that gets its name only when it is completely on disk.

    If the body raises, the disk is full or the process is killed, `path` stays as it was. A killed process leaves its
    temporary file behind: see `unfinished`.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield partial
        sync(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes all of `content`, or leaves the file as it was."""
    with appearing(path) as partial:
        partial.write_bytes(content)


def unfinished(path: Path) -> list[Path]:
    """The temporary files of `path`, left by killed processes, if no process is writing it now."""
    own = re.compile(rf"\.{re.escape(path.name)}\.\d+\.tmp")  # not that of `path.more`, which may be being written
    return [found for found in path.parent.glob(f".{glob.escape(path.name)}.*.tmp") if own.fullmatch(found.name)]


def sync(path: Path) -> None:
    """Flushes a file, or a folder's entries, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lets in one process at a time; the others wait.

    The kernel releases the lock when its process ends. The lock file stays, because removing it could let in two.
    """
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# --- folders ---------------------------------------------------------------------------------------------------------


@contextmanager
def placed(folder: Path) -> Iterator[Path]:
    """A new folder to write into. At the end of the block it takes the name `folder` and replaces an existing one; after an error
    it is removed. A process that is killed leaves a hidden folder beside it, which the next call for the same folder removes.

    Raises:
        ExpandError: the place is not writable.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        recover(folder)
        unfinished = folder.with_name(f".{folder.name}.partial-{secrets.token_hex(4)}")
        unfinished.mkdir()
        holder = _hold(unfinished)
        try:
            yield unfinished
            _flush(unfinished)
            _swap(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
            os.close(holder)
    except OSError as error:
        raise ExpandError(
            f"{folder} cannot be written ({error.strerror or error}): free the disk, or name another folder"
        ) from error


def recover(folder: Path) -> None:
    """Removes what killed processes left beside `folder`, and gives the name back to a folder that was about to be replaced."""
    for left in sorted(folder.parent.glob(f".{glob.escape(folder.name)}.old-*")):
        if folder.exists():
            shutil.rmtree(left)
        else:
            os.rename(left, folder)
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.partial-*"):
        with contextlib.suppress(OSError):  # a live process holds it
            holder = _hold(left)
            shutil.rmtree(left)
            os.close(holder)


def _hold(folder: Path) -> int:
    """A lock that the kernel releases when this process ends in any way."""
    holder = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(holder)
        raise
    return holder


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            sync(path)


def _swap(unfinished: Path, folder: Path) -> None:
    """Renames the new folder; an existing one is moved aside first, and moved back if that fails."""
    old = folder.with_name(f".{folder.name}.old-{secrets.token_hex(4)}")
    if folder.exists():
        os.rename(folder, old)
    try:
        os.rename(unfinished, folder)
    except OSError:
        if old.exists():
            os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
