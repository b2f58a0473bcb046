"""Weights from a file into a network: those of our own exports and runs, whose names are the network's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from expand.errors import ExpandError, UsageError
from expand.space import Architecture, SearchSpace
from expand.training.freeze import head_of


@dataclass(frozen=True)
class Matched:
    """What became of each name: `replaced` is a head of another size, left as it was initialised."""

    layout: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    replaced: tuple[str, ...]


def load_weights(network: nn.Module, path: Path, *, space: SearchSpace, architecture: Architecture) -> Matched:
    """Reads a safetensors file, or the one in an export folder, into `network`, in place.

    Raises:
        UsageError: there is no file, or it holds no weights of this network.
        ExpandError: a tensor other than the head's has another shape.
    """
    stored, own = _read(weights_file(path)), network.state_dict()
    head = head_of(network)[0] + "."
    common = [name for name in own if name in stored]
    other = [name for name in common if stored[name].shape != own[name].shape]
    if not common:
        raise UsageError(f"{path}: none of its {len(stored)} tensors is of {space.name} {architecture}")
    if wrong := [name for name in other if not name.startswith(head)]:
        name = wrong[0]
        there, here = tuple(stored[name].shape), tuple(own[name].shape)
        raise ExpandError(
            f"{path} is of another network: {name} is {there} there and {here} here ({len(wrong)} such); "
            f"start from weights of {architecture}"
        )
    replaced = [name for name in common if name.startswith(head)] if other else []
    matched = [name for name in common if name not in replaced]
    network.load_state_dict({name: stored[name] for name in matched}, strict=False)
    return Matched(
        "expand", tuple(matched), tuple(name for name in own if name not in stored),
        tuple(name for name in stored if name not in own), tuple(replaced),
    )  # fmt: skip


def weights_file(path: Path) -> Path:
    """The file itself where `path` is an export folder."""
    return path / "model.safetensors" if path.is_dir() else path


def _read(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())
    except OSError as error:
        raise UsageError(f"recipe.weights={path}: {error.strerror}") from None
    except SafetensorError as error:
        raise UsageError(f"recipe.weights={path}: no weights in safetensors format ({error})") from None
