"""Fields of a study changed by name: --set and --limit."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, Union

from expand.config.fields import study_fields
from expand.config.values import MOST, described
from expand.core.errors import UsageError, unknown
from expand.core.files import shortened
from expand.core.study import COSTS, Objective, Study


def override(study: Study, settings: Iterable[str]) -> Study:
    """The study with `a.b=value` settings applied, each value read as the field's type.

    Raises:
        UsageError: a name that does not exist (the nearest is named) or a value of the wrong type.
    """
    for setting in settings:
        path, separator, text = setting.partition("=")
        if not separator:
            raise UsageError(f"--set {setting}: write it as name=value, such as --set recipe.epochs=30")
        study = _replaced(study, path.strip().split("."), text.strip(), setting)
    return study


def _replaced(owner: Any, path: Sequence[str], text: str, setting: str) -> Any:
    name = path[0]
    if isinstance(owner, tuple):  # such as objectives.gmacs.limit
        names = [getattr(entry, "name", "") for entry in owner]
        if name not in names or len(path) < 2:
            raise unknown(f"entry in --set {setting}:", name, names)
        return tuple(_replaced(e, path[1:], text, setting) if e.name == name else e for e in owner)
    if not is_dataclass(owner) or isinstance(owner, type):
        raise UsageError(f"--set {setting}: {type(owner).__name__} has no fields")
    names = [field.name for field in fields(owner) if field.init]
    if name not in names:
        deeper = (
            [field.name for field in study_fields(owner) if field.name.endswith(f".{name}")]
            if isinstance(owner, Study)
            else []
        )
        if deeper:
            raise UsageError(f"unknown field in --set {setting}: '{name}'; did you mean {' or '.join(deeper)}?")
        raise unknown(f"field in --set {setting}:", name, names)
    if len(path) > 1:
        return replace(owner, **{name: _replaced(getattr(owner, name), path[1:], text, setting)})
    hint = typing.get_type_hints(type(owner))[name]
    try:
        value = _parse(text, hint)
    except (ValueError, RecursionError):  # brackets without end
        raise UsageError(f"--set {setting}: '{shortened(text)}' is not {described(hint)}") from None
    return replace(owner, **{name: value})


def _parse(text: str, hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        if type(None) in arguments and text.lower() in ("none", "null", ""):
            return None
        return _parse(text, next(argument for argument in arguments if argument is not type(None)))
    if origin is Literal:
        return (
            next(choice for choice in arguments if str(choice) == text) if text in map(str, arguments) else _fail(text)
        )
    if origin is tuple and typing.get_origin(arguments[0]) is tuple:
        return _from_json(json.loads("[]" if text == "()" else text), hint)
    if origin is tuple:
        parts = [part for part in text.strip("()[] ").replace(" ", ",").split(",") if part]
        if arguments[-1] is not Ellipsis and len(parts) != len(arguments):
            return _fail(text)
        return tuple(_parse(part, arguments[0]) for part in parts)
    if hint is bool:
        truths = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        return truths[text.lower()] if text.lower() in truths else _fail(text)
    if hint in (int, float, str):
        return hint(text)
    return _fail(text)


def _from_json(value: Any, hint: Any) -> Any:
    """Tuples within tuples, such as [["push", "pull"]]: names may hold spaces and commas."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is not tuple:
        return value if isinstance(value, hint) else _fail(value)
    if not isinstance(value, list) or (arguments[-1] is not Ellipsis and len(value) != len(arguments)):
        return _fail(value)
    kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
    return tuple(_from_json(entry, kind) for entry, kind in zip(value, kinds, strict=True))


def _fail(text: str) -> Any:
    raise ValueError(text)


def limited(study: Study, limits: Iterable[str]) -> Study:
    """The study with limits such as "gmacs<=2" on what is known before training. A cost that is none of its objectives
    becomes a limit only, without a part in the front.

    Raises:
        UsageError: a cost that does not exist, or no number.
    """
    for limit in limits:
        name, separator, text = (part.strip() for part in limit.partition("<="))
        if name not in COSTS:
            raise unknown(f"cost in --limit '{limit}':", name, COSTS)
        try:
            most = float(text)
        except ValueError:
            most = math.nan
        if not separator or not 0 < most <= MOST:
            raise UsageError(f"--limit '{limit}': write it as {name}<=2, with a number above 0")
        objectives = study.objectives
        if name not in [objective.name for objective in objectives]:
            added = Objective(typing.cast(Any, name), "minimize", known_before_training=True, on_front=False)
            objectives = (*objectives, added)
        study = replace(
            study, objectives=tuple(replace(o, limit=most) if o.name == name else o for o in objectives)
        )  # fmt: skip
    return study
