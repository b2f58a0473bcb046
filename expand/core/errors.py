"""Errors that a person reads: one line with the value and the remedy, and an exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ExpandError(Exception):
    """Something failed while working (exit code 1)."""

    exit_code = 1


class UsageError(ExpandError, ValueError):
    """What was asked for cannot be (exit code 2)."""

    exit_code = 2


class Unavailable(ExpandError):
    """What every candidate needs is not there at the moment, such as the cache of clips."""


def unknown(kind: str, name: object, allowed: Iterable[str]) -> UsageError:
    """The error for a name that does not exist: it names the nearest one and lists what is allowed."""
    names = [str(entry) for entry in allowed]
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return UsageError(f"unknown {kind} '{name}'{hint} (there are: {', '.join(names) or 'none'})")
