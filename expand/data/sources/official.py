"""Data sets in their published layouts: UCF101, HMDB51, Something-Something v2, Kinetics.

Their lists may be in a separate folder (`ucfTrainTestlist/`, `annotations/`) next to the videos.
"""

from __future__ import annotations

import csv
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from expand.core.errors import UsageError
from expand.core.files import not_a_file, read_json, shortened
from expand.data.sources.annotation_lists import MOST_LINE, read_lines
from expand.data.sources.records import (
    SPLIT_NAMES,
    Found,
    Options,
    Problems,
    Row,
    annotation_files,
    base_of,
    clips_below,
    entries,
    is_number,
    place,
    shown,
)

UCF101_GROUP = re.compile(r"(v_.+_g\d+)_c\d+")
HMDB51_LIST = re.compile(r"(.+)_test_split(\d)\.txt", re.IGNORECASE)
HMDB51_TAGS = re.compile(
    r"(.+)_[hulf]_[a-z]{2}_np\d+_[a-z]{2}_[a-z]{3}_\d+"
)  # body, camera, people, side, quality, clip
SOMETHING = r"(?:something-something-v2-)?(train|validation|test|labels)\.json"


def group_of(stem: str) -> str:
    """The source video in a UCF101 name; "" for other names."""
    match = UCF101_GROUP.fullmatch(stem)
    return match[1] if match else ""


def finds_ucf101(source: Path) -> str:
    found = annotation_files(source, r"trainlist0\d\.txt") if source.is_dir() else []
    return f"there is {shown(found[0], source)}" if found else ""


def read_ucf101(source: Path, options: Options, problems: Problems) -> Found:
    """Reads lines such as `Class/v_Class_g01_c01.avi 1`, with labels from 1 (`classInd.txt`); test lists have no labels."""
    _plain(options, "UCF101's groups are in its names")
    lists = {
        split: _one(source, rf"{split}list{options.split:02}\.txt", f"--split {options.split}")
        for split in ("train", "test")
    }
    names: dict[int, str] = {}
    for number, line in read_lines(_one(source, r"classInd\.txt"), source, problems):
        label, _, name = line.partition(" ")
        if is_number(label) and name.strip():
            names[int(label)] = name.strip()
        else:
            problems.add(f"classInd.txt line {number}: '{shortened(line)}' is not a number and a class")
    rows = [row for split, path in lists.items() for row in _ucf101_rows(source, path, split, names, problems)]
    return Found(rows, names, tuple(names[label] for label in sorted(names)))


def _ucf101_rows(source: Path, path: Path, split: str, names: dict[int, str], problems: Problems) -> list[Row]:
    lines = [(number, line.rsplit(None, 1)) for number, line in read_lines(path, source, problems)]
    base = base_of(source, (cells[0] for _, cells in lines))
    rows = []
    for number, cells in lines:
        where, name = f"{shown(path, source)} line {number}", cells[0]
        folder = name.replace("\\", "/").rpartition("/")[0]
        label = cells[1] if len(cells) == 2 else folder
        if len(cells) == 1 and folder not in names.values():
            problems.add(f"{where}: the folder '{folder}' is no class of classInd.txt")
            continue
        if len(cells) == 2 and is_number(label) and int(label) in names:
            label = names[int(label)]
        elif len(cells) == 2:
            problems.add(
                f"{where}: label {shortened(label)} is not in classInd.txt ({min(names, default=0)} to {max(names, default=0)})"
            )
            continue
        rows.append(Row(place(source, base, name, where, problems), label, split, group_of(Path(name).stem), where))
    return rows


def finds_hmdb51(source: Path) -> str:
    found = annotation_files(source, HMDB51_LIST.pattern) if source.is_dir() else []
    return f"there are {len(found)} lists like {shown(found[0], source)}" if found else ""


