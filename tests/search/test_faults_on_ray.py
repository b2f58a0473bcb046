"""Faults around a candidate on Ray: memory of a node, a node that is lost, a node on which nothing can be trained."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, STUDIES

from expand.core.trial import Trial
from expand.search.worker_plan import plan_workers
from expand.storage.run_directory import open_for_reading

TINY, FAULTY = STUDIES / "tiny.py", STUDIES / "faulty.py"
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4, "RAY_USAGE_STATS_ENABLED": "0"}
pytestmark = [pytest.mark.heavy, pytest.mark.ray]


def trials_of(folder: Path) -> tuple[Trial, ...]:
    return open_for_reading(folder).trials()


def test_a_candidate_that_takes_all_memory_of_a_node_fails_alone(expand, squares, tmp_path):
    """Ray's monitor kills workers once the machine uses 3 GiB more than now; one network takes 6."""
    memory = psutil.virtual_memory()
    if memory.available < 12 * 2**30:
        pytest.skip("needs 12 GiB of free memory")
    most = (memory.total - memory.available + 3 * 2**30) / memory.total
    monitor = {"RAY_memory_usage_threshold": f"{most:.4f}", "RAY_memory_monitor_refresh_ms": "100"}
    began = time.monotonic()
    done = expand(
        "run", FAULTY, "--data", squares, "--workers", 2, "--out", "run", timeout=230,
        EXPAND_TEST_FAULT="hog", EXPAND_TEST_FLAG="-", **monitor,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    trials = trials_of(tmp_path / "run")
    assert sorted(trial.state for trial in trials) == ["complete", "complete", "failed"]
    (failed,) = [trial for trial in trials if trial.state == "failed"]
    assert failed.architecture["frames"] > 2
    assert "low on memory" in failed.error and "the last time with no other trial running" in failed.error
    assert "OOM kill reason" in failed.traceback  # Ray's own words
    assert [entry.fault for entry in failed.retries] == ["memory"] * 3
    assert "memory was short: from now on at most 1 trials in parallel" in done.stdout
    assert time.monotonic() - began > 11  # the waits between the three


@pytest.fixture
def two_nodes(monkeypatch) -> Iterator:
    """Two nodes of Ray on this machine, with room for one of two workers each: the cluster, its second node."""
    for name, value in (TOKEN | {"PYTHONPATH": f"{ROOT}{os.pathsep}{STUDIES}"}).items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    threads = plan_workers(2, None).threads
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": threads})
    try:
        yield cluster, cluster.add_node(num_cpus=threads)
    finally:
        cluster.shutdown()


def command(study: Path, squares: Path, cluster, workers: int, *extra: str) -> list[str]:
    words = [sys.executable, "-m", "expand", "run", study, "--data", squares, "--workers", workers, "--out", "run"]
    return [*map(str, words), "--address", cluster.address, *extra]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"} | TOKEN | more


def test_the_trials_of_a_lost_node_are_trained_on_another(squares, tmp_path, two_nodes):
    cluster, second = two_nodes
    process = subprocess.Popen(
        command(TINY, squares, cluster, 2, "--set", "recipe.epochs=40", "--set", "budget.steps=1"),
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    training: set[str] = set()
    for line in process.stdout:
        if " epoch 1/40" in line:
            training.add(line.split(" epoch ")[0][-7:])
        if len(training) == 2:
            break
    cluster.remove_node(second, allow_graceful=False)
    out, error = process.communicate(timeout=200)
    assert process.returncode == 0, error + out
    trials = trials_of(tmp_path / "run")
    assert [trial.state for trial in trials] == ["complete"] * 3
    (struck,) = [trial for trial in trials if trial.retries]
    assert struck.attempts == 2 and len(struck.curve) == 40
    assert struck.retries[0].epochs >= 1 and struck.retries[0].node == second.node_id


def test_what_cannot_be_trained_on_one_node_is_trained_on_the_other(squares, tmp_path, two_nodes):
    cluster, _ = two_nodes
    fault = {"EXPAND_TEST_FAULT": "oserror", "EXPAND_TEST_FLAG": str(tmp_path / "broken-node")}
    done = subprocess.run(
        command(FAULTY, squares, cluster, 2), cwd=tmp_path, env=environment(**fault), capture_output=True, text=True,
        timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    trials = trials_of(tmp_path / "run")
    assert [trial.state for trial in trials] == ["complete"] * 3
    (struck,) = [trial for trial in trials if trial.retries]
    (entry,) = struck.retries
    assert entry.node == (tmp_path / "broken-node").read_text() and entry.fault == "surroundings"
