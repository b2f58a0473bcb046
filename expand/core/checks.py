"""Checks of the fields of a frozen value for its `__post_init__`: types, finite numbers, and rules. Standard library only."""

from __future__ import annotations

import types
import typing
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union

from expand.core.errors import UsageError

MOST = 2**53  # the largest number allowed in a study


def require(owner: Any, path: str, **rules: tuple[bool, str]) -> None:
    """Checks rules. A rule has the name of a field; it says whether the field's value is allowed, and what is allowed.

    Raises:
        UsageError: for the first value that is not allowed, such as "recipe.epochs=0: at least 1".
    """
    for name, (right, allowed) in rules.items():
        if not right:
            raise UsageError(f"{path}{name}={getattr(owner, name)}: {allowed}")


def require_types(owner: Any, path: str) -> None:
    """Checks that every field has the type of its annotation, and that every number is finite.

    Raises:
        UsageError: for the first field that does not.
    """
    for field in fields(owner):
        value, hint, name = getattr(owner, field.name), _hints(type(owner))[field.name], f"{path}{field.name}"
        if not _fits(value, hint):
            raise UsageError(f"{name}={value!r}: wanted {described(hint)}")
    _require_finite(owner, path.rstrip("."))


_HINTS: dict[Any, dict[str, Any]] = {}  # by class, computed once


def _hints(owner: type) -> dict[str, Any]:
    if owner not in _HINTS:
        _HINTS[owner] = typing.get_type_hints(owner)
    return _HINTS[owner]


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        kinds = (
            arguments[:1] * len(value) if isinstance(value, tuple | list) and arguments[-1] is Ellipsis else arguments
        )
        return isinstance(value, tuple | list) and len(value) == len(kinds) and all(map(_fits, value, kinds))
    if getattr(hint, "_is_protocol", False):
        methods = [name for name in vars(hint) if not name.startswith("_")]
        return not isinstance(value, type) and all(callable(getattr(value, name, None)) for name in methods)
    return isinstance(value, {float: float | int, bool: bool | int, types.NoneType: types.NoneType}.get(hint, hint))


def _require_finite(owner: Any, path: str) -> None:
    """Checks that no number in a frozen value is infinite, NaN, or larger than a float can hold exactly."""
    if isinstance(owner, float | int):
        if not -MOST <= owner <= MOST:
            raise UsageError(f"{path}={owner}: a finite number, at most 2**53 away from 0")
    elif isinstance(owner, tuple | list):
        for number, each in enumerate(owner):
            _require_finite(each, f"{path}[{number}]")
    elif is_dataclass(owner) and not isinstance(owner, type):
        for field in fields(owner):
            _require_finite(getattr(owner, field.name), f"{path}.{field.name}".lstrip("."))


def described(hint: Any) -> str:
    """A type for users, such as "a whole number"."""
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(hint, str(hint).replace("typing.", ""))
