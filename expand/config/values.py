"""Whether a study holds what its fields may hold: types and finite numbers. Standard library only."""

from __future__ import annotations

import types
import typing
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union

from expand.core.errors import UsageError
from expand.core.study import Objective, SearchStrategy, Study

MOST = 2**53  # of any number in a study


def require_types(owner: Any, reference: str, path: str = "") -> None:
    """Every field of a study, and of its recipe and so on, holds what its annotation says.

    Raises:
        UsageError: the first that does not.
    """
    hints = typing.get_type_hints(type(owner))
    for field in fields(owner):
        value, hint, name = getattr(owner, field.name), hints[field.name], f"{path}{field.name}"
        if not _fits(value, hint):
            raise UsageError(f"{reference}: {name}={value!r}: wanted {described(hint)}")
        if (
            type(owner) is Study
            and field.name != "space"
            and is_dataclass(value)
            and type(value).__module__ == Study.__module__
        ):
            require_types(value, reference, f"{name}.")
        for aim in value if name == "objectives" else ():
            require_types(aim, reference, f"objectives.{aim.name}.")


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
    if hint is SearchStrategy:
        return callable(getattr(value, "ask", None)) and not isinstance(value, type)
    return isinstance(value, {float: float | int, bool: bool | int, types.NoneType: types.NoneType}.get(hint, hint))


def require_finite(owner: Any, path: str = "") -> None:
    """No number anywhere in a frozen value is infinite, no number at all (nan), or beyond what a float holds exactly.

    Raises:
        UsageError: the first that is, with its field.
    """
    if isinstance(owner, float | int):
        if not -MOST <= owner <= MOST:
            raise UsageError(f"{path}={owner}: a finite number, at most 2**53 away from 0")
    elif isinstance(owner, tuple | list):
        for number, each in enumerate(owner):
            require_finite(each, f"{path}.{each.name}" if isinstance(each, Objective) else f"{path}[{number}]")
    elif is_dataclass(owner) and not isinstance(owner, type):
        for field in fields(owner):
            require_finite(getattr(owner, field.name), f"{path}.{field.name}".lstrip("."))


def described(hint: Any) -> str:
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(hint, str(hint).replace("typing.", ""))
