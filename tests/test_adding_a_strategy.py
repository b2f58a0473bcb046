"""The page about adding a strategy, run as it is written."""

from __future__ import annotations

import re
import subprocess
import sys

from conftest import ROOT

PAGE = (ROOT / "docs" / "adding_a_strategy.md").read_text(encoding="utf-8")


def test_the_strategy_keeps_the_contract(tmp_path) -> None:
    blocks = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))
    assert sorted(blocks) == ["my_strategy.py", "my_study.py", "test_my_strategy.py"] and PAGE.count("```python") == 3
    for name, code in blocks.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_strategy.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"11 passed", done.stdout)
