"""Formats numbers for people: multiply-adds, bytes, seconds."""

from __future__ import annotations


def format_macs(macs: int) -> str:
    for size, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G")):
        if macs >= size:
            return f"{macs / size:.2f} {unit}"
    return f"{macs / 1e6:.2f} M"


def format_bytes(count: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


def format_seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f}:{seconds % 60:02.0f} min"
    return f"{seconds / 3600:.1f} h"
