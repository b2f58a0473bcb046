"""Files of users before they are opened, and their names before they are shown. Standard library only.

A named pipe blocks whoever opens it, a device may never end, a name may hold bytes that are no text or that a terminal obeys.
"""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 30  # of a list or a JSON file; the largest data set's list has some 100 MB
LINES = "\n\t"  # what a text of several lines keeps
KINDS = {
    stat.S_IFIFO: "a named pipe (FIFO)", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}  # fmt: skip
# Control characters, bytes that are not UTF-8 (as os.fsdecode gives them), line ends of Unicode, and what turns the direction of
# writing, so that a name reads as another one.
NOT_SHOWN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def not_a_file(path: str | Path) -> str:
    """Why a path cannot be read as a file, as a clause such as "it is a named pipe (FIFO), not a file"; "" for a regular
    file, also by links. Nothing is opened."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "there is no such file"
    except (OSError, ValueError) as error:  # a circle of links; a NUL character
        return f"it cannot be looked at ({getattr(error, 'strerror', None) or error})"
    return "" if stat.S_ISREG(mode) else f"it is {KINDS.get(stat.S_IFMT(mode), 'something else')}, not a file"


def read_bytes(path: str | Path, most: int = MOST_BYTES) -> bytes:
    """All of a regular file.

    Raises:
        FileNotFoundError: there is none.
        OSError: it is something else than a file, larger than `most` bytes, or cannot be read; `strerror` says which.
    """
    if reason := not_a_file(path):
        raise (OSError if os.path.lexists(path) else FileNotFoundError)(0, reason, str(path))
    if (size := os.stat(path).st_size) > most:
        raise OSError(0, f"it has {size:,} bytes, at most {most:,} are read", str(path))
    return Path(path).read_bytes()


def read_json(path: str | Path, shape: Any = object) -> Any:
    """What a JSON file holds; `shape` is what it must have, see `misfit`.

    Raises:
        FileNotFoundError: there is none.
        OSError: as `read_bytes`.
        ValueError: it is not JSON, or not of this shape.
    """
    try:
        content = json.loads(read_bytes(path).decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if reason := misfit(content, shape):
        raise ValueError(reason)
    return content


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file that nothing depends on; {} where there is none that can be read."""
    try:
        return read_json(path, dict)
    except (OSError, ValueError):
        return {}


def misfit(plain: Any, shape: Any, name: str = "") -> str:
    """Where JSON is not of a shape, such as "'study.seeds' is no list"; "" where it is. A shape is a type or a union of them, a
    dict of fields, which must be there unless their name ends in "?", or a list of one shape for all entries."""
    said = f"'{name}'" if name else "it"
    kind = "object" if isinstance(shape, dict) else "list" if isinstance(shape, list) else ""
    if kind and not isinstance(plain, type(shape)):
        return f"{said} is no {kind}"
    if kind == "object":
        for asked, inner in shape.items():
            key = asked.removesuffix("?")
            below = f"{name}.{key}".lstrip(".")
            if key not in plain and key == asked:
                return f"'{below}' is missing"
            if key in plain and (reason := misfit(plain[key], inner, below)):
                return reason
        return ""
    if kind == "list":
        return next((reason for i, each in enumerate(plain) if (reason := misfit(each, shape[0], f"{name}[{i}]"))), "")
    if isinstance(plain, shape) and not (shape is int and isinstance(plain, bool)):
        return ""
    names: dict[Any, str] = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}
    return f"{said} is {shortened(json.dumps(plain), 40)}, not {names.get(shape, shape)}"


def json_bytes(content: Any, **options: Any) -> bytes:
    """JSON as UTF-8. Names with other bytes become escapes that `json.loads` turns into the same names again."""
    return json.dumps(content, ensure_ascii=False, **options).encode(errors="backslashreplace")


def escaped(text: str, keep: str = "") -> str:
    r"""A text as it may be shown: what `NOT_SHOWN` tells becomes `\xe9` or `\u202e`, but for the characters in `keep`."""
    return NOT_SHOWN.sub(lambda match: match[0] if match[0] in keep else _escape(match[0]), text)


def _escape(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def shortened(text: str, most: int = 120) -> str:
    """The beginning of a text that may be megabytes long."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"
