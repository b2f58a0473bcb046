"""The page about adding a family, run as it is written."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from expand.config.loading import load_study
from expand.config.serialize import describe
from expand.counting.cost import MacsCounter

PAGE = (ROOT / "docs" / "adding_a_family.md").read_text(encoding="utf-8")


@pytest.fixture
def files(tmp_path):
    """The code blocks of the page, each under the name in its first line."""
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        name = re.match(r"# (\w+\.py)\n", block)
        assert name, f"a block without a file name: {block[:40]}"
        (tmp_path / name[1]).write_text(block, encoding="utf-8")
    assert sorted(path.name for path in tmp_path.glob("*.py")) == ["my_family.py", "my_study.py", "test_my_family.py"]
    return tmp_path


def test_the_family_keeps_the_contract(files) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_family.py"]
    done = subprocess.run(command, cwd=files, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"1\d passed", done.stdout)


def test_its_costs_are_counted_and_its_published_number_agrees(files, expand) -> None:
    done = expand("cost", "./my_family.py", "--papers", "--json")
    assert done.returncode == 0, done.stderr
    family = json.loads(done.stdout)[0]
    assert [(entry["printed"], entry["digits"]) for entry in family["published"]] == [("0.0056", "rounded")]
    assert [point["point"] for point in family["points"]] == ["blind", "early", "middle", "late"]
    done = expand("cost", "./my_family.py", "depth=5", "where=late", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["macs"] > family["points"][-1]["macs"]


def test_the_study_asks_for_networks_at_equal_cost(files, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(files))
    study = load_study(str(files / "my_study.py"))
    macs = MacsCounter(study.space, 10)
    wanted = study.strategy.ask(study, (), macs)
    assert [(s.name, s.seed) for s in wanted] == [("blind", 0), ("blind", 1), ("blind", 2)]
    assert abs(macs(wanted[0].architecture) / macs(study.space.point("early")) - 1) < 0.05
    assert describe(study)["space"]["type"] == "OneLookSpace"
