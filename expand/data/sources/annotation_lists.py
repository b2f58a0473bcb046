"""Lists of videos, one per line: `path,label` or `path label`, with or without a header, which may name other columns.

Lists are UTF-8, with or without byte-order mark, with any line ends. `#` starts a comment. Cells may be quoted. In a list
separated by blanks a path may contain blanks; the label follows the suffix of the video. mmaction2's lists of frame folders
have the number of frames in the middle: `dir 120 3`.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from expand.core.errors import UsageError, unknown
from expand.core.files import read_bytes, shortened
from expand.data.sources.records import (
    CLIP_SUFFIXES,
    SPLIT_NAMES,
    VIDEO_SUFFIXES,
    Options,
    Problems,
    Row,
    base_of,
    is_clip_file,
    is_number,
    place,
    shown,
)

COLUMNS = {
    "path": ("path", "video", "video_path", "file", "filename", "clip"),
    "label": ("label", "class", "class_name", "category", "action"),
    "group": ("group",),
    "split": ("split",),
    "frames": ("total_frames",),
}
BEFORE_LABEL = re.compile(
    rf"(?P<path>.+(?:{'|'.join(map(re.escape, sorted(CLIP_SUFFIXES)))})\"?)\s+(?P<label>\S.*)", re.IGNORECASE
)
UTF16 = (b"\xff\xfe", b"\xfe\xff")
MOST_LINE = 1 << 16  # bytes; csv's own limit is twice that, per cell


@dataclass(frozen=True)
class _Table:
    """A list split into cells, with the columns' meanings. `width` is the number of cells that a line may have."""

    lines: list[tuple[int, list[str]]]
    columns: dict[str, int]
    width: int


def read_lines(path: Path, root: Path, problems: Problems) -> list[tuple[int, str]]:
    """(line number, text) of every line except blank lines and comments. Lines that are not UTF-8 become problems."""
    name = shown(path, root)
    try:
        data = read_bytes(path)
    except OSError as error:
        problems.add(f"{name}: cannot be read ({error.strerror})")
        return []
    if data.startswith(UTF16):
        problems.add(f"{name}: it is UTF-16; save it as UTF-8 text")
        return []
    lines = []
    for number, raw in enumerate(re.split(rb"\r\n|\n|\r", data.removeprefix(b"\xef\xbb\xbf")), start=1):
        if len(raw) > MOST_LINE:
            problems.add(
                f"{name} line {number}: {len(raw):,} bytes, at most {MOST_LINE:,} are read: is it a list of videos?"
            )
            continue
        try:
            text = raw.decode().strip()
        except UnicodeDecodeError as error:
            problems.add(f"{name} line {number}: byte {raw[error.start]:#04x} is not UTF-8: save it as UTF-8 text")
            continue
        if text and not text.startswith("#"):
            lines.append((number, text))
    return lines


def read_list(path: Path, root: Path, options: Options, problems: Problems, split: str = "") -> list[Row]:
    """The rows of one list. Relative paths start at the root or at a folder in it. Errors are added to `problems`."""
    if path.suffix.lower() not in (".csv", ".txt"):
        raise UsageError(
            f"{path} is neither a folder nor a list (.csv, .txt): a list has one line 'path,label' per video"
        )
    before = len(problems.found)
    lines = read_lines(path, root, problems)
    if not lines:
        if len(problems.found) == before:
            problems.add(f"{path} lists no video: expected one line 'path,label' per video")
        return []
    name = shown(path, root)
    table = _table(name, lines, root, options, problems)
    if table is None:
        return []
    rows = [_row(name, number, cells, table, split, problems) for number, cells in table.lines]
    there = [row for row in rows if row is not None]
    base = base_of(root, (str(row.path) for row in there))
    return [replace(row, path=place(root, base, str(row.path), row.where, problems)) for row in there]


