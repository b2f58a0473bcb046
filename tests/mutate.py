"""`make mutants`: puts each fault of mutants.toml into a copy of the tree and runs the tests that should notice it.

    python tests/mutate.py [WORD ...]     only those whose file or reason contains one of the words

A mutant is killed when a test fails or runs into the time limit. The tests must pass on the tree as it is; the score is the
share of mutants killed. Exit code 1 below LEAST_SCORE or where the list does not fit the tree (which `make test` checks, too).
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shlex
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "tests" / "mutants.toml"
COPIED = ("expand", "search_spaces", "studies", "tests", "pyproject.toml", "docs", "README.md", "Makefile")
LEAST_SCORE = 0.95
SECONDS = 120.0  # for the tests of one mutant
FAILED = 1  # pytest's exit code where tests ran and some failed


@dataclass(frozen=True)
class Mutant:
    """`old` stands in `file` exactly once; with `new` in its place one of `tests` (arguments of pytest) must fail."""

    file: str
    old: str
    new: str
    why: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}: {self.why}"


def mutants() -> list[Mutant]:
    groups = tomllib.loads(LIST.read_text())["group"]
    return [
        Mutant(group["file"], old, new, why, tuple(shlex.split(own[0]) if own else group["tests"]))
        for group in groups
        for old, new, why, *own in group["mutants"]
    ]


def misfits(listed: Sequence[Mutant]) -> list[str]:
    """What of the list does not fit the tree, one line each."""
    lines = []
    for mutant in listed:
        whole = (ROOT / mutant.file).read_text()
        times = whole.count(mutant.old)
        if times != 1 or mutant.old == mutant.new:
            lines.append(f"{mutant}: its old text is there {times} times: {mutant.old!r}")
            continue
        try:
            compile(whole.replace(mutant.old, mutant.new), mutant.file, "exec")
        except SyntaxError as error:
            lines.append(f"{mutant}: {error}")
        for test in mutant.tests:
            path, _, name = test.partition("::")
            if path.startswith("tests/") and name.rpartition("::")[2] not in (ROOT / path).read_text():
                lines.append(f"{mutant}: there is no {test}")
    return lines


def run_tests(tree: Path, tests: Sequence[str]) -> int:
    """pytest's exit code; 124 after SECONDS. In a fork of this process, which has torch loaded and nothing of ours."""
    process = multiprocessing.get_context("fork").Process(target=_pytest, args=(tree, tests))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        return 124
    return process.exitcode or 0


def _pytest(tree: Path, tests: Sequence[str]) -> None:
    import pytest

    os.chdir(tree)
    os.environ["PYTHONPATH"] = str(tree)  # for processes that tests start
    sys.path.insert(0, str(tree))
    log = os.open(tree / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os._exit(pytest.main(["-x", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", *tests]))


def main(words: Sequence[str]) -> int:
    listed = [mutant for mutant in mutants() if not words or any(word in str(mutant) for word in words)]
    if wrong := misfits(listed):
        print("\n".join(wrong))
        return 1
    sys.dont_write_bytecode = True  # or a file changed twice in a second would be run as it was
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in (ROOT, ROOT / "tests")]
    for slow in ("av", "fvcore.nn", "matplotlib.figure", "optuna", "pandas"):  # loaded once, for all forks
        importlib.import_module(slow)
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in COPIED:
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tree / name)
        began, survivors = time.perf_counter(), []
        for tests in dict.fromkeys(mutant.tests for mutant in listed):
            if (code := run_tests(tree, tests)) != 0:
                print(f"{' '.join(tests)}: exit code {code} without any mutant\n{(tree / 'log').read_text()[-3000:]}")
                return 1
        print(f"the tests pass without mutants ({time.perf_counter() - began:.0f} s)", flush=True)
        for number, mutant in enumerate(listed, start=1):
            file = tree / mutant.file
            whole = file.read_text()
            file.write_text(whole.replace(mutant.old, mutant.new))
            code = run_tests(tree, mutant.tests)
            file.write_text(whole)
            verdict = "killed" if code in (FAILED, 124) else f"SURVIVED (exit code {code})"
            survivors += [] if verdict == "killed" else [mutant]
            print(f"{number:4} of {len(listed)}  {verdict:9}  {mutant}", flush=True)
    score = 1 - len(survivors) / len(listed)
    print(
        f"{len(listed) - len(survivors)} of {len(listed)} mutants killed: {score:.1%} ({time.perf_counter() - began:.0f} s)"
    )
    return 0 if score >= LEAST_SCORE else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
