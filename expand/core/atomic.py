"""Files that are complete or absent, and locks between processes. Standard library only."""

from __future__ import annotations

import fcntl
import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    """The temporary files of `path`: left by killed processes, where nobody is writing it now."""
    return list(path.parent.glob(f".{glob.escape(path.name)}.*.tmp"))


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

    The kernel gives the lock back when its process ends. The lock file stays, because removing it could let in two.
    """
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
