"""Hashes of a network's code: weights belong to the code that trained them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any

from expand.core.space import Architecture, SearchSpace
from expand.core.trial import Trial
from expand.source.slicer import hashed_source

Code = dict[str, str]  # a hash by name

_source = cache(hashed_source)  # cached at the first call, right after the import, because the file may change later


def code_of(space: SearchSpace, architecture: Architecture) -> Code | None:
    """A hash of everything that determines the network: each name that its class uses, its arguments and its clips.

    None if the source cannot be read.
    """
    try:
        network, arguments = space.constructor(architecture, space.num_classes)
    except Exception:  # building the network will report the error
        return None
    found = _source(network)  # type: ignore[arg-type]
    if found is None:
        return None
    made = {
        f"arguments of {network.__name__}": arguments,
        "clips it reads": [unusual(clip) for clip in space.inputs(architecture)],
    }
    return found | {name: hashed for name, value in made.items() if (hashed := _hash(value))}


def changes(before: Mapping[str, str] | None, now: Mapping[str, str] | None) -> list[str]:
    """The differences by name, in words; empty if `before` is unknown."""
    if before is None:
        return []
    if now is None:
        return ["its source can no longer be read"]
    lost, new = sorted(before.keys() - now.keys()), sorted(now.keys() - before.keys())
    other = [name for name in sorted(before.keys() & now.keys()) if before[name] != now[name]]
    kinds = ((other, "changed"), (lost, "gone"), (new, "new"))
    return [f"{', '.join(names)} {kind}" for names, kind in kinds if names]


def edited(space: SearchSpace, trials: Iterable[Trial]) -> str:
    """A sentence about the first trial whose network's code has changed; "" if none has."""
    for trial in trials:
        before = trial.attempt.code
        if before and (lines := changes(before, code_of(space, trial.architecture))):
            return f"code of the network of trial {trial.number}: {'; '.join(lines)}"
    return ""


def unusual(value: Any) -> dict[str, Any]:
    """The fields of a frozen dataclass that differ from their defaults, so that a new field does not change old hashes."""
    defaults = {field.name: field.default for field in fields(value)}
    return {n: v for n, d in defaults.items() if (v := getattr(value, n)) != d or d is MISSING}


def _hash(value: object) -> str:
    """A hash of a plain value; "" for other values, whose text may contain an address."""
    try:
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
    except (TypeError, ValueError):
        return ""
