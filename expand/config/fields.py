"""The fields of a study for people: type, default, value and meaning of everything that `--set` reaches.

The meaning stands in the class's docstring, in its section "Attributes:", a line per field.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, Literal, Union

from expand.core.space import SearchSpace
from expand.core.study import Study

WORDS = {int: "int", float: "float", bool: "true or false", str: "text", type(None): "none"}


@dataclass(frozen=True)
class Field:
    """One field of a study or of a class.

    Attributes:
        name: as `--set` takes it, such as "recipe.epochs".
        type: as text, such as "float or none".
        default: the class's default; `dataclasses.MISSING` where a value has to be given.
        value: the study's value; the default where there is no study.
        meaning: one or two sentences.
    """

    name: str
    type: str
    default: object
    value: object
    meaning: str


def summary(kind: type) -> str:
    """The first paragraph of a class's own docstring, as one line."""
    return " ".join(inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].split())


def meanings(kind: type) -> dict[str, str]:
    """What the section "Attributes:" of a class's docstring says of each field, that of its base classes included."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        name = ""  # of the field that the last line was about
        for line in inspect.cleandoc(each.__doc__ or "").partition("\nAttributes:\n")[2].splitlines():
            if not line.startswith("    "):
                break  # an empty line or the next section
            if line.startswith("     "):
                found[name] = f"{found.get(name, '')} {line.strip()}".strip()
            else:
                name, _, text = line.strip().partition(": ")
                name = name.partition(" (")[0]  # Google's style allows the type here
                found[name] = text
    return found


def fields_of(kind: type, prefix: str = "") -> list[Field]:
    """The fields of a frozen class with their defaults as values."""
    hints, meant = _hints(kind), meanings(kind)
    found = []
    for each in fields(kind):
        default = each.default if each.default_factory is MISSING else each.default_factory()
        if each.init:
            meaning = meant.get(each.name, "")
            found.append(Field(prefix + each.name, type_text(hints[each.name]), default, default, meaning))
    return found


def _hints(kind: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except NameError:  # a name imported for type checkers only
        return {field.name: field.type for field in fields(kind)}


def study_fields(study: Study) -> list[Field]:
    """Every field that `--set` reaches, in the order of the classes; parts come as their own fields."""
    return list(_walk(study, ""))


def _walk(owner: Any, prefix: str) -> Iterator[Field]:
    for field in fields_of(type(owner), prefix):
        value = getattr(owner, field.name.removeprefix(prefix))
        parts: list[Any] = [part for part in value if is_dataclass(part)] if isinstance(value, tuple) else []
        if is_dataclass(value):
            yield from _walk(value, f"{field.name}.")
        elif parts:
            for part in parts:
                yield from _walk(part, f"{field.name}.{part.name}.")
        else:
            meaning = field.meaning or _axis_meaning(owner, field.name.removeprefix(prefix))
            yield Field(field.name, field.type, field.default, value, meaning)


def _axis_meaning(owner: object, name: str) -> str:
    """What a field of a space is that has the name of an axis's parameter: where the search starts on that axis."""
    for axis in owner.axes if isinstance(owner, SearchSpace) else ():
        if axis.parameter == name:
            unit = f" ({axis.unit})" if axis.unit not in ("", axis.name) else ""
            return f"where the search starts on the axis {axis.name}{unit}."
    return ""


# --- as text ---------------------------------------------------------------------------------------------------------


def type_text(hint: Any) -> str:
    """A type as its values are typed on the command line: "cosine or step", "float,float", "int or none"."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(type_text(argument) for argument in arguments)
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if origin is tuple:
        return ",".join("..." if argument is Ellipsis else type_text(argument) for argument in arguments)
    return WORDS.get(hint) or str(getattr(hint, "__name__", hint))


def value_text(value: object) -> str:
    """A value as `--set` reads it, numbers with six digits; the class's name for what is no plain value."""
    if isinstance(value, tuple):
        return ",".join(map(value_text, value)) or "()"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, str)):
        return str(value)
    return f"{value:g}" if isinstance(value, float) else type(value).__name__
