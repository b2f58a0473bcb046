"""Exports trained networks as folders with source, weights and description that need only torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from expand.core.atomic import placed, recover
from expand.core.clip import Clip
from expand.core.errors import ExpandError, UsageError
from expand.core.layer_plan import Layer
from expand.export.codegen import network_source
from expand.export.model_card import card
from expand.export.portable import ONNX, require, write_portable
from expand.export.templates import load, predict
from expand.export.verify import Written, fixed_inputs, verify

FORMAT = "expand-export-2"
FORMATS = ("expand-export-1", FORMAT)
FILES = (
    "__init__.py", "network.py", "load.py", "predict.py", "architecture.json", "model.safetensors", "README.md",
)  # fmt: skip
WEIGHTS, INDEX = "model.safetensors", "front.json"
INIT = (
    '"""A video network as plain PyTorch; README.md describes it."""\n\nfrom .load import describe, load, prepare\n\n'
)
INIT += '__all__ = ["describe", "load", "prepare"]\n'


@dataclass(frozen=True)
class Package:
    """A network to be exported.

    Attributes:
        network: the class.
        arguments: its keyword arguments, plain values.
        about: further facts as plain JSON, for architecture.json and the model card.
        clip: what each stream reads.
        layers: empty if unknown.
    """

    network: type[nn.Module]
    arguments: Mapping[str, Any]
    state_dict: Mapping[str, Tensor]
    about: Mapping[str, Any]
    clip: Sequence[Clip]
    layers: Sequence[Layer] = ()


def export_network(
    folder: Path, package: Package, *, formats: Sequence[str] = (), force: bool = False
) -> dict[str, float]:
    """Exports one network; returns the largest difference of a logit by file. See `export_networks`."""
    return export_networks(folder, {"": package}, formats=formats, force=force)[""]


def export_networks(
    folder: Path,
    packages: Mapping[str, Package],
    *,
    texts: Mapping[str, str] | None = None,
    formats: Sequence[str] = (),
    force: bool = False,
) -> dict[str, dict[str, float]]:
    """Exports several networks into one folder. The folder gets its name only after fresh processes without the engine have
    loaded all networks and computed the same logits and multiply-adds.

    Args:
        packages: networks by the name of their subfolder ("" is the folder itself).
        texts: contents of further files in the folder, by name.
        formats: further files per network: "model.pt2", "model.onnx".
        force: replaces an earlier export; a folder with other files is never replaced.

    Returns:
        For each name the largest absolute difference of a logit by file.

    Raises:
        UsageError: the folder is not empty.
        ExpandError: a network's source needs more than torch, an argument is not plain, or the check failed.
    """
    folder = Path(os.path.realpath(folder))
    require(formats)
    recover(folder)
    refuse_occupied(folder, force=force)
    with placed(folder) as unfinished:
        written = [_write(unfinished / name, package, formats) for name, package in packages.items()]
        for name, text in (texts or {}).items():
            (unfinished / name).write_text(text, encoding="utf-8")
        return dict(zip(packages, verify(written), strict=True))


def _write(folder: Path, package: Package, formats: Sequence[str]) -> Written:
    folder.mkdir(exist_ok=True)
    arguments = plain_arguments(package.network, package.arguments)
    state = {name: _plain(name, tensor) for name, tensor in package.state_dict.items()}
    network = _with(package.network(**arguments), state)
    inputs = fixed_inputs([(2, clip.channels, clip.frames, clip.height, clip.width) for clip in package.clip])
    with torch.no_grad():
        logits, first = network(*inputs), network(*(clip[:1] for clip in inputs))
    described = {
        **package.about,
        "format": FORMAT,
        "network": {"class": package.network.__name__, "arguments": arguments},
        "clip": [asdict(stream) for stream in package.clip],
        "outputs": logits.shape[-1],
        "weights": _write_weights(folder / WEIGHTS, state),
        "files": [*FILES, *formats],
    }
    texts = {
        "__init__.py": INIT,
        "load.py": Path(load.__file__).read_text(encoding="utf-8"),
        "predict.py": Path(predict.__file__).read_text(encoding="utf-8"),
        "network.py": network_source(package.network, package.arguments, package.layers),
        "architecture.json": json.dumps(described, indent=2, ensure_ascii=False) + "\n",
        "README.md": card(described),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    if formats:
        write_portable(folder, network, inputs, formats)
    macs = package.about.get("cost", {}).get("macs")
    rounding = _rounding(network, inputs, logits) if ONNX in formats else 0.0
    return Written(folder, (WEIGHTS, *formats), inputs, logits, first, macs, rounding)


def _rounding(network: nn.Module, inputs: Sequence[Tensor], logits: Tensor) -> float:
    """The largest difference of these logits from those in float64. Converts the network to float64."""
    with torch.no_grad():
        exact = network.double()(*(clip.double() for clip in inputs))
    return float((logits.double() - exact).abs().max())


def refuse_occupied(folder: Path, *, force: bool) -> None:
    """Raises `UsageError` if the folder exists and may not be replaced."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--to {folder}: it is a file; name a folder")
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if not found:
        return
    foreign = _foreign(folder, found)
    if foreign:
        raise UsageError(f"--to {folder}: holds {foreign}; only an earlier export can be replaced, name another folder")
    if not force:
        raise UsageError(f"--to {folder}: holds an earlier export; --force replaces it, or name another folder")


def _foreign(folder: Path, found: set[str]) -> str:
    """A description of files in a folder that no export wrote; "" if there are none."""
    single, index = _facts(folder / "architecture.json"), _facts(folder / INDEX)
    ours = {*FILES, *(single or {}).get("files", ()), "__pycache__"} if single else set()
    if index:
        ours = {INDEX, *index["files"], *index["networks"], "__pycache__"}
        for name in index["networks"]:
            inside = folder / name
            if inside.is_dir() and (foreign := _foreign(inside, {path.name for path in inside.iterdir()})):
                return f"{foreign} in {name}"
    extra = sorted(found - ours)
    if not ours:
        return ", ".join(extra[:3]) if "architecture.json" not in found else "files of something else"
    return ", ".join(extra[:3])


def _facts(path: Path) -> dict[str, Any] | None:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return facts if facts.get("format") in FORMATS else None
    except (OSError, ValueError, AttributeError):
        return None


def plain_arguments(network: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as JSON values."""
    for name, value in arguments.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise ExpandError(
                f"{network.__name__}({name}={value!r}): an exported network's arguments are plain values only"
            ) from None
    return json.loads(json.dumps(dict(arguments)))


def _plain(name: str, tensor: object) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise ExpandError(f"state entry '{name}' is a {type(tensor).__name__}; only tensors can be exported")
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _with(network: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ExpandError(f"the weights do not fit {type(network).__name__}: {error}") from error
    return network.eval()


def _write_weights(path: Path, state: dict[str, Tensor]) -> dict[str, Any]:
    from safetensors.torch import save

    raw = save(state, metadata={"format": "pt"})
    path.write_bytes(raw)  # safetensors' save_file would let only the owner read it
    return {"file": path.name, "sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}
