"""Clips that are not video files: a folder of pictures (`img_00001.jpg`, `00001.png`) or an array (`.npy`, `.npz`).

Pictures are numbered without gaps, with the same letters before each number; optical flow in the folder (`flow_x_`) is ignored.
An array is uint8 (T, H, W, 3), RGB; an `.npz` holds it alone or as `frames`, optionally with `fps`. A gap in the numbers, an
unreadable picture or another kind of array raises `DamagedVideo`.
"""

from __future__ import annotations

import lzma
import math
import os
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image, ImageOps

from expand.core.files import not_a_file
from expand.data.video.checks import DamagedVideo, VideoInfo, scaled

ARRAY_SUFFIXES = frozenset({".npy", ".npz"})
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
FLOW = re.compile(r"(flow|tvl1)[_-]?[xy]?|[xy]_|flow_[xy]_.*", re.IGNORECASE)  # names of denseflow and mmaction2
NUMBERED = re.compile(r"(.*?)(\d+)")
NOT_READABLE = "not a readable array: truncated, or another kind of file"
DAMAGED_ZIP = (TypeError, KeyError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
MOST_UNPACKED = 1 << 30  # bytes of an archive's frames that are always accepted, at any compression ratio
MOST_PACKED = 20  # highest compression ratio beyond that; pictures reach 2 to 10


def is_stills(path: str | Path) -> bool:
    """Whether a path is such a clip, by its suffix or because it is a folder."""
    return Path(path).suffix.lower() in ARRAY_SUFFIXES or os.path.isdir(path)


def is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES and not name.startswith(".")


def pictures(folder: str | Path) -> list[Path]:
    """The frames of a folder by number.

    Raises:
        DamagedVideo: there are none, a number is missing, or the names have different prefixes.
    """
    series: dict[str, dict[int, Path]] = {}
    try:
        entries = [Path(entry.path) for entry in os.scandir(folder) if is_picture(entry.name)]
    except OSError as error:
        raise DamagedVideo(folder, f"cannot look into it ({error.strerror})") from error
    for path in entries:
        match = NUMBERED.fullmatch(path.stem)
        if match is None:
            raise DamagedVideo(folder, f"{path.name} has no number at its end: frames are ordered by number")
        numbers = series.setdefault(match[1], {})
        if int(match[2]) in numbers:
            raise DamagedVideo(folder, f"{path.name} and {numbers[int(match[2])].name} have the same number")
        numbers[int(match[2])] = path
    kinds = {name: found for name, found in series.items() if not FLOW.fullmatch(name)}
    if len(kinds) != 1:
        found = "pictures of several clips: " + ", ".join(sorted(kinds)) if kinds else "no picture in it"
        raise DamagedVideo(folder, found)
    (numbers,) = kinds.values()
    if len(numbers) <= max(numbers) - min(numbers):
        gap = next(number for number in range(min(numbers), max(numbers)) if number not in numbers)
        raise DamagedVideo(folder, f"picture {gap} of {min(numbers)} to {max(numbers)} is missing")
    return [numbers[number] for number in sorted(numbers)]


def probe_stills(path: str | Path, rate: float = 0.0) -> VideoInfo:
    """The clip's facts from its first picture or its header; `rate` is used if the clip states no frame rate."""
    if os.path.isdir(path):
        files = pictures(path)
        with _opened(path, files[0]) as image:
            width, height = _upright(image)
        return VideoInfo(len(files), rate, width, height, files[0].suffix[1:].lower(), "rgb24")
    header, own = _array_header(path)
    frames, height, width, _ = header.shape
    return VideoInfo(frames, own or rate, width, height, Path(path).suffix[1:].lower(), "rgb24")


def read_stills(
    path: str | Path, *, side: int | None = None, rate: float = 0.0, only: Sequence[int] | None = None
) -> tuple[np.ndarray, float]:
    """The clip, or `only` these frames, as uint8 (T, H, W, 3) with a short side of at most `side`; and its frame rate.

    The frame rate is `rate` if the clip states none.
    """
    if os.path.isdir(path):
        return _read_pictures(path, side, only), rate
    frames, own = _array(path)
    frames = frames if only is None else frames[list(only)]
    width, height = scaled(frames.shape[2], frames.shape[1], side)
    if (height, width) == frames.shape[1:3]:
        return np.array(frames), own or rate
    reformatter = VideoReformatter()  # the same scaler as for videos
    whole = (av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24") for frame in frames)
    small = [reformatter.reformat(frame, width=width, height=height, format="rgb24", threads=1) for frame in whole]
    return np.stack([frame.to_ndarray() for frame in small]), own or rate


def _read_pictures(folder: str | Path, side: int | None, only: Sequence[int] | None = None) -> np.ndarray:
    clip: list[np.ndarray] = []
    files = pictures(folder)
    with _opened(folder, files[0]) as first:  # the first picture's size is the clip's, because sizes may differ
        size = scaled(*_upright(first), side)
    for file in files if only is None else [files[index] for index in only]:
        try:
            with _opened(folder, file) as image:
                whole = ImageOps.exif_transpose(image).convert("RGB")
                clip.append(np.asarray(whole if whole.size == size else whole.resize(size, Image.Resampling.BICUBIC)))
        except (OSError, SyntaxError, ValueError) as error:
            raise DamagedVideo(folder, f"{file.name} cannot be read completely ({error})") from error
    return np.stack(clip)


def _opened(folder: str | Path, file: Path) -> Image.Image:
    if reason := not_a_file(file):
        raise DamagedVideo(folder, f"{file.name} cannot be read ({reason})")
    try:
        return Image.open(file)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "it is empty" if not file.stat().st_size else "it is no picture"
        raise DamagedVideo(folder, f"{file.name} cannot be read ({reason})") from error


def _upright(image: Image.Image) -> tuple[int, int]:
    turned = image.getexif().get(0x0112, 1) >= 5  # EXIF: 5 to 8 are quarter turns
    return (image.height, image.width) if turned else image.size


def _array(path: str | Path) -> tuple[np.ndarray, float]:
    """The frames (an `.npy` file is memory-mapped) and their rate."""
    header, rate = _array_header(path)
    try:
        if Path(path).suffix.lower() == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False), rate
        with zipfile.ZipFile(path) as archive, archive.open(header.name) as stream:
            return np.lib.format.read_array(stream, allow_pickle=False), rate
    except (OSError, ValueError, EOFError, *DAMAGED_ZIP) as error:
        raise DamagedVideo(path, f"{NOT_READABLE} ({error})") from error


@dataclass(frozen=True)
class _Header:
    """An array's header; `name` is its member's name in an archive."""

    shape: tuple[int, ...]
    dtype: np.dtype
    name: str = ""


def _array_header(path: str | Path) -> tuple[_Header, float]:
    """The header of an `.npy` or `.npz` file, and its frame rate.

    Raises:
        DamagedVideo: it is another kind of array, or its header states more data than the file has.
    """
    if reason := not_a_file(path):
        raise DamagedVideo(path, reason)
    if not (size := os.path.getsize(path)):
        raise DamagedVideo(path, "the file is empty")
    try:
        if Path(path).suffix.lower() == ".npy":
            with open(path, "rb") as stream:
                header, rate = _header(stream, size), 0.0
        else:
            with zipfile.ZipFile(path) as archive:
                header, rate = _of_archive(path, archive)
    except (OSError, ValueError, EOFError, *DAMAGED_ZIP) as error:
        raise DamagedVideo(path, f"{NOT_READABLE} ({error})") from error
    shape = header.shape
    if header.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        said = "x".join(map(str, shape)) or "nothing"
        raise DamagedVideo(path, f"holds {header.dtype} {said} instead of uint8 frames x height x width x 3")
    return header, rate


def _header(stream: IO[bytes], size: int, name: str = "") -> _Header:
    """The header of an array of `size` bytes, header included.

    Raises:
        ValueError: the size differs from what the header states.
    """
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not loaded")
    promised, there = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if min(shape, default=0) < 0 or promised > there:
        raise ValueError(f"its header states {promised:,} bytes, the file has {there:,}")
    return _Header(shape, dtype, name)


def _of_archive(path: str | Path, archive: zipfile.ZipFile) -> tuple[_Header, float]:
    """The header of an archive's frames, and its frame rate."""
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    names = [name for name in members if name != "fps"]
    name = "frames" if "frames" in names else names[0] if len(names) == 1 else ""
    if not name:
        raise DamagedVideo(path, f"holds {', '.join(names) or 'no array'}: expected one array, or one named 'frames'")
    packed, unpacked = members[name].compress_size, members[name].file_size
    if unpacked > max(MOST_UNPACKED, MOST_PACKED * packed):
        raise DamagedVideo(path, f"unpacks from {packed:,} to {unpacked:,} bytes: pictures do not compress like that")
    with archive.open(members[name]) as stream:
        header = _header(stream, unpacked, members[name].filename)
    if "fps" not in members:
        return header, 0.0
    if members["fps"].file_size > 4096:
        raise DamagedVideo(path, "its 'fps' is not a single number")
    with archive.open(members["fps"]) as stream:
        rate = float(np.lib.format.read_array(stream, allow_pickle=False).reshape(()))
    return header, rate if np.isfinite(rate) and rate > 0 else 0.0
