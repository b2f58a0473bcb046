"""Writes docs/reference.md from the code: every field of a study, every axis of a search space, every option of a command.

`make reference` runs it; a test compares the page with what it would write now.
"""

from __future__ import annotations

import html
import importlib
import pkgutil
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, is_dataclass
from pathlib import Path
from typing import Any

import typer

import expand.strategies
from expand.cli.app import app
from expand.config.fields import fields_of, summary, value_text
from expand.config.loading import load_space, names_in
from expand.core.study import Budget, Data, Objective, Recipe, Study

PLACE = Path(__file__).with_suffix(".md")
HEAD = """# Reference

Written from the code by `make reference`; do not edit it here.

- [Fields of a study](#fields-of-a-study): what `--set NAME=VALUE` changes. `expand list STUDY` prints them with its values.
- [Search strategies](#search-strategies), [search spaces](#search-spaces)
- [Commands](#commands) and their options
"""
VALUES = {int: "N", float: "X", str: "TEXT", Path: "PATH"}  # of options that name no other metavar


def page() -> str:
    """The whole page as Markdown."""
    parts = {"": Study, "recipe.": Recipe, "data.": Data, "budget.": Budget, "objectives.NAME.": Objective}
    blocks = [HEAD, "## Fields of a study"]
    for prefix, kind in parts.items():
        blocks += [f"### {kind.__name__}", summary(kind), _fields(kind, prefix)]
    blocks.append("## Search strategies")
    for kind in strategies():
        blocks += [f"### {kind.__name__}", f"{summary(kind)} `from {kind.__module__} import {kind.__name__}`"]
        blocks.append(_fields(kind, "strategy."))
    blocks += [
        "## Search spaces",
        "The axes along which each family grows. `parameter` is what `expand cost SPACE NAME=VALUE` takes.",
    ]
    for name in names_in("search_spaces"):
        blocks += [f"### {name}", summary(type(load_space(name))), _axes(name)]
    blocks += [
        "## Commands",
        "`expand-nas` is another name for `expand`, which GNU coreutils has too; so is `python -m expand`.",
    ]
    for words, command in commands(typer.main.get_command(app)):
        blocks += _command(words, command)
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def strategies() -> list[type]:
    """The classes under expand/strategies that can be asked for suggestions."""
    modules = [
        importlib.import_module(f"{expand.strategies.__name__}.{module.name}")
        for module in pkgutil.iter_modules(expand.strategies.__path__)
    ]
    members = [member for module in modules for member in vars(module).values() if isinstance(member, type)]
    return [kind for kind in dict.fromkeys(members) if is_dataclass(kind) and hasattr(kind, "ask")]


def commands(command: Any, words: tuple[str, ...] = ("expand",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A command and those below it, each with the words that call it."""
    yield words, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*words, name))


def _fields(kind: type, prefix: str) -> str:
    rows = (
        (
            f"`{field.name}`", f"`{field.type}`",
            "required" if field.default is MISSING else _code(_default(field.default)), field.meaning,
        )
        for field in fields_of(kind, prefix)
    )  # fmt: skip
    return _table(("field", "type", "default", "meaning"), rows)


def _default(value: object) -> str:
    """A default as `--set` takes it; objectives by their names."""
    named = isinstance(value, tuple) and any(is_dataclass(entry) for entry in value)
    if named:
        return ", ".join(entry.name for entry in value)  # type: ignore[attr-defined]
    return f"{type(value).__name__}()" if is_dataclass(value) else value_text(value)


def _axes(name: str) -> str:
    rows = []
    for axis in load_space(name).axes:
        values = ", ".join(map(str, axis.choices)) if axis.choices else f"{axis.low:g} to {axis.high:g}"
        rows.append((f"`{axis.name}`", f"`{axis.parameter}`", axis.symbol, _code(values), axis.unit, axis.grows))
    return _table(("axis", "parameter", "symbol", "values", "unit", "growing it gives"), rows)


def _command(words: tuple[str, ...], command: Any) -> list[str]:
    hints = typing.get_type_hints(command.callback) if command.callback else {}
    shown = [parameter for parameter in command.params if "--help" not in parameter.opts]
    needed = [_metavar(parameter, hints) for parameter in shown if parameter.param_type_name == "argument"]
    rest = ["COMMAND"] if hasattr(command, "commands") else needed
    usage = " ".join([*words, *rest, "[OPTIONS]"])
    rows = [(_code(_spelled(each, hints)), _code(_given(each)), getattr(each, "help", "") or "") for each in shown]
    examples = [
        f"expand {example}" for example in (command.epilog or "").removeprefix("Such as: expand ").split(", expand ")
    ]
    return [
        f"### {' '.join(words)}", (command.help or "").strip(), f"```\n{usage}\n```",
        *([_table(("argument or option", "default", "meaning"), rows)] if rows else []),
        "\n".join(["Examples:", "", "```", *examples, "```"]),
    ]  # fmt: skip


def _metavar(parameter: Any, hints: Mapping[str, Any]) -> str:
    if parameter.metavar:
        return str(parameter.metavar)
    if parameter.param_type_name == "argument":
        name = parameter.name.upper()
        return name if parameter.required else f"[{name}]"
    return next(VALUES[kind] for kind in _plain_types(hints[parameter.name]) if kind in VALUES)


def _plain_types(hint: Any) -> list[Any]:
    """The types of `list[str] | None` and the like: str, NoneType."""
    return [kind for inner in typing.get_args(hint) for kind in _plain_types(inner)] or [hint]


def _spelled(parameter: Any, hints: Mapping[str, Any]) -> str:
    if parameter.param_type_name == "argument":
        return _metavar(parameter, hints)
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    return names if parameter.is_flag else f"{names} {_metavar(parameter, hints)}"


def _given(parameter: Any) -> str:
    """The default of an option as it would be typed; nothing where it is simply absent."""
    if parameter.required:
        return ""
    default = parameter.default
    if parameter.param_type_name == "option" and parameter.is_flag:
        return parameter.opts[0] if default and parameter.secondary_opts else ""
    return "" if default is None or default in ((), []) else value_text(default)


def _code(text: str) -> str:
    """As code in a cell; a pipe as an entity, since Markdown's dialects escape it differently there."""
    if "|" in text:
        return f"<code>{html.escape(text).replace('|', '&#124;')}</code>"
    return f"`{text}`" if text else ""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    PLACE.write_text(page(), encoding="utf-8")
    print(f"wrote {PLACE}")