def read_hmdb51(source: Path, options: Options, problems: Problems) -> Found:
    """Reads one list per class, `file.avi N`: 0 is unused, 1 is training, 2 is testing.

    The group is the source film, from the beginning of the file name, independent of the class.
    """
    _plain(options, "HMDB51's groups are in its names")
    lists = {}
    for path in annotation_files(source, HMDB51_LIST.pattern):
        match = HMDB51_LIST.fullmatch(path.name)
        if match and int(match[2]) == options.split:
            lists[path] = match[1]
    if not lists:
        raise UsageError(f"{source} has no lists of --split {options.split}, such as brush_hair_test_split1.txt")
    lines = {path: [(n, line.rsplit(None, 1)) for n, line in read_lines(path, source, problems)] for path in lists}
    base = base_of(source, (f"{lists[path]}/{cells[0]}" for path, found in lines.items() for _, cells in found))
    rows, unused = [], 0
    for path, name in lists.items():
        for number, cells in lines[path]:
            where, side = f"{shown(path, source)} line {number}", cells[-1]
            if len(cells) != 2 or side not in ("0", "1", "2"):
                problems.add(f"{where}: '{shortened(' '.join(cells))}' is not a file and 0, 1 or 2")
            elif side == "0":
                unused += 1
            else:
                video = place(source, base, f"{name}/{cells[0]}", where, problems)
                rows.append(Row(video, name, "train" if side == "1" else "test", _film(video.stem, name), where))
    return Found(rows, left_out=[f"{unused} videos that split {options.split} does not use"] * bool(unused))


def _film(stem: str, action: str) -> str:
    """`Faith_Rewarded_shake_hands_u_cm_np2_le_med_4` of shake_hands -> `Faith_Rewarded`."""
    match = HMDB51_TAGS.fullmatch(stem)
    return (match[1] if match else stem).removesuffix(f"_{action}")


def finds_something(source: Path) -> str:
    names = {path.name: path for path in annotation_files(source, SOMETHING)} if source.is_dir() else {}
    found = [name for name in names if "train" in name or "labels" in name]
    return f"there are {' and '.join(found)}" if len(found) == 2 else ""


def read_something(source: Path, options: Options, problems: Problems) -> Found:
    """Reads one JSON list of {id, template} per split; `labels.json` numbers the templates without their brackets.

    The test list has no labels.
    """
    _plain(options, "Something-Something names no groups")
    files = {path.stem.rpartition("-")[2].lower(): path for path in annotation_files(source, SOMETHING)}
    labels = _json(files.pop("labels"), dict, problems)
    hidden = _json(files.pop("test"), list, problems) if "test" in files else []
    if not all(isinstance(number, str | int) and is_number(str(number)) for number in labels.values()):
        problems.add("labels.json: expected every template with its number")
        labels = {}
    videos = {path.stem: path for path in clips_below(source)}
    rows = []
    for split, path in files.items():
        for number, entry in enumerate(_json(path, list, problems), start=1):
            where = f"{shown(path, source)} entry {number}"
            if not isinstance(entry, dict) or not {"id", "template"} <= entry.keys():
                problems.add(f"{where}: no id and template in it")
                continue
            name, label = str(entry["id"]), re.sub(r"[\[\]]", "", str(entry["template"]))
            if label not in labels:
                problems.add(f"{where}: template '{label}' is not in {files_name(source)}")
                continue
            video = videos.get(name, source / f"{name}.webm")
            rows.append(Row(video, label, SPLIT_NAMES[split], name, where))
    left_out = [f"{len(hidden)} test videos: their labels are not published"] if hidden else []
    return Found(rows, order=tuple(sorted(labels, key=lambda name: int(labels[name]))), left_out=left_out)


def files_name(source: Path) -> str:
    """The file with Something-Something's templates, for messages."""
    return next(shown(path, source) for path in annotation_files(source, SOMETHING) if "labels" in path.name)


def _json(path: Path, kind: type, problems: Problems) -> Any:
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        problems.add(f"{path.name}: not readable as JSON ({error})")
        return kind()
    if not isinstance(content, kind):
        problems.add(f"{path.name}: expected a JSON {'list' if kind is list else 'object'}")
        return kind()
    return content


