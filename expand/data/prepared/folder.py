"""A prepared folder: `manifest.csv`, one line per video with the results of decoding it once, and `manifest.json`.

`manifest.json` says how the folder was created and stores the SHA-256 of `manifest.csv`. It is written last, so that an
unfinished folder is recognised. The videos stay in place. When the folder is read, sizes and modification times are compared;
only a file with another time is hashed again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from expand.core.atomic import unfinished, write_atomically
from expand.core.errors import ExpandError, UsageError
from expand.core.files import json_bytes, not_a_file, read_bytes, read_json
from expand.data.manifest import SPLITS, Manifest, Video, content_hashes, stamp_of
from expand.data.sources.records import BadInput, Options
from expand.storage.serialize import from_plain

MADE_BY = "expand data prepare"
BYTES = "surrogateescape"  # file names are bytes; names that are not UTF-8 are kept unchanged
COLUMNS = (
    "path", "label", "class", "group", "split", "frames", "fps", "width", "height", "bytes", "mtime_ns", "sha256",
)  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """What `manifest.json` says that is needed to read the folder."""

    source: str
    root: str
    layout: str
    options: Options
    fps: float
    classes: tuple[str, ...]
    csv_sha256: str
    left_out: tuple[str, ...]


def is_free(folder: Path) -> bool:
    """Whether a folder is empty, or holds only unfinished files of ours."""
    return not folder.exists() or set(folder.iterdir()) <= set(_left(folder))


def is_prepared(folder: Path) -> bool:
    """Whether `expand data prepare` wrote to this folder, completely or not."""
    if not folder.is_dir():
        return False
    try:
        if (folder / "manifest.json").is_file():
            return MADE_BY in (folder / "manifest.json").read_text(encoding="utf-8", errors="replace")
        if not_a_file(folder / "manifest.csv"):
            return False
        with open(folder / "manifest.csv", encoding="utf-8", errors="replace") as file:
            return file.readline(1000).strip() == ",".join(COLUMNS)
    except OSError:
        return False


def read_prepared(folder: Path, options: Options) -> Manifest:
    """Reads the manifest of a prepared folder.

    Raises:
        UsageError: it is incomplete or was edited, or `options` differ from those it was prepared with.
        BadInput: videos are missing or have changed; it lists all of them.
    """
    prepared, text = _read(folder)
    for name, value in asdict(options).items():
        if value not in (getattr(Options(), name), made := getattr(prepared.options, name)):
            raise UsageError(f"{folder} was prepared with {name}={made}, not {value}: prepare the source again")
    root = Path(os.path.normpath(folder / prepared.root))
    rows = list(csv.DictReader(io.StringIO(text)))
    videos = [
        Video(
            row["path"], int(row["label"]), row["split"], row["group"], int(row["frames"]), float(row["fps"]),
            int(row["width"]), int(row["height"]), int(row["bytes"]), row["sha256"],
        )
        for row in rows
    ]  # fmt: skip
    manifest = Manifest(
        root, prepared.classes, tuple(videos), prepared.layout, f"prepared from {prepared.source}",
        prepared.left_out, prepared.fps,
    )  # fmt: skip
    _require_unchanged(folder, manifest, [int(row["mtime_ns"]) for row in rows])
    return manifest


def _read(folder: Path) -> tuple[Prepared, str]:
    try:
        prepared = from_plain(read_json(folder / "manifest.json"), Prepared)
        text = read_bytes(folder / "manifest.csv")
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder} was not prepared completely ({error}): run `{MADE_BY}` again") from error
    if hashlib.sha256(text).hexdigest() != prepared.csv_sha256:
        raise UsageError(f"{folder}/manifest.csv is not the one that was prepared: run `{MADE_BY}` again")
    return prepared, text.decode(errors=BYTES)


def _require_unchanged(folder: Path, manifest: Manifest, times: Sequence[int]) -> None:
    problems, doubtful = [], []
    for video, time in zip(manifest.videos, times, strict=True):
        try:
            stamp = stamp_of(manifest.absolute(video))
        except ExpandError as error:
            problems.append(str(error))
            continue
        if stamp[1] != video.bytes:
            problems.append(f"{video.path}: {stamp[1]} bytes instead of {video.bytes}")
        elif stamp[2] != time:
            doubtful.append(video)
    contents = content_hashes([manifest.absolute(video) for video in doubtful])
    pairs = zip(doubtful, contents, strict=True)
    problems += [f"{video.path}: other content of the same size" for video, now in pairs if now != video.sha256]
    if problems:
        hint = f"the videos have changed since they were prepared: run `{MADE_BY}` again"
        raise BadInput(folder, problems, hint)


def write_prepared(
    folder: Path, manifest: Manifest, *, source: Path, options: Options, listed: Sequence[dict[str, str]]
) -> None:
    """Writes a manifest with the content hashes and sizes of its videos. `listed` holds the findings of the check.

    Raises:
        ExpandError: the folder cannot be written.
    """
    text = _csv(manifest)
    facts = {
        "made_by": MADE_BY, "version": 1, "source": str(source), "root": _root(folder, manifest.root),
        "layout": manifest.layout, "why": manifest.why, "options": asdict(options), "fps": manifest.fps,
        "classes": list(manifest.classes), "videos": {split: len(manifest.split(split)) for split in SPLITS},
        "fingerprint": manifest.fingerprint(), "csv_sha256": hashlib.sha256(text.encode(errors=BYTES)).hexdigest(),
        "left_out": list(manifest.left_out), "listed": list(listed),
    }  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in _left(folder):
            path.unlink()
        write_atomically(folder / "manifest.csv", text.encode(errors=BYTES))
        write_atomically(folder / "manifest.json", json_bytes(facts, indent=1) + b"\n")
    except OSError as error:
        raise ExpandError(f"cannot write to {folder}: {error.strerror}") from error


def _csv(manifest: Manifest) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for video in manifest.videos:
        facts = (video.frames, video.fps, video.width, video.height, video.bytes)
        time = stamp_of(manifest.absolute(video))[2]
        name = manifest.classes[video.label]
        writer.writerow((video.path, video.label, name, video.group, video.split, *facts, time, video.sha256))
    return buffer.getvalue()


def _root(folder: Path, root: Path) -> str:
    """The root, relative if the videos are inside the folder, so that both can be moved together."""
    return os.path.relpath(root, folder) if root.is_relative_to(folder) else str(root)


def _left(folder: Path) -> list[Path]:
    """What killed processes left of the two files."""
    return [path for name in ("manifest.csv", "manifest.json") for path in unfinished(folder / name)]
