"""Checkpoints that are either whole or not there: tensors and plain values, written aside, synced, renamed, with a SHA-256.

torch loads a flipped bit in tensor data without a word, so the sum is checked before anything is read; the checkpoint before
the last is kept for the case that the last one is damaged.
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
    """A checkpoint whose content is not what was written."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes `path`, its sum in front of the content; what was there becomes `path`.previous."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        os.replace(path, path.with_name(path.name + ".previous"))
    write_atomically(path, hashlib.sha256(content).digest() + content)


def load(path: Path) -> dict[str, Any]:
    """What `save` wrote, onto the CPU; only tensors and plain values are ever unpickled.

    Raises:
        DamagedCheckpoint: the sum does not match.
        FileNotFoundError: there is none.
    """
    stored = path.read_bytes()
    digest, content = stored[:32], stored[32:]
    if hashlib.sha256(content).digest() != digest:
        raise DamagedCheckpoint(f"{path}: the SHA-256 does not match its content; it is damaged and not used")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def load_latest(path: Path) -> tuple[dict[str, Any] | None, str]:
    """The newest checkpoint that is whole (None if there is none), and a line about any that was not."""
    problems: list[str] = []
    for candidate in (path, path.with_name(path.name + ".previous")):
        try:
            return load(candidate), "; ".join(problems)
        except FileNotFoundError:
            continue
        except DamagedCheckpoint as error:
            problems.append(str(error))
    return None, "; ".join(problems)
