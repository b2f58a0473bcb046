"""Asks before running a study file that a run directory names: it may be somebody else's code."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path

from expand.core.errors import UsageError


def file_hashes(references: Mapping[str, str]) -> dict[str, str]:
    """SHA-256 of the Python files among what study.json names (`Facts.references`), to be stored in it."""
    files = {role: Path(name) for role, name in references.items() if name.endswith(".py")}
    return {role: _sha256(file) for role, file in files.items() if file.is_file()}


def require_trust(references: Mapping[str, str], hashes: Mapping[str, str]) -> None:
    """Checks the files that a run names, before importing any of them, against their stored hashes.

    Raises:
        UsageError: a file is inside a run directory, or has changed since the run was created.
    """
    for reference in references.values():
        require_own(reference)
    now = file_hashes(references)
    for role, before in hashes.items():
        if now.get(role, before) != before:
            raise _untrusted(references[role], "has changed since the run was created")


def require_own(reference: str) -> None:
    """Refuses a study or search space inside a run directory, which may come from somebody else.

    Raises:
        UsageError: the file is inside a run directory.
    """
    place = _place(reference)
    for above in place.parents if place is not None and place.exists() else ():
        if os.path.isfile(above / "study.json"):
            raise _untrusted(str(place), f"lies in the run {above}")


def is_ours(reference: str | None) -> bool:
    """Whether this names one of our own studies or spaces."""
    return bool(reference) and _place(str(reference)) is None


def _untrusted(file: str, why: str) -> UsageError:
    return UsageError(f"{file} would be run as code, and {why}: look at it, then add --trust")


def _place(reference: str) -> Path | None:
    """The path of a file or of a dotted name's package; None for our own studies and spaces. Nothing is imported."""
    if reference.endswith(".py") or "/" in reference:
        return Path(reference).resolve()
    if "." not in reference:
        return None
    package = PathFinder.find_spec(reference.split(".")[0], [str(Path.cwd()), *sys.path])
    places = [*(package.submodule_search_locations or ()), package.origin] if package else []
    return Path(places[0]).resolve() if places and places[0] else None


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
