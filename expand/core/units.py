"""Formats numbers for people: multiply-adds, bytes, seconds."""

from __future__ import annotations

import math


def format_macs(macs: int) -> str:
    """Multiply-adds with two decimals and a prefix.

    Examples:
        >>> f"{format_macs(35_838_000_000)}MACs"
        '35.84 GMACs'
    """
    for size, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G")):
        if macs >= size:
            return f"{macs / size:.2f} {unit}"
    return f"{macs / 1e6:.2f} M"


def format_bytes(count: float) -> str:
    """Bytes with three digits and a decimal unit, such as "1.5 GB"."""
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


def format_seconds(seconds: float) -> str:
    """A duration: "42 s", "5:07 min" or "3.5 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{seconds / 3600:.1f} h"


def four_digits(value: float, most_decimals: int = 9) -> str:
    """ "35.84" of 35.8376, "0.02066" of 0.0206623: four significant digits and never an exponent."""
    if value == 0:
        return "0"
    return f"{value:,.{min(max(0, 3 - math.floor(math.log10(abs(value)))), most_decimals)}f}"
