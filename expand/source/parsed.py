"""A Python module split into its top-level statements, each with the names it binds and uses."""

from __future__ import annotations

import ast
import importlib.util
import symtable
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from expand.core.errors import ExpandError


@dataclass(frozen=True)
class Import:
    """One imported name: `import module as bound`, or `from module import name as bound`."""

    module: str
    name: str | None
    bound: str
    typing_only: bool = False  # under `if TYPE_CHECKING`: never executed

    @property
    def text(self) -> str:
        if self.name is None:
            return f"import {self.module}" + ("" if self.bound == self.module.split(".")[0] else f" as {self.bound}")
        return f"from {self.module} import {self.name}" + ("" if self.bound == self.name else f" as {self.bound}")


@dataclass(frozen=True)
class Statement:
    """Whole lines of the source, with the comment lines directly above.

    `changes` are names whose objects it modifies: `TABLE["x"] = 1`, `TABLE.update(...)`.
    """

    first: int
    last: int
    text: str
    binds: frozenset[str]
    uses: frozenset[str]
    changes: frozenset[str]
    inner_imports: tuple[Import, ...]
    is_definition: bool


@dataclass
class ParsedModule:
    """A module's statements and imports; `header` is its docstring with the comments around it."""

    name: str
    package: str
    header: str = ""
    future: bool = False
    statements: list[Statement] = field(default_factory=list)
    imports: dict[str, list[Import]] = field(default_factory=dict)

    def binds(self, name: str) -> bool:
        return name in self.imports or any(name in statement.binds for statement in self.statements)


def module_file(name: str) -> Path | None:
    """The path of a module's source; None if it is built in or does not exist."""
    loaded = sys.modules.get(name)
    file = getattr(loaded, "__file__", None)
    if file is None and loaded is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            return None
        file = spec.origin if spec else None
    return Path(file) if file and file.endswith(".py") and Path(file).is_file() else None


def parse_module(name: str) -> ParsedModule:
    """Parses the module's source file.

    Raises:
        ExpandError: there is no source file.
    """
    file = module_file(name)
    if file is None:
        raise ExpandError(f"module '{name}' has no source file to export from; put the network into a .py file")
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    module = ParsedModule(name, getattr(sys.modules.get(name), "__package__", None) or package)
    source = file.read_text(encoding="utf-8")
    lines = source.splitlines()
    tree = ast.parse(source, str(file))
    body = tree.body
    if ast.get_docstring(tree, clean=False) is not None:
        body = body[1:]
    header_end = len(lines)
    for group in _groups(body):
        imports = isinstance(group[0], ast.Import | ast.ImportFrom) or _is_type_checking(group[0])
        statement = _statement(group, lines, module)
        header_end = min(header_end, group[0].lineno - 1 if imports else statement.first - 1)
        if len(group) == 1 and imports:
            _add_imports(group[0], module)
        else:
            module.statements.append(statement)
    module.header = "\n".join(lines[:header_end]).strip()
    return module


def _groups(body: list[ast.stmt]) -> Iterator[list[ast.stmt]]:
    """Groups statements that share a line."""
    group: list[ast.stmt] = []
    for node in body:
        if group and node.lineno > (group[-1].end_lineno or 0):
            yield group
            group = []
        group.append(node)
    if group:
        yield group


def _is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).split(".")[-1] == "TYPE_CHECKING" and not node.orelse


def _add_imports(node: ast.stmt, module: ParsedModule) -> None:
    for found in _imports(node, module, typing_only=isinstance(node, ast.If)):
        if found.module == "__future__":
            module.future = True
        else:
            module.imports.setdefault(found.bound, []).append(found)


def _imports(node: ast.AST, module: ParsedModule, *, typing_only: bool = False) -> Iterator[Import]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Import):
            for alias in inner.names:
                yield Import(alias.name, None, alias.asname or alias.name.split(".")[0], typing_only)
        elif isinstance(inner, ast.ImportFrom):
            source = inner.module or ""
            if inner.level:
                source = importlib.util.resolve_name("." * inner.level + source, module.package)
            for alias in inner.names:
                yield Import(source, alias.name, alias.asname or alias.name, typing_only)


def _statement(group: list[ast.stmt], lines: list[str], module: ParsedModule) -> Statement:
    decorators = getattr(group[0], "decorator_list", [])
    first = min([group[0].lineno, *(decorator.lineno for decorator in decorators)])
    last = max(node.end_lineno or node.lineno for node in group)
    table = symtable.symtable("\n".join(lines[first - 1 : last]) + "\n", module.name, "exec")
    while first > 1 and lines[first - 2].startswith("#"):
        first -= 1
    return Statement(
        first=first,
        last=last,
        text="\n".join(lines[first - 1 : last]),
        binds=frozenset(s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()),
        uses=frozenset(_uses(table)).union(*map(_names_in_strings, group)),
        changes=frozenset(name for node in group for name in _changed(node)),
        inner_imports=tuple(found for node in group for found in _imports(node, module)),
        is_definition=isinstance(group[0], ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef),
    )


def _uses(table: symtable.SymbolTable) -> Iterator[str]:
    """Names looked up in the module: the globals of functions, and all names read in class bodies and at the top level."""
    outer = table.get_type() in ("module", "class")
    yield from (s.get_name() for s in table.get_symbols() if (s.is_referenced() if outer else s.is_global()))
    for child in table.get_children():
        yield from _uses(child)


def _names_in_strings(node: ast.AST) -> set[str]:
    """Names in annotations that are written as strings."""
    names = set()
    for inner in ast.walk(node):
        for annotation in (getattr(inner, "annotation", None), getattr(inner, "returns", None)):
            for part in ast.walk(annotation) if isinstance(annotation, ast.AST) else ():
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    try:
                        expression = ast.parse(part.value, mode="eval")
                    except SyntaxError:  # Literal["no name"]
                        continue
                    names |= {name.id for name in ast.walk(expression) if isinstance(name, ast.Name)}
    return names


def _changed(node: ast.stmt) -> Iterator[str]:
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        targets = [node.value.func]
    for target in targets:
        root = target
        while isinstance(root, ast.Attribute | ast.Subscript):
            root = root.value
        if isinstance(root, ast.Name) and root is not target:
            yield root.id


def meaning(statement: Statement) -> str:
    """A statement's syntax tree as text, for comparing: without positions, comments, docstrings and `pass`.

    Empty fields are left out, because Python versions write them differently.
    """
    return repr([_plain(node) for node in ast.parse(statement.text).body])


def _plain(value: object) -> object:
    if isinstance(value, list):
        return [_plain(each) for each in value if not _says_nothing(each)]
    if not isinstance(value, ast.AST):
        return value
    named = ((name, each) for name, each in ast.iter_fields(value) if each is not None and each != [])
    return [type(value).__name__, *((name, _plain(each)) for name, each in named if name not in ("ctx", "kind"))]


def _says_nothing(node: object) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.Pass)
