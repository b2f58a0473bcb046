"""Clips that are no video files: a folder of pictures (`img_00001.jpg`, `00001.png`) or an array (`.npy`, `.npz`).

Pictures are numbered without a gap, all with the same letters before the number; optical flow beside them (`flow_x_`) is
left alone. An array is uint8 (T, H, W, 3), RGB; an `.npz` holds it alone or as `frames`, with `fps` beside it if known.
A gap in the numbers, an unreadable picture or another kind of array is a `DamagedVideo`.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image, ImageOps

from expand.data.files.clips import DamagedVideo, VideoInfo, scaled

ARRAY_SUFFIXES = frozenset({".npy", ".npz"})
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
FLOW = re.compile(r"(flow|tvl1)[_-]?[xy]?|[xy]_|flow_[xy]_.*", re.IGNORECASE)  # as denseflow and mmaction2 name it
NUMBERED = re.compile(r"(.*?)(\d+)")


def is_stills(path: str | Path) -> bool:
    """Whether a path is one of these, told by its suffix or because it is a folder."""
    return Path(path).suffix.lower() in ARRAY_SUFFIXES or os.path.isdir(path)


def is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES and not name.startswith(".")


def pictures(folder: str | Path) -> list[Path]:
    """The frames of a folder by number. Raises `DamagedVideo` for none, a gap, or two kinds of names."""
    series: dict[str, dict[int, Path]] = {}
    try:
        entries = [Path(entry.path) for entry in os.scandir(folder) if is_picture(entry.name)]
    except OSError as error:
        raise DamagedVideo(folder, f"cannot look into it ({error.strerror})") from error
    for path in entries:
        match = NUMBERED.fullmatch(path.stem)
        if match is None:
            raise DamagedVideo(folder, f"{path.name} has no number at its end: frames are told apart by number")
        numbers = series.setdefault(match[1], {})
        if int(match[2]) in numbers:
            raise DamagedVideo(folder, f"{path.name} and {numbers[int(match[2])].name} have one number")
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
    """What there is, from the first picture or the array's header; `rate` is the frame rate where the clip says none."""
    if os.path.isdir(path):
        files = pictures(path)
        with _opened(path, files[0]) as image:
            width, height = _upright(image)
        return VideoInfo(len(files), rate, width, height, files[0].suffix[1:].lower(), "rgb24")
    frames, own = _array(path)
    return VideoInfo(len(frames), own or rate, frames.shape[2], frames.shape[1], Path(path).suffix[1:].lower(), "rgb24")


def read_stills(
    path: str | Path, *, side: int | None = None, rate: float = 0.0, only: Sequence[int] | None = None
) -> tuple[np.ndarray, float]:
    """The clip, or `only` these frames of it, as uint8 (T, H, W, 3), its short side at most `side`; and its frame rate
    (`rate` where it says none)."""
    if os.path.isdir(path):
        return _read_pictures(path, side, only), rate
    frames, own = _array(path)
    frames = frames if only is None else frames[list(only)]
    width, height = scaled(frames.shape[2], frames.shape[1], side)
    if (height, width) == frames.shape[1:3]:
        return np.array(frames), own or rate
    reformatter = VideoReformatter()  # the one that scales videos
    whole = (av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24") for frame in frames)
    small = [reformatter.reformat(frame, width=width, height=height, format="rgb24", threads=1) for frame in whole]
    return np.stack([frame.to_ndarray() for frame in small]), own or rate


def _read_pictures(folder: str | Path, side: int | None, only: Sequence[int] | None = None) -> np.ndarray:
    clip: list[np.ndarray] = []
    files = pictures(folder)
    with _opened(folder, files[0]) as first:  # its size is the clip's, should they change on the way
        size = scaled(*_upright(first), side)
    for file in files if only is None else [files[index] for index in only]:
        try:
            with _opened(folder, file) as image:
                whole = ImageOps.exif_transpose(image).convert("RGB")
                clip.append(np.asarray(whole if whole.size == size else whole.resize(size, Image.Resampling.BICUBIC)))
        except (OSError, SyntaxError, ValueError) as error:
            raise DamagedVideo(folder, f"{file.name} cannot be read whole ({error})") from error
    return np.stack(clip)


def _opened(folder: str | Path, file: Path) -> Image.Image:
    try:
        return Image.open(file)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "it is empty" if not file.stat().st_size else "it is no picture"
        raise DamagedVideo(folder, f"{file.name} cannot be read ({reason})") from error


def _upright(image: Image.Image) -> tuple[int, int]:
    turned = image.getexif().get(0x0112, 1) >= 5  # EXIF: 5 to 8 are quarter turns
    return (image.height, image.width) if turned else image.size


def _array(path: str | Path) -> tuple[np.ndarray, float]:
    if not os.path.isfile(path):
        raise DamagedVideo(path, "there is no such file")
    if not os.path.getsize(path):
        raise DamagedVideo(path, "the file is empty")
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        frames, rate = (loaded, 0.0) if isinstance(loaded, np.ndarray) else _of_archive(path, loaded)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DamagedVideo(path, f"not a readable array: cut short, or something else ({error})") from error
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        shape = "x".join(map(str, frames.shape))
        raise DamagedVideo(
            path, f"holds {frames.dtype} {shape or 'nothing'} instead of uint8 frames x height x width x 3"
        )
    return frames, rate


def _of_archive(path: str | Path, archive: np.lib.npyio.NpzFile) -> tuple[np.ndarray, float]:
    with archive:
        names = [name for name in archive.files if name != "fps"]
        name = "frames" if "frames" in names else names[0] if len(names) == 1 else ""
        if not name:
            raise DamagedVideo(path, f"holds {', '.join(names) or 'no array'}: wanted one array, or one named 'frames'")
        rate = float(np.asarray(archive["fps"]).reshape(())) if "fps" in archive.files else 0.0
        return archive[name], rate if np.isfinite(rate) and rate > 0 else 0.0
