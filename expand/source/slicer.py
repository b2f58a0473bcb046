"""Extracts the source of one network class into a file that imports only torch and the standard library.

A family's file holds its network and its search space. Only the top-level statements that the class uses are copied, unchanged.
Statements that it uses from other modules, of the engine or of the user, are copied before it in the same way.
"""

from __future__ import annotations

import builtins
import hashlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from expand.core.errors import ExpandError
from expand.source.parsed import Import, ParsedModule, Statement, meaning, module_file, parse_module

ENGINE = frozenset({"expand", "search_spaces", "studies"})


def standalone_source(cls: type) -> str:
    """The text of a module that defines `cls` and needs torch only.

    Raises:
        ExpandError: the class needs another package or a whole module, is defined inside a function, or two names clash in one
            file.
    """
    if cls.__qualname__ != cls.__name__:
        raise ExpandError(f"{cls.__module__}.{cls.__qualname__} cannot be exported: define it at the top of its module")
    slicer = _Slicer(cls, cls.__name__)
    text = slicer.text()
    compile(text, f"<{cls.__name__}>", "exec")
    return text


def hashed_source(cls: type) -> dict[str, str] | None:
    """A hash of the code behind every name that a class uses, also for a class that cannot be exported.

    Names from other packages count as names; the user's modules that are imported whole count whole. Formatting, comments and
    docstrings do not matter. None if there is no source, such as in a notebook or a C extension.
    """
    try:
        slicer = _Slicer(cls, cls.__qualname__.partition(".")[0], exported=False)
    except (ExpandError, SyntaxError, ValueError, OSError):
        return None
    texts: dict[str, list[str]] = {}
    for module, kept in slicer.kept.items():
        for _, statement in sorted(kept.items()):
            for name in statement.binds or statement.changes or (module,):
                texts.setdefault(name, []).append(meaning(statement))
    for _, names in sorted(slicer.renamed.items()):
        for new, old in names.items():
            texts.setdefault(new, []).append(old)
    for found in sorted(slicer.imports, key=lambda found: found.text):
        if found.name is not None and not found.typing_only:
            texts.setdefault(found.bound, []).append(found.text)
    return {name: hashlib.sha256(repr(parts).encode()).hexdigest()[:16] for name, parts in sorted(texts.items())}


