"""The default data: ten classes of small action clips, rendered from a seed and written as real video files.

A clip shows one articulated figure in a room. Eight of the ten classes differ in their motion only: the four arm classes share
one distribution of arm angles, the two steps one of positions and the two knee classes one of depths, so a perfect
single-frame classifier gets at most half of all clips right (1/4 of four classes, 1/2 of four, all of two). Time reversal
turns a raise into a lowering, a step to the left into one to the right, a crouch into standing up. Left and right are the
viewer's: a horizontal flip swaps `step left` and `step right`.

A group is one actor in one room, with one clip of each class; groups never cross splits. A clip depends only on the seed, its
group's name and its class, so a smaller data set is a subset of a larger one.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from expand.core.atomic import locked, placed
from expand.core.errors import ExpandError, UsageError
from expand.data.synthetic.drawing import render_frames
from expand.data.synthetic.scenes import CLASSES, FPS, FRAMES, HEIGHT, WIDTH, draw_clip

VERSION = 1
KIND = "expand rendered clips"
VALIDATION_GROUPS = 16
SERIAL_CLIPS = 40  # for fewer clips a process pool does not pay off
Progress = Callable[[int, int], None]


def _codec() -> tuple[str, dict[str, str]]:
    """H.264, or MPEG-4 if PyAV lacks it. One thread, so that the bytes do not depend on the number of cores."""
    try:
        av.Codec("libx264", "w")
    except ValueError:  # PyAV's UnknownCodecError
        return "mpeg4", {"qmin": "2", "qmax": "4", "threads": "1"}
    return "libx264", {"crf": "20", "preset": "medium", "sc_threshold": "0", "threads": "1"}


def encode(frames: Iterator[np.ndarray]) -> bytes:
    """An mp4 file of uint8 (HEIGHT, WIDTH, 3) frames, with a keyframe every eight."""
    codec, options = _codec()
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = 8
        stream.codec_context.thread_count = 1
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


@dataclass(frozen=True)
class Clip:
    """One file to render, and its `path` relative to the data set's folder."""

    seed: int
    split: str
    group: str
    label: str

    @property
    def path(self) -> str:
        return f"videos/{self.split}/{self.label}/{self.group}.mp4"


def _clips(seed: int, groups: dict[str, int]) -> list[Clip]:
    return [
        Clip(seed, split, f"{split}-{number:03d}", label)
        for split, count in groups.items()
        for number in range(count)
        for label in CLASSES
    ]


def _render_clip(clip: Clip, folder: Path) -> dict[str, Any]:
    """Renders one file below `folder` and returns its entry in the manifest."""
    video = encode(render_frames(clip.seed, clip.group, clip.label))
    (folder / clip.path).write_bytes(video)
    return {
        "path": clip.path,
        "label": clip.label,
        "group": clip.group,
        "split": clip.split,
        "sha256": hashlib.sha256(video).hexdigest(),
        "bytes": len(video),
        "width": WIDTH,
        "height": HEIGHT,
        "fps": FPS,
        "frames": FRAMES,
        "motion": asdict(draw_clip(clip.seed, clip.group, clip.label)[2]),
    }


def _render_clips(clips: list[Clip], folder: Path, progress: Progress | None) -> list[dict[str, Any]]:
    """Renders all clips, in a process pool if there are many, and returns their entries in the order of `clips`."""
    report = progress or (lambda done, total: None)
    entries = []
    report(0, len(clips))
    if len(clips) <= SERIAL_CLIPS or multiprocessing.current_process().daemon:  # a daemon may not have children
        for clip in clips:
            entries.append(_render_clip(clip, folder))
            report(len(entries), len(clips))
        return entries
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for entry in pool.map(_render_clip, clips, [folder] * len(clips), chunksize=len(CLASSES)):
                entries.append(entry)
                report(len(entries), len(clips))
        except BrokenProcessPool as error:
            raise ExpandError(
                f"a rendering process died after {len(entries)} of {len(clips)} clips: the machine is out of "
                "memory, or a script calls this outside `if __name__ == '__main__':`"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return entries


def _parameters(seed: int, groups: dict[str, int]) -> dict[str, Any]:
    """All parameters of a data set: the beginning of its manifest."""
    return {"kind": KIND, "version": VERSION, "seed": seed, "groups": groups, "classes": list(CLASSES)}


def _write_lists(folder: Path, splits: dict[str, int], entries: list[dict[str, Any]]) -> None:
    for split in splits:
        with open(folder / f"{split}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label", "group"])
            writer.writerows([e["path"], e["label"], e["group"]] for e in entries if e["split"] == split)


def _write_manifest(folder: Path, seed: int, groups: dict[str, int], entries: list[dict[str, Any]]) -> None:
    """Writes `manifest.json`: the parameters, each group's actor and scene, each file with its checksum and motion."""
    rooms = {}
    for name in dict.fromkeys(entry["group"] for entry in entries):
        actor, scene, _ = draw_clip(seed, name, CLASSES[0])
        rooms[name] = {"actor": asdict(actor), "scene": asdict(scene)}
    document = {**_parameters(seed, groups), "codec": _codec()[0], "rooms": rooms, "files": entries}
    (folder / "manifest.json").write_text(json.dumps(document) + "\n")


