"""Checkpoints of tensors and plain values, written to a temporary file, synced, and renamed, with a SHA-256.

torch loads tensor data with a flipped bit without an error, so the SHA-256 is checked first. The previous checkpoint is kept in
case the last one is damaged.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch

from expand.core.atomic import write_atomically
from expand.core.errors import ExpandError


class DamagedCheckpoint(ExpandError):
    """The content of a checkpoint does not match its SHA-256."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes `path`: the SHA-256, then the content. An existing checkpoint becomes `path`.previous."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        os.replace(path, path.with_name(path.name + ".previous"))
    write_atomically(path, hashlib.sha256(content).digest() + content)


def load(path: Path) -> dict[str, Any]:
    """Loads a checkpoint onto the CPU; unpickles only tensors and plain values.

    Raises:
        DamagedCheckpoint: the SHA-256 does not match.
        FileNotFoundError: there is no checkpoint.
    """
    stored = path.read_bytes()
    digest, content = stored[:32], stored[32:]
    if hashlib.sha256(content).digest() != digest:
        raise DamagedCheckpoint(f"{path}is damaged and was not used: its SHA-256 does not match its content")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def load_latest(path: Path) -> tuple[dict[str, Any] | None, str]:
    """The newest intact checkpoint (None if there is none), and a line about a damaged one."""
    problems: list[str] = []
    for candidate in (path, path.with_name(path.name + ".previous")):
        try:
            return load(candidate), "; ".join(problems)
        except FileNotFoundError:
            continue
        except DamagedCheckpoint as error:
            problems.append(str(error))
    return None, "; ".join(problems)
