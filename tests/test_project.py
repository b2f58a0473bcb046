"""What surrounds the code: licence, citation, workflow, completion, the reference page and what it is written from."""

from __future__ import annotations

import doctest
import hashlib
import importlib
import importlib.util
import json
import os
import re
import runpy
import subprocess
import sys
import tomllib
from dataclasses import MISSING, dataclass, fields
from importlib.metadata import EntryPoint

import pytest
import yaml
from conftest import ROOT, STUDIES

import expand
from expand.__main__ import main as command
from expand.cli import listing
from expand.cli.about import list_
from expand.config.fields import fields_of, meanings, study_fields, summary, value_text
from expand.config.loading import load_study, names_in
from expand.config.overrides import override
from expand.core.errors import UsageError
from expand.core.study import Budget, Data, Objective, Recipe, Study

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"  # of the standard text


def test_licence_and_citation_agree_with_the_project():
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["license"] == citation["license"] == "Apache-2.0"
    assert PROJECT["version"] == citation["version"] == expand.__version__
    released = rf"^## \[{re.escape(PROJECT['version'])}\] - {citation['date-released']}$"
    assert re.search(released, (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert {"Documentation", "Source", "Issues", "Changelog"} <= PROJECT["urls"].keys()


def test_both_commands_start_the_same_program():
    scripts = PROJECT["scripts"]
    assert scripts.keys() == {"expand", "expand-nas"}
    assert all(EntryPoint(name, value, "console_scripts").load() is command for name, value in scripts.items())


def test_the_workflow_lints_and_tests_on_the_first_and_last_python_that_is_promised():
    jobs = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]
    tested = jobs["test"]["strategy"]["matrix"]["python"]
    assert {"3.11", "3.13"} <= set(tested)
    promised = {f"Programming Language :: Python :: {version}" for version in tested}
    assert promised <= set(PROJECT["classifiers"])
    assert [step["run"] for step in jobs["test"]["steps"] if "run" in step] == ["make lint", "make test"]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert all(repository["repo"] == "local" for repository in hooks)


def test_the_documentation_names_pages_and_modules_that_exist():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    outside = site["extra"]["pages"]
    assert all((ROOT / path).is_file() for path in outside)
    named = [page for entry in site["nav"] for page in leaves(entry)]
    assert {page for page in named if not (ROOT / "docs" / page).is_file()} == set(outside.values())
    missing = [m for modules in site["extra"]["api"].values() for m in modules if importlib.util.find_spec(m) is None]
    assert not missing


def leaves(entry: object) -> list[str]:
    """The pages of an entry of the navigation."""
    if isinstance(entry, str):
        return [entry]
    inner = entry.values() if isinstance(entry, dict) else entry
    return [page for each in inner for page in leaves(each)]  # type: ignore[union-attr]


def test_the_reference_page_is_fresh():
    written = runpy.run_path(str(ROOT / "docs" / "reference.py"))["page"]()
    assert written == (ROOT / "docs" / "reference.md").read_text(), "write it again: make reference"
    for kind in (Study, Recipe, Data, Budget):
        assert all(f"{field.name}` |" in written for field in fields(kind))


def test_commands_stand_in_one_order_whatever_was_imported_first():
    code = """
import {first}expand.cli.app
import typer
print(list(typer.main.get_command(expand.cli.app.app).commands))
"""
    orders = {
        subprocess.run(
            [sys.executable, "-c", code.format(first=first)], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for first in ("", "expand.cli.test, expand.cli.cost, ")
    }
    assert len(orders) == 1 and "predict" in orders.pop()


EXAMPLES = (
    "expand.core.accuracy", "expand.core.joint", "expand.core.layer_plan", "expand.core.pareto", "expand.core.space",
    "expand.core.units", "expand.counting.cost", "expand.strategies.budget", "expand.strategies.fixed", "expand.strategies.grid",
    "expand.strategies.sampled", "expand.strategies.stepwise", "search_spaces.c3d", "search_spaces.inception",
    "search_spaces.mixed_conv", "search_spaces.resnet3d", "search_spaces.x3d",
)  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_in_docstrings_run(name):
    done = doctest.testmod(importlib.import_module(name))
    assert done.attempted and not done.failed


# --- what a field means ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names_in("studies"))
def test_every_field_of_every_study_has_a_meaning(name):
    for scale in ("demo", "paper"):
        study = load_study(name, scale)
        assert [field.name for field in study_fields(study) if not field.meaning] == []
        for kind in (Study, Recipe, Data, Budget, Objective, type(study.strategy), type(study.space)):
            known = {field.name for field in fields(kind)} | set(dir(kind))  # a space also has attributes of its class
            assert meanings(kind).keys() <= known, f"{kind} explains a field it lacks"


def test_values_are_shown_as_set_reads_them():
    study = load_study("x3d_stepwise", "paper")
    for field in study_fields(study):
        again = override(study, [f"{field.name}={value_text(field.value)}"])
        assert [value_text(f.value) for f in study_fields(again)] == [value_text(f.value) for f in study_fields(study)]


@dataclass(frozen=True)
class Base:
    """Two lines
    of summary.

    Attributes:
        first: is explained on
            two lines.
        second: here.

    Raises:
        UsageError: never.
    """

    first: int
    second: float | None = None


@dataclass(frozen=True)
class Derived(Base):
    """Another.

    Attributes:
        second (float): otherwise.
    """

    third: tuple[bool, ...] = (True,)


@dataclass(frozen=True)
class Odd:
    """What a user may write.

    Attributes:
          indented too far
    """

    field: NotImportedHere = 3  # type: ignore[name-defined]  # noqa: F821


def test_meanings_are_read_from_docstrings_and_inherited():
    assert summary(Base) == "Two lines of summary."
    assert meanings(Base) == {"first": "is explained on two lines.", "second": "here."}
    first, second, third = fields_of(Derived, "part.")
    assert (first.name, first.type, first.default) == ("part.first", "int", MISSING)
    assert (second.type, second.default, second.meaning) == ("float or none", None, "otherwise.")
    assert (third.type, value_text(third.value), third.meaning) == ("true or false,...", "true", "")
    (odd,) = fields_of(Odd)
    assert (odd.type, odd.value, odd.meaning) == ("NotImportedHere", 3, "")


def test_list_prints_the_fields_of_a_study(capsys):
    listing.show_fields(str(STUDIES / "tiny.py"), "demo", as_json=False)
    printed = capsys.readouterr().out
    assert "tiny (demo)" in printed and "recipe.epochs=2   int, default 12\n" in printed
    assert "passes over the training videos" in printed and "space.resolution=16" in printed
    listing.show_fields("x3d_stepwise", "paper", as_json=True)
    shown = json.loads(capsys.readouterr().out)
    by_name = {field["name"]: field for field in shown["fields"]}
    assert shown["scale"] == "paper" and by_name["recipe.epochs"]["value"] == 256
    assert by_name["recipe.epochs"].keys() == {"name", "type", "value", "default", "meaning"}
    assert by_name["budget.targets_gmacs"]["value"] == [0.6, 2.0, 5.0, 20.0, 40.0]
    assert "default" not in by_name["name"] and by_name["objectives.gmacs.limit"]["default"] is None
    with pytest.raises(UsageError, match="needs a study"):
        list_(None, scale="paper")


def test_a_shell_completes_commands_options_and_studies():
    code = "import sys; sys.argv = ['expand']; from expand.cli.app import main; main()"
    answers = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60,
            env=os.environ | {"_EXPAND_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(position)},
        ).stdout.split()
        for words, position in (("expand li", 1), ("expand list --sc", 2), ("expand run x3d", 2))
    ]  # fmt: skip
    assert answers == [["list"], ["--scale"], ["x3d_guided", "x3d_stepwise"]]
