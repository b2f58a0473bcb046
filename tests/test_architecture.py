"""The house: imports go one way, nouns need nothing, and the command line starts light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

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


def test_the_engine_knows_no_family_and_no_study():
    for path in (ROOT / "expand").rglob("*.py"):
        assert not {name for name in imports(path) if name.split(".")[0] in ("search_spaces", "studies")}, path


def test_nouns_strategies_and_pareto_need_the_standard_library_only():
    light = [
        "space.py",
        "layers.py",
        "study.py",
        "trial.py",
        "errors.py",
        "pareto.py",
        *[f"strategies/{p.name}" for p in (ROOT / "expand/strategies").glob("*.py")],
    ]
    for name in light:
        for module in imports(ROOT / "expand" / name, at_the_top=True):
            top = module.split(".")[0]
            assert top in sys.stdlib_module_names or top == "expand", f"{name} imports {module}"


def test_only_workers_import_ray():
    users = [
        path.name for path in (ROOT / "expand").rglob("*.py") if any(m.split(".")[0] == "ray" for m in imports(path))
    ]
    assert users == ["workers.py"]


def test_help_imports_nothing_heavy():
    code = """
import sys
sys.argv = ["expand", "--help"]
from expand.cli import app
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
        assert named or "see the branch" in row, row
        for path, name in named:
            if path not in defined:
                tree = ast.parse((ROOT / path).read_text())
                defined[path] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert name in defined[path], f"docs/faults.md: {path}::{name} is not there"
