"""What the engine costs: wall time of a search over (sum of training times / workers).

    python benchmarks/overhead.py [--workers 2] [--steps 2] [--epochs 14]

Runs the demo study through the command line, as a user does, on clips that are rendered and decoded before. 1.0 would be
workers that train from the first second to the last; the rest is Ray's start, counting, and waiting at the end of a step.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=14)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        warm = [f"recipe.epochs={options.epochs}", "budget.steps=0"]
        search(Path(folder) / "warm", 0, warm)  # renders and decodes
        began = time.perf_counter()
        search(
            Path(folder) / "run", options.workers, [f"recipe.epochs={options.epochs}", f"budget.steps={options.steps}"]
        )
        wall = time.perf_counter() - began
        text = subprocess.run(
            [sys.executable, "-m", "expand", "status", str(Path(folder) / "run"), "--json"],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
    seconds = [trial["train_seconds"] for trial in json.loads(text)["trials"]]
    ideal = sum(seconds) / options.workers
    print(f"{len(seconds)} trials of {min(seconds):.0f} to {max(seconds):.0f} s on {options.workers} workers")
    print(json.dumps({
        "benchmark": "overhead", "workers": options.workers, "trials": len(seconds), "wall_seconds": round(wall, 1),
        "training_seconds": round(sum(seconds), 1), "shortest_trial_seconds": round(min(seconds), 1),
        "ratio": round(wall / ideal, 3), "outside_training_seconds": round(wall - ideal, 1),
    }))  # fmt: skip


def search(run: Path, workers: int, settings: list[str]) -> None:
    command = [sys.executable, "-m", "expand", "run", "x3d_stepwise", "--out", str(run), "--workers", str(workers)]
    for setting in settings:
        command += ["--set", setting]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
