"""The house: imports go one way, nouns need nothing, and the command line starts light."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
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


def test_core_and_strategies_need_the_standard_library_only():
    for path in [*(ROOT / "expand/core").glob("*.py"), *(ROOT / "expand/strategies").glob("*.py")]:
        for module in imports(path, at_the_top=True):
            top = module.split(".")[0]
            assert top in sys.stdlib_module_names or top == "expand", f"{path.name} imports {module}"


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
