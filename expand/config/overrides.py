"""Fields of a study changed by name: --set and --limit."""

from __future__ import annotations

import contextlib
import json
import math
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, Union

from expand.config.fields import study_fields
from expand.core.checks import MOST, described
from expand.core.errors import UsageError, unknown
from expand.core.files import shortened
from expand.core.joint import RecipeAxis, field_kind, joint
from expand.core.study import COSTS, Objective, Study


def override(study: Study, settings: Iterable[str]) -> Study:
    """The study with `a.b=value` settings applied, each value read as the field's type.

    Raises:
        UsageError: a name that does not exist (the nearest is named) or a value of the wrong type.
    """
    wanted = []
    for setting in settings:
        path, separator, text = setting.partition("=")
        if not separator:
            raise UsageError(f"--set {setting}: write it as name=value, such as --set recipe.epochs=30")
        wanted.append(_Setting(tuple(path.strip().split(".")), text.strip(), setting))
    changed: Study = _replaced(study, wanted)
    return changed


@dataclass(frozen=True)
class _Setting:
    path: tuple[str, ...]
    text: str
    typed: str


def _replaced(owner: Any, settings: Sequence[_Setting]) -> Any:
    """Sets all values together, because some are allowed only in combination: recipe.schedule=step with a recipe.decay_every."""
    if isinstance(owner, tuple):  # such as objectives.gmacs.limit
        names = [getattr(entry, "name", "") for entry in owner]
        for setting in settings:
            if setting.path[0] not in names or len(setting.path) < 2:
                raise unknown(f"entry in --set {setting.typed}:", setting.path[0], names)
        return tuple(_replaced(entry, _below(settings, name)) for entry, name in zip(owner, names, strict=True))
    for setting in settings:
        _require_field(owner, setting)
    changes = {}
    for name in dict.fromkeys(setting.path[0] for setting in settings):
        values = [_value(owner, each) for each in settings if each.path == (name,)]
        changes[name] = values[-1] if values else getattr(owner, name)
        if deeper := _below(settings, name):
            changes[name] = _replaced(changes[name], deeper)
    return replace(owner, **changes) if changes else owner


def _below(settings: Sequence[_Setting], name: str) -> list[_Setting]:
    own = [setting for setting in settings if setting.path[0] == name and len(setting.path) > 1]
    return [replace(setting, path=setting.path[1:]) for setting in own]


def _require_field(owner: Any, setting: _Setting) -> None:
    if not is_dataclass(owner) or isinstance(owner, type):
        raise UsageError(f"--set {setting.typed}: {type(owner).__name__} has no fields")
    name, names = setting.path[0], [field.name for field in fields(owner) if field.init]
    if name in names:
        return
    everything = study_fields(owner) if isinstance(owner, Study) else []
    deeper = [field.name for field in everything if field.name.endswith(f".{name}")]
    if deeper:
        raise UsageError(f"unknown field in --set {setting.typed}: '{name}'; did you mean {' or '.join(deeper)}?")
    raise unknown(f"field in --set {setting.typed}:", name, names)


def _value(owner: Any, setting: _Setting) -> Any:
    hint = typing.get_type_hints(type(owner))[setting.path[0]]
    try:
        return _parse(setting.text, hint)
    except (ValueError, RecursionError):  # brackets without end
        raise UsageError(f"--set {setting.typed}: '{shortened(setting.text)}' is not {described(hint)}") from None


def _parse(text: str, hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        if type(None) in arguments and text.lower() in ("none", "null", ""):
            return None
        return _first_that_fits(text, [argument for argument in arguments if argument is not type(None)])
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


def _first_that_fits(text: str, hints: Sequence[Any]) -> Any:
    for hint in hints:
        with contextlib.suppress(ValueError):
            return _parse(text, hint)
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


def with_recipe_axes(study: Study, axes: Iterable[str]) -> Study:
    """The study that also searches fields of its recipe, such as "learning_rate=0.0125..0.2" or "weight_decay=5e-5,5e-4".

    Raises:
        UsageError: a field that cannot be searched, or a value that it cannot have.
    """
    found = []
    for text in axes:
        name, separator, values = (part.strip() for part in text.partition("="))
        name = name.removeprefix("recipe.")
        if not separator or not values:
            raise UsageError(f"--recipe-axis {text}: write it as NAME=LOW..HIGH or NAME=VALUE,VALUE")
        kind = field_kind(name)
        low, dots, high = values.partition("..")
        try:
            if dots:
                found.append(RecipeAxis(name, float(low), float(high)))
            else:
                kind = str if typing.get_origin(kind) is Literal else kind  # whose words are checked with all names
                found.append(RecipeAxis(name, choices=tuple(_parse(each.strip(), kind) for each in values.split(","))))
        except UsageError:
            raise
        except (ValueError, OverflowError):
            raise UsageError(
                f"--recipe-axis {text}: '{shortened(values)}' is not {described(kind)}, nor several"
            ) from None
    return joint(study, *found) if found else study


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