def _groups(train: int, val: int, test: int) -> dict[str, int]:
    groups = {"train": train, "val": val, "test": test}
    for split, count in groups.items():
        if not 1 <= count <= 999:
            raise UsageError(f"{split}_groups is {count}; it must be 1 to 999")
    return groups


def default_folder() -> Path:
    """The folder of the default data: below the cache root, one folder per version."""
    from expand.data.manifest import cache_root

    return cache_root() / f"rendered-v{VERSION}"


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest; {} if it is missing or unreadable."""
    try:
        document = json.loads((folder / "manifest.json").read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _is_whole(folder: Path, parameters: dict[str, Any]) -> bool:
    """Whether `folder` was rendered with these parameters and every file exists with its recorded size."""
    manifest = _read_manifest(folder)
    if any(manifest.get(name) != value for name, value in parameters.items()):
        return False
    files = [(folder / entry["path"], entry["bytes"]) for entry in manifest["files"]]
    lists = all((folder / f"{split}.csv").is_file() for split in parameters["groups"])
    return lists and all(path.is_file() and path.stat().st_size == size for path, size in files)


def _refuse_foreign(folder: Path) -> None:
    """Refuses to replace a folder unless it is empty, the default folder, or has our manifest."""
    if not folder.exists() or folder == default_folder() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if _read_manifest(folder).get("kind") != KIND:
        raise UsageError(f"{folder} exists and is not a rendered data set; remove it or name another folder")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the lock file next to `folder`; a second process waits until the first has rendered."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # our parent holds the lock and waits for us
        raise UsageError("rendering starts processes: call it inside `if __name__ == '__main__':`")
    with ExitStack() as held:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(folder.with_name(f".{folder.name}.lock")))
        except OSError as error:
            raise ExpandError(
                f"cannot write next to {folder}: {error}; set EXPAND_CACHE to a writable folder"
            ) from error
        yield


def _render(folder: Path, seed: int, groups: dict[str, int], progress: Progress | None) -> None:
    """Renders the clips and lists, which appear complete or not at all. The caller holds the lock."""
    with placed(folder) as fresh:
        for split in groups:
            for label in CLASSES:
                (fresh / "videos" / split / label).mkdir(parents=True)
        entries = _render_clips(_clips(seed, groups), fresh, progress)
        _write_lists(fresh, groups, entries)
        _write_manifest(fresh, seed, groups, entries)


def render_dataset(
    folder: Path,
    *,
    seed: int = 0,
    train_groups: int = 44,
    val_groups: int = VALIDATION_GROUPS,
    test_groups: int = 16,
    progress: Progress | None = None,
) -> Path:
    """Renders the data set to `folder`, replacing a rendered one, and returns the folder.

    It holds `videos/<split>/<class>/<group>.mp4` with one clip per class and group, `train.csv`, `val.csv`, `test.csv`
    (`path,label,group`) and `manifest.json`. `progress` gets (clips done, clips in total).

    Raises:
        UsageError: the folder holds other files, or a count is out of range.
        ExpandError: the folder cannot be written.
    """
    folder = Path(folder).absolute()
    groups = _groups(train_groups, val_groups, test_groups)
    _refuse_foreign(folder)
    with _locked(folder):
        _render(folder, seed, groups, progress)
    return folder


def ensure_rendered(
    folder: Path | None = None,
    progress: Progress | None = None,
    *,
    seed: int = 0,
    train_groups: int = 44,
    val_groups: int = VALIDATION_GROUPS,
    test_groups: int = 16,
) -> Path:
    """The data set's folder (the default one unless given), rendered unless it is complete with these parameters.

    Several processes may call it at once: one renders, the others wait. A complete folder is only read, so it may be on a
    read-only disk. Raises the errors of `render_dataset`.
    """
    folder = default_folder() if folder is None else Path(folder).absolute()
    groups = _groups(train_groups, val_groups, test_groups)
    parameters = _parameters(seed, groups)
    if _is_whole(folder, parameters):
        return folder
    _refuse_foreign(folder)
    with _locked(folder):
        if not _is_whole(folder, parameters):
            _render(folder, seed, groups, progress)
    return folder


def verify(folder: Path) -> list[str]:
    """Compares a rendered folder with its manifest's checksums; one line per problem."""
    manifest = _read_manifest(folder)
    if manifest.get("kind") != KIND:
        return [f"{folder / 'manifest.json'}: missing, unreadable or not of rendered clips"]
    problems = []
    for entry in manifest["files"]:
        path = folder / entry["path"]
        if not path.is_file():
            problems.append(f"{entry['path']}: missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            problems.append(f"{entry['path']}: its checksum differs from the manifest's")
    return problems
