"""A study that was given as an object, built again from study.json."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, cast

import cattrs

from expand.config.loading import load_factory
from expand.core.errors import UsageError
from expand.core.study import Budget, Data, Objective, Recipe, Study


def classes_of(study: Study) -> dict[str, str]:
    """Where the classes of a study's space and strategy are defined, as MODULE:NAME or FILE.py:NAME, to build the study again
    without a study file. What a notebook defines has no file."""
    parts = {"space": type(study.space), "strategy": type(study.strategy)}
    return {name: f"{_place(kind)}:{kind.__qualname__}" for name, kind in parts.items()}


def _place(kind: type) -> str:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None) if kind.__module__ == "__main__" else None
    return os.path.realpath(file) if file else kind.__module__


def rebuilt(plain: Mapping[str, Any], classes: Mapping[str, str]) -> Study:
    """The study of `describe(study)` and `classes_of(study)`.

    Raises:
        UsageError: a class cannot be imported here, such as one that was defined in a notebook.
    """
    convert = cattrs.Converter()
    known = {
        "recipe": Recipe,
        "data": Data,
        "budget": Budget,
        "objectives": tuple[Objective, ...],
        "seeds": tuple[int, ...],
    }
    parts: dict[str, Any] = {name: convert.structure(plain[name], kind) for name, kind in known.items()}
    for name in ("space", "strategy"):
        parts[name] = convert.structure(plain[name], _loaded(classes[name]))
    return Study(name=plain["name"], scale=plain["scale"], **parts)


def _loaded(place: str) -> type:
    try:
        found = load_factory(place)
    except UsageError as error:
        raise UsageError(
            f"the run was started from Python, and {place} cannot be loaded here ({error}): open it from Python with its study, "
            "expand.open_run(folder, study)"
        ) from None
    return cast(type, found)