class _Slicer:
    """Follows names from `name` through the modules and collects their statements; `exported=False` refuses nothing."""

    def __init__(self, cls: type, name: str, *, exported: bool = True) -> None:
        self.wanted, self.exported = f"{cls.__module__}.{cls.__name__}", exported
        self.modules: dict[str, ParsedModule] = {}
        self.root = self._module(cls.__module__)
        self.kept: dict[str, dict[int, Statement]] = {}  # by module, by first line
        self.uses: dict[str, list[str]] = {}  # module -> copied modules whose names it uses
        self.imports: set[Import] = set()
        self.renamed: dict[str, dict[str, str]] = {}  # by module: the name it uses -> the name as defined
        self.origin: dict[str, tuple[str, str]] = {}  # every global name of the result -> where it comes from
        self.seen: set[tuple[str, str]] = set()
        if not self.root.binds(name):
            raise ExpandError(
                f"{self.wanted} is not defined in the text of its module, so its source cannot be exported"
            )
        self.need(self.root, name)

    def need(self, module: ParsedModule, name: str) -> None:
        """Collects the statements that define `name` in the module; a name without one is a builtin."""
        if (module.name, name) in self.seen:
            return
        self.seen.add((module.name, name))
        for found in module.imports.get(name, []):
            self._follow(module, found)
        if not module.binds(name) and not hasattr(builtins, name):
            for found in module.imports.get("*", []):  # the names of a star import are unknown
                self._follow(module, found)
        for statement in module.statements:
            if name in statement.binds or (name in statement.changes and name not in module.imports):
                self._keep(module, statement)

    def _keep(self, module: ParsedModule, statement: Statement) -> None:
        kept = self.kept.setdefault(module.name, {})
        if statement.first in kept:
            return
        kept[statement.first] = statement
        for name in statement.binds:
            self._claim(name, (module.name, name))
        for found in statement.inner_imports:
            if not self.exported:
                self._follow(module, found)
            elif not self._stays(found):
                raise ExpandError(
                    f"{self.wanted} cannot be exported: '{found.text}' within a statement of {module.name}; import "
                    "only torch and the standard library there"
                )
        for name in sorted(statement.uses):
            self.need(module, name)

    def _follow(self, module: ParsedModule, found: Import) -> None:
        if self._stays(found):
            if found.name != "*":
                self._claim(found.bound, (found.module, found.name or ""))
            self.imports.add(found)
            return
        if not _is_own(found.module, self.root.name):
            if found.typing_only or not self.exported:  # for annotations only: never executed
                self.imports.add(found)
                return
            raise ExpandError(
                f"{self.wanted} cannot be exported as plain PyTorch: {module.name} needs '{found.text}', and an export "
                "may import torch and the standard library only"
            )
        source = self._module(found.module)
        if found.name is None or not source.binds(found.name):
            if not self.exported:
                return self._take_whole(source)
            raise ExpandError(
                f"{self.wanted} cannot be exported: {module.name} has '{found.text}', which is not the name of a "
                "definition; import the functions and classes themselves"
            )
        if found.bound != found.name:
            self._claim(found.bound, (found.module, found.name))
            self.renamed.setdefault(module.name, {})[found.bound] = found.name
        self.uses.setdefault(module.name, []).append(source.name)
        self.need(source, found.name)

    def _take_whole(self, module: ParsedModule) -> None:
        if (module.name, "") not in self.seen:
            self.seen.add((module.name, ""))
            for statement in module.statements:
                self._keep(module, statement)

    def _claim(self, name: str, origin: tuple[str, str]) -> None:
        if not self.exported:
            return
        first = self.origin.setdefault(name, origin)
        # `import torch` and `import torch.nn` bind the same name to the same package
        if first != origin and not (first[1] == origin[1] == "" and first[0].split(".")[0] == origin[0].split(".")[0]):
            raise ExpandError(
                f"{self.wanted} cannot be exported: '{name}' means {'.'.join(first).rstrip('.')} in one place and "
                f"{'.'.join(origin).rstrip('.')} in another; rename one of them"
            )

    def _module(self, name: str) -> ParsedModule:
        if name not in self.modules:
            self.modules[name] = parse_module(name)
        return self.modules[name]

    @staticmethod
    def _stays(found: Import) -> bool:
        top = found.module.split(".")[0]
        return top == "torch" or top in sys.stdlib_module_names

    def text(self) -> str:
        blocks = [self.root.header] if self.root.header else []
        blocks.append(f"# Taken from {self.wanted} by `expand export`. It needs torch only.")
        blocks.append("\n".join(self._import_lines()))
        for name in self._order():
            if name != self.root.name and name in self.kept:
                blocks.append("\n" + "\n".join(_as_comment(f"From {name}:\n{self.modules[name].header}")))
            renamed = [f"{new} = {old}" for new, old in sorted(self.renamed.get(name, {}).items())]
            blocks += ["\n".join(renamed)] if renamed else []
            blocks.append(_joined(statement for _, statement in sorted(self.kept.get(name, {}).items())))
        return "\n\n".join(block for block in blocks if block) + "\n"

    def _order(self) -> list[str]:
        """The modules, each before those that use its names."""
        order: list[str] = []

        def visit(name: str, above: tuple[str, ...]) -> None:
            for used in self.uses.get(name, []):
                if used not in order and used not in above:
                    visit(used, (*above, used))
            if name not in order:
                order.append(name)

        visit(self.root.name, (self.root.name,))
        return order

    def _import_lines(self) -> Iterator[str]:
        if any(self.modules[name].future for name in self.kept):
            yield "from __future__ import annotations\n"
        executed = {Import(found.module, found.name, found.bound) for found in self.imports if not found.typing_only}
        typing = [found for found in self.imports if found.typing_only and found.text not in {e.text for e in executed}]
        if typing:
            executed.add(Import("typing", "TYPE_CHECKING", "TYPE_CHECKING"))
        standard = list(_lines(found for found in executed if found.module.split(".")[0] != "torch"))
        yield from [*standard, ""] if standard else []
        yield from _lines(found for found in executed if found.module.split(".")[0] == "torch")
        if typing:
            yield "\nif TYPE_CHECKING:"
            yield from (f"    {line}" for line in _lines(typing))


def _lines(imports: Iterable[Import]) -> Iterator[str]:
    """Import lines, one per module."""
    modules: dict[str, list[str]] = {}
    whole = []
    for found in sorted(imports, key=lambda found: (found.name or "", found.bound)):
        if found.name is None:
            whole.append(found.text)
        else:
            modules.setdefault(found.module, []).append(found.text.partition(" import ")[2])
    yield from sorted(whole)
    yield from (f"from {module} import {', '.join(names)}" for module, names in sorted(modules.items()))


def _is_own(name: str, root: str) -> bool:
    """Whether a module belongs to the engine or the user: a file that no package manager installed."""
    top = name.split(".")[0]
    if top in ENGINE or top == root.split(".")[0]:
        return True
    # The package first, because looking for a module in it would import it.
    return not _installed(module_file(top)) and (file := module_file(name)) is not None and not _installed(file)


def _installed(file: Path | None) -> bool:
    return file is not None and not {"site-packages", "dist-packages"}.isdisjoint(file.parts)


def _as_comment(text: str) -> Iterator[str]:
    for line in text.replace('"""', "").strip().splitlines():
        yield line if line.startswith("#") else f"# {line}".rstrip()


def _joined(statements: Iterable[Statement]) -> str:
    """The statements, separated by blank lines as a formatter would."""
    text, before = "", None
    for statement in statements:
        if before is not None:
            apart = 3 if statement.is_definition or before.is_definition else min(statement.first - before.last, 2)
            text += "\n" * apart
        text, before = text + statement.text, statement
    return "\n" + text if text.startswith(("class", "def", "@", "#")) else text
