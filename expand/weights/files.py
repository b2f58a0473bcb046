"""Reads weight files without running code in them: safetensors, torch files, our checkpoints."""

from __future__ import annotations

import contextlib
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from expand.core.errors import ExpandError, UsageError
from expand.core.files import not_a_file, read_json
from expand.core.space import Architecture
from expand.storage.serialize import from_plain
from expand.training import checkpoint

ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # the first bytes of torch files; before torch 1.6 a pickle
# Where trainings store the network: SlowFast and PyTorchVideo, Lightning and mmaction2, others, our own checkpoints.
WRAPPERS = ("model_state", "state_dict", "model_state_dict", "model", "network")
MOST_WRAPPED = 8
MOST_PACKED = 20  # highest compression ratio that is accepted
PREFIXES = ("module.", "_orig_mod.", "model.")  # added by DistributedDataParallel, torch.compile and Lightning


@dataclass(frozen=True)
class WeightFile:
    """A file's tensors by their names in it, and the architecture if an export states it."""

    path: Path
    tensors: dict[str, Tensor]
    architecture: Architecture | None = None


def read(path: Path) -> WeightFile:
    """Reads an export's or trial's folder, a safetensors file, a torch file or one of our checkpoints, onto the CPU.

    Raises:
        UsageError: the file is missing or damaged, holds no weights, or could be read only by running code.
    """
    path = weights_file(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(40)
        export = _export(path)
        content = _content(path, head, export)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    tensors = _unwrapped(content)
    if not tensors:
        raise UsageError(
            f"{path} holds no weights: no tensors by name, neither at its top nor under {', '.join(WRAPPERS)}"
        )
    return WeightFile(path, tensors, _architecture(export))


def weights_file(path: Path) -> Path:
    if not path.exists():
        raise UsageError(
            f"{path}: no such file; name an export's folder, model.safetensors or a .pt, .pth or .pyth file"
        )
    if not path.is_dir():
        if reason := not_a_file(path):
            raise UsageError(f"{path}: {reason}; name a file of weights or an export's folder")
        return path
    if not (path / "model.safetensors").is_file():
        raise UsageError(
            f"{path}: a folder without model.safetensors; name an export's folder, RUN/artifacts/N or a file"
        )
    return path / "model.safetensors"


@dataclass(frozen=True)
class Digest:
    """The content of a file."""

    sha256: str


@dataclass(frozen=True)
class Export:
    """What an export's architecture.json says of the file beside it."""

    architecture: Mapping[str, Any]
    weights: Digest


def _export(path: Path) -> Export | None:
    """The architecture.json beside the file; None if there is none of ours."""
    file = path.with_name("architecture.json")
    if path.name != "model.safetensors" or not file.is_file():
        return None
    try:
        about = read_json(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} is damaged ({error}); export the network again") from None
    with contextlib.suppress(ValueError):  # somebody else's
        return from_plain(about, Export)
    return None


def _architecture(export: Export | None) -> Architecture | None:
    values = dict(export.architecture) if export else {}
    family = values.pop("family", None)
    return Architecture(family, tuple(values.items())) if family else None


def _content(path: Path, head: bytes, export: Export | None) -> Any:
    if head[32:36] == ZIP:
        try:
            return checkpoint.load(path)
        except (ExpandError, RuntimeError, pickle.UnpicklingError) as error:
            raise UsageError(f"{path}: a damaged checkpoint ({_first_line(error)})") from None
    if head[:4] == ZIP or head[:1] == PICKLE:
        return _torch_file(path)
    if head[8:9] == b"{":
        return _safetensors(path, export)
    raise UsageError(f"{path} is no file of weights: neither safetensors nor torch's (it begins with {head[:12]!r})")


def _torch_file(path: Path) -> Any:
    _refuse_bomb(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        wanted = re.search(r"(?:GLOBAL|class) ([\w.]+)", str(error).partition("WeightsUnpickler")[2])
        if wanted:
            raise UsageError(
                f"{path}: reading it would run code ({wanted[1]}), which is refused; where it was created, save only "
                "network.state_dict(), with torch.save or as safetensors"
            ) from None
        raise UsageError(f"{path} is damaged or no file of weights ({_first_line(error)})") from None


def _refuse_bomb(path: Path) -> None:
    """Refuses a compressed file that would fill the memory; torch itself writes tensors uncompressed."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            promised, size = sum(member.file_size for member in archive.infolist()), path.stat().st_size
    except zipfile.BadZipFile:
        return  # torch reports what is wrong
    if promised > MOST_PACKED * size:
        raise UsageError(f"{path} is no file of weights: its {size:,} bytes unpack to {promised:,}")


def _safetensors(path: Path, export: Export | None) -> dict[str, Tensor]:
    import hashlib

    from safetensors import SafetensorError
    from safetensors.torch import load

    raw = path.read_bytes()
    expected = export.weights.sha256 if export else None
    if expected is not None and hashlib.sha256(raw).hexdigest() != expected:
        raise UsageError(f"{path} is damaged or not the exported file: its SHA-256 is not the one in architecture.json")
    try:
        return load(raw)
    except SafetensorError as error:
        raise UsageError(f"{path} is damaged ({error})") from None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def _unwrapped(content: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, without the training's outer dictionaries and the prefixes of wrappers."""
    for _ in range(MOST_WRAPPED):  # a pickle may contain itself
        if not isinstance(content, dict):
            break
        inner = next((content[name] for name in WRAPPERS if isinstance(content.get(name), dict)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, dict):
        return {}
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    while prefix := next((p for p in PREFIXES if tensors and all(name.startswith(p) for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
