"""A study as plain JSON, and where two of them differ."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from expand.core.errors import UsageError


def describe(value: Any) -> Any:
    """A frozen value as plain JSON; what is a class's is named, so that different strategies do not look alike."""
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        plain = {field.name: describe(getattr(value, field.name)) for field in fields(value)}
        return plain if kind.__module__.startswith("expand.core.study") else {"type": kind.__qualname__, **plain}
    if isinstance(value, (tuple, list)):
        return [describe(entry) for entry in value]
    if isinstance(value, dict):
        return {str(key): describe(entry) for key, entry in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise UsageError(f"a study holds plain values and frozen dataclasses, not {type(value).__name__}")


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Where two plain values differ, one line each: "recipe.epochs: 12 in the run, 30 now".

    A field that is missing in `old` and is now 0, false, none or empty is no difference: later versions have fields that an older
    one did without.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        names = [name for name in dict.fromkeys([*old, *new]) if name in old or new[name]]
        return [
            line for name in names for line in differences(old.get(name), new.get(name), f"{path}.{name}".lstrip("."))
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            line for i, (a, b) in enumerate(zip(old, new, strict=True)) for line in differences(a, b, f"{path}[{i}]")
        ]
    return [] if old == new else [f"{path}: {old} in the run, {new} now"]
