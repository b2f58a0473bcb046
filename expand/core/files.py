"""Checks users' files before opening them, and escapes their names before showing them. Standard library only.

Opening a named pipe blocks, reading a device may never end, and a name may hold invalid text or terminal control codes.
"""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 30  # of a list or JSON file; the largest data set's list has about 100 MB
LINES = "\n\t"  # control characters kept in a text of several lines
KINDS = {
    stat.S_IFIFO: "a named pipe (FIFO)", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}  # fmt: skip
# Control characters, bytes that are not UTF-8 (as os.fsdecode returns them), Unicode line ends, and marks that reverse the
# writing direction, which make one name look like another.
NOT_SHOWN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def not_a_file(path: str | Path) -> str:
    """Why a path cannot be read as a file, such as "it is a named pipe (FIFO), not a file"; "" for a regular file.

    Links are followed. Nothing is opened.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "there is no such file"
    except (OSError, ValueError) as error:  # a circle of links; a NUL character
        return f"it cannot be inspected ({getattr(error, 'strerror', None) or error})"
    return "" if stat.S_ISREG(mode) else f"it is {KINDS.get(stat.S_IFMT(mode), 'something else')}, not a file"


def read_bytes(path: str | Path, most: int = MOST_BYTES) -> bytes:
    """The content of a regular file.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: it is not a regular file, is larger than `most` bytes, or cannot be read; `strerror` says which.
    """
    if reason := not_a_file(path):
        raise (OSError if os.path.lexists(path) else FileNotFoundError)(0, reason, str(path))
    if (size := os.stat(path).st_size) > most:
        raise OSError(0, f"it has {size:,} bytes, at most {most:,} are read", str(path))
    return Path(path).read_bytes()


def read_json(path: str | Path) -> Any:
    """The content of a JSON file.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: as `read_bytes`.
        ValueError: it is not JSON.
    """
    try:
        return json.loads(read_bytes(path).decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def json_bytes(content: Any, **options: Any) -> bytes:
    """JSON as UTF-8. Bytes that are not UTF-8 become escapes, which `json.loads` turns back into the same bytes."""
    return json.dumps(content, ensure_ascii=False, **options).encode(errors="backslashreplace")


def escaped(text: str, keep: str = "") -> str:
    r"""A text that is safe to show: characters in `NOT_SHOWN` become `\xe9` or `\u202e`, except those in `keep`."""
    return NOT_SHOWN.sub(lambda match: match[0] if match[0] in keep else _escape(match[0]), text)


def _escape(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def shortened(text: str, most: int = 120) -> str:
    """The beginning of a text that may be megabytes long."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"
