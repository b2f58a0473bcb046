"""Errors shown to the user: one line with the value and the remedy, and an exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ExpandError(Exception):
    """An operation failed (exit code 1)."""

    exit_code = 1


class UsageError(ExpandError, ValueError):
    """The request is invalid (exit code 2)."""

    exit_code = 2


class Unavailable(ExpandError):
    """A resource that every candidate needs is missing at the moment, such as the clip cache."""


def unknown(kind: str, name: object, allowed: Iterable[str]) -> UsageError:
    """The error for an unknown name. It suggests the nearest name and lists the allowed ones."""
    names = [str(entry) for entry in allowed]
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return UsageError(f"unknown {kind} '{name}'{hint} (there are: {', '.join(names) or 'none'})")
