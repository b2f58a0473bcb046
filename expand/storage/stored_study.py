"""The study of a run, built again from its study.json."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from expand.config.loading import load_factory
from expand.config.request import Request
from expand.config.serialize import differences
from expand.core.errors import ExpandError, UsageError
from expand.core.joint import JointSpace, RecipeAxis
from expand.core.space import SearchSpace
from expand.core.study import Study
from expand.core.trial import Trial
from expand.source.fingerprint import edited
from expand.source.trust import is_ours, require_trust
from expand.storage.facts import Facts, StudyFacts
from expand.storage.run_directory import Record
from expand.storage.serialize import from_plain, to_plain

# Where videos and weights lie, and when and by how many processes videos are decoded, may change; what they are is compared by
# content.
PLACES = {"recipe": ("weights", "loader_workers"), "data": ("source", "decode")}


def study_differences(old: StudyFacts, new: StudyFacts) -> list[str]:
    """In what two studies differ that decides a training's numbers, one line each: "recipe.epochs: 12 in the run, 30 now"."""
    before, now = to_plain(old), to_plain(new)
    for study in (before, now):
        for part, names in PLACES.items():
            for name in names:
                del study[part][name]
    return differences(before, now)


def study_of(record: Record, trials: Sequence[Trial] = (), *, trust: bool = False) -> Study:
    """The study of a run, built again from its study.json, to rebuild the networks of these trials and prepare
    their inputs.

    Raises:
        UsageError: that would run code that is not trusted, and `trust` is false (`expand/source/trust.py`).
        ExpandError: the study file or the code of a network has changed.
    """
    facts = record.facts
    if not trust:
        require_trust(facts.references, facts.files)
    study = as_begun(request_of(facts), facts)
    lines = [
        line for line in study_differences(facts.study, StudyFacts.of(study)) if line.startswith(("space", "recipe"))
    ]
    if lines:
        raise ExpandError(
            f"{facts.reference or 'the study'} has changed since this run ({'; '.join(lines)}): put it back as it was"
        )
    if other := edited(study.space, trials):
        raise ExpandError(f"{other} since it was trained: put it back as it was")
    return study


def as_begun(request: Request, facts: Facts | None) -> Study:
    """The study that a request asks for. Where a newer version has given one of our own studies other values, a run that was
    begun with the same request keeps those that it began with.

    Args:
        facts: of the run; None for a new one.
    """
    study = request.study()
    if facts is None or not is_ours(facts.reference) or _asked(request) != _asked(request_of(facts)):
        return study
    if not study_differences(facts.study, StudyFacts.of(study)):
        return study
    kept, now = _rebuilt(facts), study.recipe
    return replace(
        kept,
        data=replace(kept.data, source=study.data.source, decode=study.data.decode),
        recipe=replace(kept.recipe, weights=now.weights, loader_workers=now.loader_workers),
    )


def _asked(request: Request) -> tuple[object, ...]:
    return (
        request.reference, request.scale, request.settings, request.limits, request.data, request.seed, request.alone,
        request.recipe_axes,
    )  # fmt: skip


def request_of(facts: Facts) -> Request:
    """What was asked for.

    Raises:
        UsageError: the study was an object, and its classes cannot be imported here.
    """
    return Request(
        facts.reference or "", facts.scale, facts.settings, facts.data_option, facts.seed_option, facts.limits, facts.alone,
        None if facts.reference else _rebuilt(facts), facts.recipe_from, recipe_axes=facts.recipe_axes,
    )  # fmt: skip


def classes_of(study: Study) -> dict[str, str]:
    """Where the classes of a study's space and strategy are defined, as MODULE:NAME or FILE.py:NAME, to build the study again
    without a study file. What a notebook defines has no file."""
    space = study.space.family if isinstance(study.space, JointSpace) else study.space
    parts = {"space": type(space), "strategy": type(study.strategy)}
    return {name: f"{_place(kind)}:{kind.__qualname__}" for name, kind in parts.items()}


def _place(kind: type) -> str:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None) if kind.__module__ == "__main__" else None
    return os.path.realpath(file) if file else kind.__module__


def _rebuilt(facts: Facts) -> Study:
    kept = facts.study
    family, strategy = (_loaded(facts.classes.get(role, role)) for role in ("space", "strategy"))
    if kept.space.get("type") == JointSpace.__qualname__:
        axes = from_plain(kept.space["recipe_axes"], tuple[RecipeAxis, ...])
        space: SearchSpace = JointSpace(from_plain(kept.space["family"], family), axes)
    else:
        space = from_plain(kept.space, family)
    return Study(
        kept.name, space, from_plain(kept.strategy, strategy), kept.recipe,
        replace(kept.data, source=kept.source), kept.budget, kept.objectives, kept.seeds, kept.scale,
    )  # fmt: skip


def _loaded(place: str) -> type[Any]:
    try:
        found: type[Any] = load_factory(place)
    except UsageError as error:
        raise UsageError(
            f"the run was started from Python, and {place} cannot be loaded here ({error}): open it from Python with its study, "
            "expand.open_run(folder, study)"
        ) from None
    return found