def finds_kinetics(source: Path) -> str:
    found = _kinetics_lists(source)
    return f"{', '.join(shown(path, source) for path in found)} has a column youtube_id" if found else ""


def _kinetics_lists(source: Path) -> list[Path]:
    if source.is_file():
        paths = [source]
    else:
        below = [path for path in entries(source) if path.is_dir()]
        paths = [path for folder in (source, *below) for path in csv_files(folder)]
    return [path for path in paths if path.suffix.lower() == ".csv" and "youtube_id" in _head(path)]


def csv_files(folder: Path) -> list[Path]:
    return sorted(Path(entry.path) for entry in os.scandir(folder) if entry.name.lower().endswith(".csv"))


def _head(path: Path) -> list[str]:
    if not_a_file(path):
        return []
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            return next(csv.reader([file.readline(MOST_LINE).strip()]), [])
    except (OSError, csv.Error):
        return []


def read_kinetics(source: Path, options: Options, problems: Problems) -> Found:
    """Reads `label,youtube_id,time_start,time_end,split`.

    Videos are anywhere below the source, named `ID_%06d_%06d`, or `ID` if only one segment of it is listed. Segments of one video
    are one group.
    """
    _plain(options, "Kinetics' groups are its youtube_id")
    root = source.parent if source.is_file() else source
    videos: dict[str, list[Path]] = defaultdict(list)
    for path in clips_below(root):
        videos[path.stem].append(path)
    rows, unlabelled = [], 0
    for path in _kinetics_lists(source):
        lines = read_lines(path, root, problems)
        head = [cell.strip() for cell in next(csv.reader([lines[0][1]]), [])] if lines else []
        for number, line in lines[1:]:
            cells = dict(zip(head, (cell.strip() for cell in next(csv.reader([line]))), strict=False))
            where = f"{shown(path, root)} line {number}"
            split = SPLIT_NAMES.get(cells.get("split", path.stem).lower(), "")
            if not cells.get("label"):
                unlabelled += 1
            elif (row := _segment(cells, split, root, videos, where, problems)) is not None:
                rows.append(row)
    _refuse_shared(rows, root, problems)
    return Found(rows, left_out=[f"{unlabelled} videos without a label"] * bool(unlabelled))


def _segment(
    cells: dict[str, str], split: str, root: Path, videos: dict[str, list[Path]], where: str, problems: Problems
) -> Row | None:
    name = cells.get("youtube_id", "")
    try:
        stem = f"{name}_{int(float(cells['time_start'])):06d}_{int(float(cells['time_end'])):06d}"
    except (KeyError, ValueError, OverflowError):
        problems.add(f"{where}: no youtube_id with time_start and time_end in seconds")
        return None
    if not split:
        problems.add(f"{where}: split '{cells.get('split', '')}' is none of {', '.join(SPLIT_NAMES)}")
        return None
    among = videos.get(stem) or videos.get(name) or [root / f"{stem}.mp4"]
    if len(among) > 1:  # one release's validation list has videos of another release's training list
        fitting = [path for path in among if SPLIT_NAMES.get(path.relative_to(root).parts[0].lower()) == split]
        among = fitting or among
    return Row(among[0], cells["label"], split, name, where)


def _refuse_shared(rows: list[Row], root: Path, problems: Problems) -> None:
    """Refuses a whole video, named by its id alone, that is listed for several segments."""
    first: dict[Path, Row] = {}
    for row in rows:
        if first.setdefault(row.path, row) is not row:
            problems.add(f"{row.where}: {shown(row.path, root)} is listed in {first[row.path].where}, too")


def _plain(options: Options, why: str) -> None:
    if options.group_column:
        raise UsageError(f"group column '{options.group_column}': {why}")


def _one(source: Path, pattern: str, asked: str = "") -> Path:
    found = annotation_files(source, pattern)
    if not found:
        there = ", ".join(path.name for path in entries(source)[:8]) or "nothing"
        name = pattern.replace("\\", "")
        raise UsageError(f"{source} has no {name}{f' ({asked})' if asked else ''}; there: {there}")
    return found[0]
