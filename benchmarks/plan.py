"""Planned against actual: plans short versions of two demo studies, runs them, and compares.

    python benchmarks/plan.py [--workers 2] [--paper]

`--paper` adds the time of `expand plan x3d_stepwise --scale paper --no-calibrate`, start-up included. Errors are relative to
what was: of a candidate's training time (mean absolute), of the total, of a candidate's processor time, which does not
depend on what else the machine does, and of peak memory (mean absolute, and the largest candidate's).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from expand.report.plan_vs_actual import compare_plan, planned_lines
from expand.storage.plans import read_plan
from expand.storage.run_directory import open_for_reading

SHORT = {
    "x3d_stepwise": ("budget.steps=1", "recipe.epochs=4"),
    "c3d_temporal_depth": ("recipe.epochs=2", "seeds=0"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--paper", action="store_true")
    options = parser.parse_args()
    figures: dict[str, object] = {"benchmark": "plan", "load_before": round(os.getloadavg()[0], 1)}
    if options.paper:
        began = time.perf_counter()
        call("plan", "x3d_stepwise", "--scale", "paper", "--no-calibrate")
        figures["paper_seconds"] = round(time.perf_counter() - began, 1)
        print(f"x3d_stepwise at paper scale planned in {figures['paper_seconds']} s")
    with tempfile.TemporaryDirectory() as folder:
        for name, settings in SHORT.items():
            figures[name] = planned_and_run(name, settings, Path(folder) / name, options.workers)
    print(json.dumps(figures | {"load_after": round(os.getloadavg()[0], 1)}))


def planned_and_run(name: str, settings: tuple[str, ...], run: Path, workers: int) -> dict[str, object]:
    common = [name, "--workers", str(workers), *(word for setting in settings for word in ("--set", setting))]
    began = time.perf_counter()
    call("plan", *common, "--keep", str(run))
    planning = time.perf_counter() - began
    before = os.getloadavg()[0]
    began = time.perf_counter()
    call("run", *common, "--out", str(run))
    wall = time.perf_counter() - began
    plan, trials = read_plan(run), open_for_reading(run).trials()
    found = compare_plan(plan, trials)
    assert plan is not None and found is not None
    print(f"{name}: planned in {planning:.0f} s; load {before:.1f} before the run, {os.getloadavg()[0]:.1f} after")
    for line in (run / "report" / "planned.md").read_text().splitlines()[2:]:
        print("  " + line)
    for line in planned_lines(found):
        print("  " + line)
    return {
        "trainings": len(found.rows), "time_error": round(found.time_error, 3), "total_error": round(found.total_error, 3),
        "cpu_error": None if found.cpu_error is None else round(found.cpu_error, 3),
        "memory_error": None if found.memory_error is None else round(found.memory_error, 3),
        "largest_memory_error": None if found.largest_memory_error is None else round(found.largest_memory_error, 3),
        "planned_wall_seconds": round(3600 * plan.hours[1], 1), "wall_seconds": round(wall, 1),
        "planning_seconds": round(planning, 1),
    }  # fmt: skip


def call(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "expand", *words], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
