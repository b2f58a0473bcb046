"""Frozen dataclasses as plain JSON and back: for files, for Optuna's attributes, and for Ray's edge.

Reading checks the shape. Unknown fields are ignored, and fields with a default may be missing, because a run may be newer or
older than the class.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from cattrs import Converter
from cattrs.errors import AttributeValidationNote, ClassValidationError, IterableValidationError, IterableValidationNote
from cattrs.gen import make_dict_structure_fn
from cattrs.strategies import configure_tagged_union

from expand.core.atomic import write_atomically
from expand.core.attempt import Speed
from expand.core.errors import UsageError
from expand.core.files import json_bytes, read_json, shortened
from expand.core.outcome import Outcome
from expand.core.space import Value

T = TypeVar("T")
_CONVERTER = Converter(unstruct_collection_overrides={tuple: list})


def to_plain(value: Any) -> Any:
    """A frozen value as plain JSON."""
    return _CONVERTER.unstructure(value)


def from_plain(plain: Any, kind: type[T]) -> T:
    """The value that plain JSON describes.

    Raises:
        ValueError: the JSON does not have this shape; the message says where, such as "'study.seeds' is no list".
    """
    try:
        return _CONVERTER.structure(plain, kind)
    except Exception as error:
        raise ValueError(_misfit(error)) from None


def read_file(path: Path, kind: type[T], *, remedy: str) -> T | None:
    """The value in a JSON file; None if there is no such file.

    Raises:
        UsageError: the file cannot be read or is not of this shape.
    """
    try:
        return from_plain(read_json(path), kind)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path} cannot be read ({reason}); {remedy}") from None


def write_json(path: Path, value: Any) -> None:
    """Writes a frozen value, or plain JSON, as a whole file."""
    write_atomically(path, json_bytes(to_plain(value), indent=1) + b"\n")


def outcome_to_text(outcome: Outcome) -> str:
    return json.dumps(_CONVERTER.unstructure(outcome, unstructure_as=Outcome))


def outcome_from_text(text: str) -> Outcome:
    outcome: Outcome = _CONVERTER.structure(json.loads(text), Outcome)  # type: ignore[arg-type]
    return outcome


def _misfit(error: BaseException) -> str:
    """The first thing that does not fit, with its path."""
    path = ""
    while True:
        for note in getattr(error, "__notes__", ()):
            if isinstance(note, AttributeValidationNote):
                path += f".{note.name}"
            elif isinstance(note, IterableValidationNote):
                path += f"[{note.index}]"
        if not isinstance(error, ExceptionGroup):
            break
        error = error.exceptions[0]
    name = f"'{path.lstrip('.')}'" if path else "it"
    return f"{name} is missing" if isinstance(error, KeyError) else f"{name} {error}"


def _plain_value(said: str, *allowed: type) -> Callable[[Any, Any], Any]:
    def structure(plain: Any, _: Any) -> Any:
        if not isinstance(plain, allowed) or (isinstance(plain, bool) and bool not in allowed):
            raise ValueError(f"is {shortened(json.dumps(plain), 40)}, not {said}")
        return plain

    return structure


def _object(kind: Any) -> Callable[[Any, Any], Any]:
    inner = make_dict_structure_fn(kind, _CONVERTER)

    def structure(plain: Any, _: Any) -> Any:
        if not isinstance(plain, dict):
            raise ValueError("is no object")
        return inner(plain, kind)

    return structure


def _tuple(kind: Any) -> Callable[[Any, Any], Any]:
    inner = get_args(kind)

    def structure(plain: Any, _: Any) -> Any:
        if not isinstance(plain, (list, tuple)):
            raise ValueError("is no list")
        kinds = inner[:1] * len(plain) if inner[-1] is ... else inner
        if len(kinds) != len(plain):
            raise ValueError(f"has {len(plain)} entries, not {len(kinds)}")
        found = []
        for index, (entry, entry_kind) in enumerate(zip(plain, kinds, strict=True)):
            try:
                found.append(_CONVERTER.structure(entry, entry_kind))
            except Exception as error:
                error.add_note(IterableValidationNote("", index, entry_kind))
                raise IterableValidationError("", [error], kind) from None
        return tuple(found)

    return structure


def _speed(speed: Speed) -> dict[str, Any]:
    return asdict(speed) | {
        "ms_a_clip": round(speed.ms_a_clip, 4),
        "clips_a_second": round(speed.clips_a_second, 3),
    }


def _mapping(kind: Any) -> Callable[[Any, Any], Any]:
    def structure(plain: Any, _: Any) -> Any:
        if not isinstance(plain, dict):
            raise ValueError("is no object")
        found = {}
        for name, entry in plain.items():
            try:
                found[name] = _CONVERTER.structure(entry, get_args(kind)[1])
            except Exception as error:
                error.add_note(AttributeValidationNote("", name, kind))
                raise ClassValidationError("", [error], kind) from None
        return found

    return structure


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) in (dict, Mapping)


_CONVERTER.register_structure_hook_factory(is_dataclass, _object)
_CONVERTER.register_structure_hook_factory(_is_tuple, _tuple)
_CONVERTER.register_structure_hook_factory(_is_mapping, _mapping)
for _kind, _hook in {
    str: _plain_value("a text", str), int: _plain_value("a whole number", int), bool: _plain_value("true or false", bool),
    float: _plain_value("a number", int, float),
}.items():  # fmt: skip
    _CONVERTER.register_structure_hook(_kind, _hook)
_CONVERTER.register_unstructure_hook(Speed, _speed)
_CONVERTER.register_structure_hook(
    float | tuple[float, float],
    lambda plain, _: _CONVERTER.structure(plain, tuple[float, float] if isinstance(plain, (list, tuple)) else float),
)
_CONVERTER.register_structure_hook(Value, _plain_value("a number, a text, true or false", int, float, str, bool))
_CONVERTER.register_structure_hook(Value | None, _plain_value("a number or a text", int, float, str, bool, type(None)))
configure_tagged_union(Outcome, _CONVERTER, tag_name="status")
