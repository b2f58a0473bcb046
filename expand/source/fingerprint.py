"""Which code a network is made of, by hash: weights belong to the code that trained them."""

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

_source = cache(hashed_source)  # as it was when this process first asked, which is when it had just been imported


def code_of(space: SearchSpace, architecture: Architecture) -> Code | None:
    """The names that the network's class reaches with a hash of each, and what the family makes of the architecture: the
    arguments of the class and the clips it reads. None where there is no source that can be read."""
    try:
        network, arguments = space.constructor(architecture, space.num_classes)
    except Exception:  # what is wrong with it is said when it is built
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
    """What differs by name, in words; nothing where it was not known before."""
    if before is None:
        return []
    if now is None:
        return ["its source cannot be read any more"]
    lost, new = sorted(before.keys() - now.keys()), sorted(now.keys() - before.keys())
    other = [name for name in sorted(before.keys() & now.keys()) if before[name] != now[name]]
    told = ((other, "changed"), (lost, "gone"), (new, "new"))
    return [f"{', '.join(names)} {what}" for names, what in told if names]


def edited(space: SearchSpace, trials: Iterable[Trial]) -> str:
    """The first of these trials whose network is made of other code now, in words; nothing where all are as they were."""
    for trial in trials:
        before = trial.attempt.code
        if before and (lines := changes(before, code_of(space, trial.architecture))):
            return f"code of the network of trial {trial.number}: {'; '.join(lines)}"
    return ""


def unusual(value: Any) -> dict[str, Any]:
    """The fields of a frozen dataclass that are not at their default: a field that is younger than what this is compared with
    changes nothing."""
    defaults = {field.name: field.default for field in fields(value)}
    return {n: v for n, d in defaults.items() if (v := getattr(value, n)) != d or d is MISSING}


def _hash(value: object) -> str:
    """Nothing for what is not plain: its text may hold an address."""
    try:
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
    except (TypeError, ValueError):
        return ""
