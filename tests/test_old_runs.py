"""Runs of earlier versions still resume, report and export. tests/old_runs/VERSION holds a small one, killed in the middle: its
study file, its videos and its run directory as that version left them."""

from __future__ import annotations

import json

from expand.storage.run_directory import open_for_reading


def test_an_old_run_reports_tests_exports_and_resumes(old, expand):
    before = open_for_reading(old / "run").trials()
    assert [trial.state.value for trial in before] == ["running", "running", "complete"]
    assert expand("status", "run").returncode == 0
    reported = expand("report", "run")
    assert reported.returncode == 0 and "Pareto front of old" in reported.stdout, reported.stderr
    exported = expand("export", "run", "--trial", 2, "--to", "network")
    assert exported.returncode == 0, exported.stderr
    tested = expand("test", "run", "--trial", 2, "--views", "2x1", "--data", "squares", "--json")
    assert tested.returncode == 0 and json.loads(tested.stdout)["trial"] == 2, tested.stderr
    resumed = expand("run", "old_study.py", "--data", "squares", "--out", "run", "--workers", 0)
    assert resumed.returncode == 0, resumed.stderr + resumed.stdout
    after = open_for_reading(old / "run").trials()
    assert all(trial.state.value == "complete" for trial in after) and len(after) > len(before)
    assert after[2] == before[2] and "trial 2 epoch" not in resumed.stdout
