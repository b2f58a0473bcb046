"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from expand.core.files import json_bytes


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Another name beside `path` for the block to write to. The file takes its place when the block ends without an error; else
    `path` stays as it was, also when the process dies or the disk is full."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield aside
        with aside.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """All of `content` or the file as it was before."""
    with replaced(path) as aside:
        aside.write_bytes(content)


def write_json(path: Path, content: object) -> None:
    write_atomically(path, json_bytes(content, indent=1) + b"\n")
