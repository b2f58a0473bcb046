"""The study of a run, built again from its study.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from expand.config.request import Request
from expand.config.serialize import describe, differences
from expand.core.errors import ExpandError
from expand.core.study import Budget, Data, Recipe, Study
from expand.core.trial import Trial
from expand.source.fingerprint import edited
from expand.source.trust import require_trust
from expand.storage.run_directory import Record


def _without_place(study: dict[str, Any]) -> dict[str, Any]:
    """Where videos and weights lie, and when and by how many processes videos are decoded, may change; what they are is compared
    by content. A field that is younger than a run had its default there."""
    recipe, data = describe(Recipe()) | study["recipe"], describe(Data()) | study["data"]
    return study | {
        "recipe": {key: value for key, value in recipe.items() if key not in ("weights", "loader_workers")},
        "data": {key: value for key, value in data.items() if key not in ("source", "decode", "skip_damaged")},
        "budget": describe(Budget()) | study["budget"],
        "objectives": [{"on_front": True} | objective for objective in study["objectives"]],
    }


def study_of(record: Record, trials: Sequence[Trial] = (), *, trust: bool = False) -> Study:
    """The study of a run, built again from its study.json, to rebuild the networks of these trials and prepare their inputs.

    Raises:
        UsageError: that would run code that is not trusted, and `trust` is false (`expand/source/trust.py`).
        ExpandError: the study file or the code of a network has changed.
    """
    facts = record.facts
    if not trust:
        require_trust(facts)
    study = Request.of(facts).study()
    old, now = _without_place(facts["study"]), _without_place(describe(study))
    lines = [line for part in ("space", "recipe") for line in differences(old[part], now[part], part)]
    if lines:
        raise ExpandError(
            f"{facts['reference'] or 'the study'} has changed since this run ({'; '.join(lines)}): put it back as it was"
        )
    if other := edited(study.space, trials):
        raise ExpandError(f"{other} since it was trained: put it back as it was")
    return study
