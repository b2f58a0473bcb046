"""Files of bounded size that appear complete or not at all, so that a killed build continues from its finished shards.

A shard is `00000.bin`, the data of some clips, and `00000.json`, its table. Both are written under another name, flushed to disk
and renamed, the table last: a shard without a table does not count.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from expand.core.atomic import appearing, write_atomically

SHARD_BYTES = 256 << 20  # a shard ends with the clip that reaches this size
Table = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """A clip to store, or a damaged one if `data` is None; `facts` is its entry in the index."""

    facts: dict[str, Any]
    data: np.ndarray | None

    @property
    def nbytes(self) -> int:
        return 0 if self.data is None else self.data.nbytes


def finished(folder: Path) -> list[Table]:
    """The tables of the complete shards, from the first on. All other files in the folder are removed."""
    tables: list[Table] = []
    while table := _whole(folder, len(tables)):
        tables.append(table)
    keep = {name(number, suffix) for number in range(len(tables)) for suffix in ("bin", "json")}
    for file in folder.iterdir():
        if file.name not in keep:
            file.unlink()
    return tables


def write_shard(folder: Path, number: int, entries: Iterator[Entry]) -> Table | None:
    """Writes entries until the shard is full; returns None if there are no more.

    Raises:
        OSError: the disk is full.
    """
    table: Table = {"entries": 0, "bytes": 0, "crc32": 0, "clips": [], "skipped": []}
    with appearing(folder / name(number, "bin")) as partial, partial.open("wb") as file:
        for entry in entries:
            table["entries"] += 1
            if entry.data is None:
                table["skipped"].append(entry.facts)
                continue
            data = np.ascontiguousarray(entry.data).data.cast("B")
            file.write(data)
            table["clips"].append(entry.facts | {"shard": number, "offset": table["bytes"]})
            table["crc32"] = zlib.crc32(data, table["crc32"])
            table["bytes"] += len(data)
            if table["bytes"] >= SHARD_BYTES:
                break
    if not table["entries"]:
        (folder / name(number, "bin")).unlink()
        return None
    write_atomically(folder / name(number, "json"), json.dumps(table).encode())
    return table


def name(number: int, suffix: str) -> str:
    return f"{number:05}.{suffix}"


def _whole(folder: Path, number: int) -> Table | None:
    """A shard's table, if its data have the recorded size and checksum."""
    try:
        table: Table = json.loads((folder / name(number, "json")).read_text())
        with open(folder / name(number, "bin"), "rb") as file:
            return table if _crc32(file) == (table["bytes"], table["crc32"]) else None
    except (OSError, ValueError, KeyError):
        return None


def _crc32(file: BinaryIO) -> tuple[int, int]:
    size = total = 0
    while block := file.read(1 << 22):
        size, total = size + len(block), zlib.crc32(block, total)
    return size, total
