"""The house: imports go one way, nouns need nothing, and the command line starts light."""

from __future__ import annotations

import ast
import importlib
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = [path for package in ("expand", "search_spaces", "studies") for path in sorted((ROOT / package).rglob("*.py"))]
HEAVY = {"torch", "ray", "optuna", "pandas", "matplotlib", "numpy", "av", "fvcore"}


def imports(path: Path, *, at_the_top: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if at_the_top else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


# Strategies that learn from numbers, and what they share.
WITH_NUMPY = {
    "candidates", "evolved", "guided", "halving", "knowledge", "learning_curves", "optuna_sampler", "prior", "screening",
}  # fmt: skip


def test_core_and_strategies_need_the_standard_library_only():
    """The strategies of old runs need nothing else, so reading a run stays fast; those that learn need NumPy and SciPy."""
    for path in [*(ROOT / "expand/core").glob("*.py"), *(ROOT / "expand/strategies").glob("*.py")]:
        for module in imports(path, at_the_top=True):
            top = module.split(".")[0]
            numbers = path.stem in WITH_NUMPY and top in ("numpy", "scipy", "threadpoolctl")
            assert numbers or top in sys.stdlib_module_names or top == "expand", f"{path.name} imports {module}"
            assert path.stem in WITH_NUMPY or module.split(".")[-1] not in WITH_NUMPY, f"{path.name} imports {module}"


def functions() -> Iterator[tuple[Path, str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in OURS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, f"{path.relative_to(ROOT)} {node.name}", node


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    every = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    return sum(each.arg not in ("self", "cls") for each in every)


def test_files_are_short():
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in OURS}
    assert {path for path, count in lines.items() if count > 400} == set()
    assert statistics.median(count for count in lines.values() if count) <= 150


def test_functions_are_short():
    assert {name for _, name, node in functions() if (node.end_lineno or 0) - node.lineno >= 60} == set()


def test_functions_have_few_parameters_outside_the_command_line():
    many = {name for path, name, node in functions() if "cli" not in path.parts and parameters(node) > 8}
    assert many == set()


def test_reports_and_exports_load_neither_ray_nor_the_search():
    code = """
import sys
import expand.export.bundle, expand.export.folder, expand.report.run_report, expand.report.files, expand.evaluation.test_split
print([name for name in sys.modules if name.split(".")[0] == "ray" or name.startswith("expand.search")])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_modules_of_version_0_1_are_found_under_their_names_of_today():
    from expand._old_names import MOVED

    for old, new in MOVED.items():
        assert importlib.import_module(old) is importlib.import_module(new)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("expand.studies")


def test_help_imports_nothing_heavy():
    code = """
import sys
sys.argv = ["expand", "--help"]
from expand.cli.app import app
try:
    app()
except SystemExit:
    pass
print("LOADED", sorted({name.split(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    loaded = set(ast.literal_eval(done.stdout.partition("LOADED ")[2]))
    assert "typer" in loaded and not loaded & HEAVY


def test_every_fault_names_tests_that_exist():
    rows = [line for line in (ROOT / "docs/faults.md").read_text().splitlines() if re.match(r"\| \d+ \|", line)]
    assert [int(row.split("|")[1]) for row in rows] == list(range(1, 39))
    defined: dict[str, set[str]] = {}
    for row in rows:
        named = re.findall(r"`(tests/\S+?\.py)::(\w+)`", row)
        assert named, row
        for path, name in named:
            if path not in defined:
                tree = ast.parse((ROOT / path).read_text())
                defined[path] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert name in defined[path], f"docs/faults.md: {path}::{name} is not there"
