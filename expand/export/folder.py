"""Takes trained networks away: folders with source, weights and description that need torch and nothing else."""

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

from expand.core.clip import Clip
from expand.core.errors import ExpandError, UsageError
from expand.core.layer_plan import Layer
from expand.export.codegen import network_source
from expand.export.model_card import card
from expand.export.portable import ONNX, require, write_portable
from expand.export.templates import load, predict
from expand.export.verify import Written, fixed_inputs, verify
from expand.storage.place import placed, recover

FORMAT = "expand-export-2"
FORMATS = ("expand-export-1", FORMAT)
FILES = (
    "__init__.py", "network.py", "load.py", "predict.py", "architecture.json", "model.safetensors", "README.md",
)  # fmt: skip
WEIGHTS, INDEX = "model.safetensors", "front.json"
INIT = '"""A video network as plain PyTorch; README.md says what it is."""\n\nfrom .load import describe, load, prepare\n\n'
INIT += '__all__ = ["describe", "load", "prepare"]\n'


@dataclass(frozen=True)
class Package:
    """What an export is made from: the class and its plain keyword arguments, its trained state, the clip each stream reads, its
    layers where they are known, and what else is known about it (`about`, plain JSON, which becomes architecture.json;
    `card` says what of it the README tells)."""

    network: type[nn.Module]
    arguments: Mapping[str, Any]
    state_dict: Mapping[str, Tensor]
    about: Mapping[str, Any]
    clip: Sequence[Clip]
    layers: Sequence[Layer] = ()


def export_network(
    folder: Path, package: Package, *, formats: Sequence[str] = (), force: bool = False
) -> dict[str, float]:
    """Writes one network; the largest differences by file. See `export_networks`."""
    return export_networks(folder, {"": package}, formats=formats, force=force)[""]


def export_networks(
    folder: Path,
    packages: Mapping[str, Package],
    *,
    texts: Mapping[str, str] | None = None,
    formats: Sequence[str] = (),
    force: bool = False,
) -> dict[str, dict[str, float]]:
    """Writes each package into the sub-folder of its name ("" is the folder itself), and `texts` beside them. Fresh processes
    load all of them without the engine, and get the same logits and multiply-adds, before anything takes its name. `formats`
    are further files: "model.pt2", "model.onnx". Returns for each name the largest absolute difference of a logit by file.

    Raises:
        UsageError: the folder holds something; an earlier export is replaced with `force`, anything else never.
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
    """The largest difference of these logits from the same network's in float64. The network is left in float64."""
    with torch.no_grad():
        exact = network.double()(*(clip.double() for clip in inputs))
    return float((logits.double() - exact).abs().max())


def refuse_occupied(folder: Path, *, force: bool) -> None:
    """Raises `UsageError` where something stands that may not be replaced."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--to {folder}: a file is there; name a folder")
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if not found:
        return
    foreign = _foreign(folder, found)
    if foreign:
        raise UsageError(f"--to {folder}: holds {foreign}; only an earlier export can be replaced, name another folder")
    if not force:
        raise UsageError(f"--to {folder}: holds an earlier export; --force replaces it, or name another folder")


def _foreign(folder: Path, found: set[str]) -> str:
    """What in a folder is not of an export of ours, in words; nothing where all of it is."""
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
    """The arguments as JSON holds them."""
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
    path.write_bytes(raw)  # save_file would make it readable for its owner only
    return {"file": path.name, "sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}
