"""Loads the network of this folder and prepares videos for it. Needs torch only.

`expand export` writes this file beside network.py, model.safetensors and architecture.json; the folder can be moved.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import struct
import sys
from collections.abc import Sequence
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn import functional

HERE = Path(__file__).resolve().parent

# The dtypes of the safetensors format (https://github.com/huggingface/safetensors#format) that torch has.
DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32,
    "I64": torch.int64, "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
}  # fmt: skip


def load(folder: str | Path = HERE, device: str | torch.device = "cpu") -> nn.Module:
    """The network with its weights, in eval mode.

    Raises:
        ValueError: the weights are not those that were exported, or do not fit the network.
    """
    folder = Path(folder)
    about = describe(folder)
    weights = folder / "model.safetensors"
    network = source(folder).build_network()
    try:
        network.load_state_dict(read_safetensors(weights, sha256=about["weights"]["sha256"]))
    except RuntimeError as error:
        raise ValueError(f"{weights} does not fit {about['network']['class']}: {error}") from error
    return network.eval().to(device)


def describe(folder: str | Path = HERE) -> dict[str, Any]:
    """architecture.json: the architecture, its cost and accuracy, the clip it expects, the class names."""
    return json.loads((Path(folder) / "architecture.json").read_text(encoding="utf-8"))


def prepare(
    video: torch.Tensor, folder: str | Path = HERE, *, fps: float | None = None, view: int = 0, views: int = 1
) -> tuple[torch.Tensor, ...]:  # uint8 (T, H, W, 3) -> one float (1, 3, frames, height, width) a stream
    """The network's input for a video's RGB frames, prepared as in its validation: sampled, cropped at the centre, normalised.

    Args:
        view: number of the view, from 0, of `views` views evenly spaced in time. A video that is too short is padded by
            repeating its last frame.
        fps: the video's frame rate. If it differs by more than 5 % from that of the training videos, frames are picked at the
            training videos' rate.
    """
    about = describe(folder)
    rate = fps or about.get("fps") or 1.0
    places = frame_indices([number / rate for number in range(len(video))], about, view, views)
    return prepare_frames(tuple(video[stream] for stream in places), about)


def frame_indices(times: Sequence[float], about: dict[str, Any], view: int, views: int) -> list[list[int]]:
    """For each stream the indices of the frames in view number `view` of `views`; `times` are those of all frames in seconds."""
    rated = _at_rate(times, about.get("fps"))
    spans = [min((clip["frames"] - 1) * clip["stride"] + 1, len(rated)) for clip in about["clip"]]
    begin = int((len(rated) - max(spans)) * (view + 0.5) / views)  # of the longest stream; the others are centred in it
    places = []
    for clip, span in zip(about["clip"], spans, strict=True):
        start = begin + (max(spans) - span) // 2
        places.append([rated[min(start + n * clip["stride"], len(rated) - 1)] for n in range(clip["frames"])])
    return places


def prepare_frames(streams: Sequence[torch.Tensor], about: dict[str, Any]) -> tuple[torch.Tensor, ...]:
    """Crops and normalises the frames of each stream: uint8 (T, H, W, 3) -> float (1, 3, T, height, width)."""
    scale = {key: torch.tensor(value).reshape(-1, 1, 1, 1) for key, value in about.get("normalisation", {}).items()}
    prepared = []
    for clip, frames in zip(about["clip"], streams, strict=True):
        stream = _centre(frames.permute(0, 3, 1, 2).float(), clip, about.get("resize", {})).transpose(0, 1) / 255
        prepared.append(((stream - scale["mean"]) / scale["std"] if scale else stream)[None])
    return tuple(prepared)


def _at_rate(times: Sequence[float], trained: float | None) -> list[int]:
    """The nearest frame for each tick of the training videos' frame rate; all frames if the rates are about equal."""
    gap = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
    if not trained or gap <= 0 or abs(1 / (gap * trained) - 1) <= 0.05:
        return list(range(len(times)))
    ticks, nearest, frame = max(1, round((times[-1] - times[0] + gap) * trained)), [], 0
    for tick in range(ticks):
        time = times[0] + tick / trained
        while frame + 1 < len(times) and (times[frame] + times[frame + 1]) / 2 < time:
            frame += 1
        nearest.append(frame)
    return nearest


def _centre(planes: torch.Tensor, clip: dict[str, int], resize: dict[str, float]) -> torch.Tensor:  # (T, 3, H, W)
    height, width = clip["height"], clip["width"]
    if "height_over_crop" in resize:
        rows = round(planes.shape[2] / resize["height_over_crop"])
        columns = round(planes.shape[3] / resize["width_over_crop"])
    else:
        factor = min(planes.shape[2] / height, planes.shape[3] / width) / resize.get("short_side_over_crop", 1.0)
        rows, columns = round(height * factor), round(width * factor)
    top, left = (planes.shape[2] - rows) // 2, (planes.shape[3] - columns) // 2
    planes = planes[:, :, top : top + rows, left : left + columns]
    if (rows, columns) == (height, width):
        return planes
    return functional.interpolate(planes, (height, width), mode="bilinear", align_corners=False, antialias=True)


def source(folder: str | Path = HERE) -> ModuleType:
    """Imports network.py under a unique module name, so that one process can load several exports."""
    file = Path(folder).resolve() / "network.py"
    name = f"network_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


def read_safetensors(path: str | Path, *, sha256: str | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file: eight bytes with the header's length (little-endian), a JSON header, the data.

    Raises:
        ValueError: the SHA-256 differs, a dtype is unknown, or the file is truncated.
    """
    raw = bytearray(Path(path).read_bytes())
    found = hashlib.sha256(raw).hexdigest()
    if sha256 is not None and found != sha256:
        raise ValueError(f"{path} is damaged or not the exported file: SHA-256 {found}, expected {sha256}")
    if len(raw) < 8:
        raise ValueError(f"{path}: {len(raw)} bytes are not a safetensors file")
    (length,) = struct.unpack_from("<Q", raw)
    start = 8 + length
    if start > len(raw):
        raise ValueError(f"{path} is truncated: {len(raw)} bytes, the header alone needs {start}")
    header = json.loads(bytes(raw[8:start]))
    header.pop("__metadata__", None)
    return {name: _tensor(raw, start, entry, f"{path}: {name}") for name, entry in header.items()}


def _tensor(raw: bytearray, start: int, entry: dict[str, Any], where: str) -> torch.Tensor:
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"{where}: unknown dtype {entry['dtype']}; known are {', '.join(DTYPES)}")
    dtype, shape, (begin, end) = DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
    count = prod(shape)
    if not 0 <= begin <= end <= len(raw) - start or end - begin != count * dtype.itemsize:
        raise ValueError(
            f"{where}: bytes {begin} to {end} of {len(raw) - start} do not fit {shape} of {entry['dtype']}"
        )
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(raw, dtype=dtype, count=count, offset=start + begin).reshape(shape)
