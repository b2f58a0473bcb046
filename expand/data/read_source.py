"""Reads users' layouts into one manifest. `read_source` accepts

- a folder that `expand data prepare` wrote;
- UCF101, HMDB51, Something-Something v2 or Kinetics as published, and mmaction2's lists;
- a folder with `train.csv` and, if there are, `val.csv` and `test.csv` (also `valid`, `validation`, and `.txt`), or one list;
- a folder `root/<split>/<class>/*.mp4`, or `root/<class>/*.mp4`.

A clip is a video, a folder of pictures or an array. All problems of a source are reported at once, with file and line.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from expand.core.errors import UsageError
from expand.core.files import escaped, shortened
from expand.core.study import MOST_FPS
from expand.data.manifest import SPLITS, Manifest, Video, divide_groups
from expand.data.prepared.folder import is_prepared, read_prepared
from expand.data.sources import groups
from expand.data.sources.detect import detect
from expand.data.sources.official import group_of
from expand.data.sources.records import BadInput, Found, Options, Problems, Row, is_number, shown
from expand.data.video.checks import DamagedVideo
from expand.data.video.images import pictures

__all__ = ["BadInput", "Options", "read_source"]


def read_source(
    source: str | Path, options: Options | None = None, *, validation_share: float = 0.2, test_share: float = 0.2
) -> Manifest:
    """The manifest of a source.

    Without a validation split, a share of the training clips is used for validation; without any split, also a share for testing.
    Shares consist of whole groups, chosen by hash.

    Raises:
        BadInput: its lists and files have problems, each given with file, line and remedy.
        UsageError: there is no such source or layout, or it has too few classes or groups.
    """
    if not (validation_share > 0 and test_share >= 0 and validation_share + test_share < 1):
        shares = f"validation_share={validation_share} and test_share={test_share}"
        raise UsageError(f"{shares}: the first must be above 0, and both together below 1")
    path, options = Path(os.path.abspath(os.path.expanduser(source))), options or Options()
    if not os.path.exists(path):
        raise UsageError(f"no data at {path}: give a folder of videos, a folder with train.csv, or a list (.csv, .txt)")
    if is_prepared(path) and options.layout is None:
        return read_prepared(path, options)
    layout, why = detect(path, options.layout)
    root, problems = path if path.is_dir() else path.parent, Problems(path)
    found = layout.read(path, options, problems)
    found = _names_to_show(found)
    rows, left_out = _existing(found.rows, root, options, problems)
    rows, classes = _name_classes(rows, found, root, problems)
    if options.group_pattern is not None:
        if options.group_column is not None:
            raise UsageError("group_pattern and group_column both say what the groups are: give one of them")
        rows = groups.by_pattern(rows, options.group_pattern, root, problems)
    problems.stop()
    labels = {name: label for label, name in enumerate(classes)}
    videos = [
        Video(shown(row.path, root), labels[row.label], row.split, row.group or _group(row, root)) for row in rows
    ]
    complete = _complete(videos, validation_share, test_share)
    rate = _stated_rate(rows, options)
    note, guess = _ungrouped(videos, options)
    return Manifest(root, classes, complete, layout.name, why, (*found.left_out, *left_out), rate, note, guess)


def _ungrouped(videos: Sequence[Video], options: Options) -> tuple[str, str]:
    """What to say, and to propose, where videos without a validation split are divided and nothing groups them."""
    ours = [video for video in videos if video.split in ("", "train")]
    if options.group_pattern or any(v.split == "val" for v in videos) or len({v.group for v in ours}) < len(ours):
        return "", ""
    guess = groups.guess(ours)
    return groups.note(ours, guess), guess


def _names_to_show(found: Found) -> Found:
    """Escapes characters in class names that a terminal or page cannot show."""
    rows = [row if (name := escaped(row.label)) == row.label else replace(row, label=name) for row in found.rows]
    names = {number: escaped(name) for number, name in found.names.items()}
    return Found(rows, names, tuple(map(escaped, found.order)), found.left_out)


def _existing(rows: Sequence[Row], root: Path, options: Options, problems: Problems) -> tuple[list[Row], list[str]]:
    """The rows whose clip exists. Others are problems or, with `skip_missing`, left out and counted.

    Frame folders with fewer pictures than listed are problems too.
    """
    there, missing = [], []
    for row in rows:
        if "\0" in str(row.path) or not os.path.exists(row.path):
            missing.append(row)
        else:
            there.append(row)
            problems.add(*_short_of_pictures(row))
    if options.skip_missing and there:
        some = f"{len(missing)} of {len(rows)} listed videos that are missing" if missing else ""
        return there, [f"{some}, such as {escaped(shown(missing[0].path, root))}"] if some else []
    said = {problem.partition(": ")[0] for problem in problems.found}  # an invalid path has been reported already
    problems.add(*(f"{row.where}: there is no file {row.path}" for row in missing if escaped(row.where) not in said))
    if missing:
        problems.hint = (
            f"{len(missing)} of {len(rows)} listed are missing; paths are read relative to {root}: correct the list, or leave"
            " them out with --skip-missing (data.skip_missing)"
        )
    return list(rows) if missing else there, []


def _short_of_pictures(row: Row) -> list[str]:
    if not row.frames or not os.path.isdir(row.path):
        return []
    try:
        there = len(pictures(row.path))
    except DamagedVideo as error:
        return [f"{row.where}: {error}"]
    return [f"{row.where}: {row.path} holds {there} pictures instead of {row.frames}"] if there < row.frames else []


def _stated_rate(rows: Sequence[Row], options: Options) -> float:
    """The frame rate for clips that do not state one.

    Raises:
        UsageError: a clip needs it and it is not given, or it is out of range.
    """
    if options.fps is not None and not 0 < options.fps <= MOST_FPS:
        raise UsageError(f"fps={options.fps}: above 0, at most {MOST_FPS:g}")
    silent = [row for row in rows if row.path.suffix.lower() == ".npy" or os.path.isdir(row.path)]
    if silent and not options.fps:
        raise UsageError(
            f"{silent[0].path} does not state its frame rate ({len(silent)} of {len(rows)} clips are folders of pictures or"
            " arrays): give it with --fps (data.fps)"
        )
    return options.fps or 0.0


def _name_classes(rows: list[Row], found: Found, root: Path, problems: Problems) -> tuple[list[Row], tuple[str, ...]]:
    """The rows with class names as labels, and the classes: those of the training rows, in order."""
    order = {name: place for place, name in enumerate(found.order)}
    if not order and rows and _are_integers(rows, found.names):
        named = [(row, _class_name(row, found.names, problems)) for row in rows]
        order = {name: int(row.label) for row, name in named if name}
        rows = [replace(row, label=name) for row, name in named if name]
    trained = {row.label for row in rows if row.split in ("train", "")}
    classes = tuple(sorted(trained, key=lambda name: (order.get(name, 0), name)))
    _require_unlike(rows, problems)
    if not trained:
        problems.stop()
        raise UsageError(f"{root}: no video is in the training split: mark some as train")
    some = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
    problems.add(
        *(
            f"{row.where}: class '{row.label}' ({row.split}) has no training clip (the training"
            f" classes are {some}): list some for training, or leave the class out"
            for row in rows
            if row.label not in trained
        )
    )
    if len(classes) < 2 and not problems.found:
        raise UsageError(f"{root}: only one class, '{classes[0]}': a classifier needs at least two")
    return rows, classes


def _are_integers(rows: Sequence[Row], names: dict[int, str]) -> bool:
    """Whether labels are numbers: most labels are numeric, or there is a list that names the numbers."""
    numbers = sum(row.label.lstrip("-").isdecimal() for row in rows)
    return numbers == len(rows) or (numbers > len(rows) / 2) or (bool(names) and numbers > 0)


def _class_name(row: Row, names: dict[int, str], problems: Problems) -> str:
    """The class name of a number; "" if it has none, which is added to `problems`."""
    if not is_number(row.label):
        below = "is below 0" if row.label.lstrip("-").isdecimal() else "is not a number like the others"
        problems.add(f"{row.where}: label {shortened(row.label)} {below}")
        return ""
    if names and int(row.label) not in names:
        allowed = f"{min(names)} to {max(names)}"
        problems.add(f"{row.where}: label {row.label} has no name in classes.txt or classInd.txt (there: {allowed})")
        return ""
    return names[int(row.label)] if names else str(int(row.label))


def _require_unlike(rows: Iterable[Row], problems: Problems) -> None:
    """Refuses two classes whose names differ only in case or blanks: one of them is misspelt."""
    first: dict[str, Row] = {}
    said = set()
    for row in rows:
        other = first.setdefault(" ".join(row.label.split()).casefold(), row)
        if row.label != other.label and row.label not in said:
            said.add(row.label)
            problems.add(
                f"{row.where}: class '{row.label}' differs from '{other.label}' ({other.where}) only in case or blanks: use one "
                "spelling"
            )


def _group(row: Row, root: Path) -> str:
    if group := group_of(row.path.stem):
        return group
    name = shown(row.path, root)
    return name if os.path.isdir(row.path) else os.path.splitext(name)[0]


def _complete(videos: list[Video], validation: float, test: float) -> tuple[Video, ...]:
    """The videos in split order; a missing validation split (and, without any split, a test split) is taken from training."""
    given = {video.split for video in videos}
    videos = [replace(video, split=video.split or "train") for video in videos]
    if "val" not in given:
        shares = {"val": validation, "test": test} if given == {""} and test else {"val": validation}
        sides = divide_groups(((v.group, v.label) for v in videos if v.split == "train"), shares)
        videos = [replace(v, split=sides[v.group]) if v.split == "train" else v for v in videos]
    if not any(video.split == "val" for video in videos):
        groups = Counter(video.group for video in videos)
        raise UsageError(
            f"no validation clip can be taken from {len(groups)} groups, one per class: give a val.csv, or more"
        )
    return tuple(video for split in SPLITS for video in videos if video.split == split)