def _table(name: str, lines: list[tuple[int, str]], root: Path, options: Options, problems: Problems) -> _Table | None:
    first, commas = lines[0][1], has_commas(lines[0][1])
    head = cells_of(first, commas)
    width = len(head)
    if _is_header(head, root):
        columns = _columns(head, f"{name} line {lines[0][0]}", options, problems)
        lines = lines[1:]
        if columns and not lines:
            problems.add(f"{name} lists no video, only a header: expected one line 'path,label' per video")
    elif options.group_column:
        problems.add(f"{name} has no header: it does not say which column is '{options.group_column}'")
        return None
    elif _is_counted(head):
        columns = {"path": 0, "frames": 1, "label": 2}
    else:
        columns, width = {"path": 0, "label": 1}, 2
    return _Table([(number, cells_of(line, commas)) for number, line in lines], columns, width) if columns else None


def _is_counted(cells: Sequence[str]) -> bool:
    """Whether a line is `dir 120 3`: a folder, its number of pictures, the label."""
    return len(cells) == 3 and cells[1].isdecimal() and not is_clip_file(cells[0])


def _is_header(cells: Sequence[str], root: Path) -> bool:
    """Whether a line names no clip: no video, no number of frames in the middle, no existing folder."""
    if any(is_clip_file(cell) for cell in cells) or _is_counted(cells):
        return False
    folders = (root, *(path for path in root.iterdir() if path.is_dir()))
    return not any(os.path.isdir(at / cells[0]) for at in folders)


def has_commas(line: str) -> bool:
    """Whether commas separate the cells: not in `one, two.mp4 3`, where the comma belongs to the path."""
    first = cells_of(line, commas=True)
    if len(first) < 2:
        return False
    return is_clip_file(first[0]) or not any(is_clip_file(cell) for cell in cells_of(line, commas=False))


def cells_of(line: str, commas: bool) -> list[str]:
    if commas:
        return [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True))]
    if "\t" in line:
        cells = line.split("\t")
    elif match := BEFORE_LABEL.fullmatch(line):
        cells = [match["path"], match["label"]]
    else:
        cells = line.rsplit(None, 2)
        cells = cells if len(cells) == 3 and cells[1].isdecimal() else line.rsplit(None, 1)
    return [cell.strip().strip('"') for cell in cells]


def _columns(header: Sequence[str], where: str, options: Options, problems: Problems) -> dict[str, int]:
    names = [cell.lower() for cell in header]
    known = dict(COLUMNS)
    if options.group_column:
        known["group"] = (options.group_column.lower(),)
        if options.group_column.lower() not in names:
            problems.add(f"{where}: {unknown('group column', options.group_column, header)}")
            return {}
    found = {field: [names.index(name) for name in words if name in names] for field, words in known.items()}
    if not found["path"] or not found["label"]:
        problems.add(
            f"{where}: '{shortened(', '.join(header))}' is neither a video with its label nor a header naming 'path' and 'label'"
            f" (videos end in {' '.join(sorted(VIDEO_SUFFIXES))})"
        )
        return {}
    return {field: places[0] for field, places in found.items() if places}


def _row(name: str, number: int, cells: list[str], table: _Table, split: str, problems: Problems) -> Row | None:
    where = f"{name} line {number}"
    values = {field: cells[at] if at < len(cells) else "" for field, at in table.columns.items()}
    own, line = values.get("split", "").lower(), shortened(", ".join(cells))
    if any(cell.count('"') % 2 for cell in cells):
        problems.add(f"{where}: a quote opens and does not close in '{line}'")
    elif len(cells) > table.width:
        problems.add(
            f"{where}: {len(cells)} cells instead of {table.width}: quote cells that contain a comma, or name the columns"
        )
    elif not values["label"] or not values["path"]:
        problems.add(f"{where}: no label in '{line}' (expected 'path,label' or 'path label')")
    elif not split and own and own not in SPLIT_NAMES:
        problems.add(f"{where}: {unknown('split', own, SPLIT_NAMES)}")
    else:
        counted = values.get("frames", "")
        side, frames = split or SPLIT_NAMES.get(own, ""), int(counted) if is_number(counted) else 0
        return Row(Path(values["path"]), values["label"], side, values.get("group", ""), where, frames)
    return None
