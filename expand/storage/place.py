"""Writes a folder atomically: under another name beside its place, then renamed. Standard library only."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from expand.core.errors import ExpandError


@contextlib.contextmanager
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
            f"{folder} cannot be written ({error.strerror or error}): free the disk, or name another folder with --to"
        ) from error


def recover(folder: Path) -> None:
    """Removes what killed processes left beside `folder`, and gives the name back to a folder that was about to be replaced."""
    for left in sorted(folder.parent.glob(f".{_plain(folder.name)}.old-*")):
        if folder.exists():
            shutil.rmtree(left)
        else:
            os.rename(left, folder)
    for left in folder.parent.glob(f".{_plain(folder.name)}.partial-*"):
        with contextlib.suppress(OSError):  # a live process holds it
            holder = _hold(left)
            shutil.rmtree(left)
            os.close(holder)


def _plain(name: str) -> str:
    """The name with glob's special characters quoted."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


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
            with path.open("rb") as file:
                os.fsync(file.fileno())


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
