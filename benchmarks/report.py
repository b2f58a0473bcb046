"""How long a report of many trials takes and how large its page is.

    python benchmarks/report.py [--trials 1000] [--keep RUN]

Records a search of X3D networks with made-up accuracies through the record's own interface (12 epochs each; of 100 trials six
are infeasible, three failed, one still runs), then times `expand report RUN --html` in a process of its own,
start-up included, and what of it is the writing. The aims: 5 s, 5 MB.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from expand.config.loading import load_study
from expand.core.attempt import Epoch
from expand.core.outcome import Completed, Failed
from expand.core.study import Objective, Study
from expand.core.trial import Metrics, Suggestion
from expand.counting.cost import cost_of
from expand.report.run_report import report
from expand.storage import run_directory as records
from expand.storage.facts import Facts, StudyFacts, VideoCounts, VideoFacts
from expand.storage.run_directory import Record

CLASSES = tuple(f"action {number}" for number in range(10))
CLIPS = VideoCounts(440, 160, 160)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="an empty folder to leave the run in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = options.keep or Path(folder) / "run"
        record_search(run, options.trials)
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "expand", "report", str(run), "--html"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        whole, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        began = time.perf_counter()
        report(records.open_for_reading(run))
        writing = time.perf_counter() - began
        size = (run / "report" / "index.html").stat().st_size
    print(f"{options.trials} trials: {whole:.1f} s with start-up ({processor:.1f} s of processor time)")
    print(f"reading and writing alone {writing:.1f} s; the page has {size / 1e6:.2f} MB")
    print(json.dumps({
        "benchmark": "report", "trials": options.trials, "seconds": round(whole, 2), "processor_seconds": round(processor, 2),
        "writing_seconds": round(writing, 2),
        "page_bytes": size,
    }))  # fmt: skip


def record_search(folder: Path, count: int, seed: int = 0) -> None:
    """A run directory with so many trials, each another network."""
    study = load_study("x3d_stepwise")
    data = VideoFacts("made-up clips", "0" * 64, tuple(CLASSES), CLIPS)
    facts = Facts(study=StudyFacts.of(study), data=data, reference="x3d_stepwise")
    chance, known = random.Random(seed), set()
    with records.open_for_writing(folder, facts, study) as record:
        while len(known) < count:
            values = _near(study, chance)
            architecture = study.space.architecture(**values)
            if architecture not in known:
                known.add(architecture)
                _record_one(record, study, Suggestion(architecture, 12, 0, kind="sample"), len(known), chance)


def _near(study: Study, chance: random.Random) -> dict[str, float]:
    """Values from the start's to four times these, so that networks stay small."""
    start, values = study.space.start.as_dict(), {}
    for axis in study.space.axes:
        low = start[axis.parameter]
        high = min(axis.high, 4 * low)
        values[axis.parameter] = chance.randint(low, int(high)) if axis.integer else round(chance.uniform(low, high), 2)
    return values


def _record_one(record: Record, study: Study, suggestion: Suggestion, place: int, chance: random.Random) -> None:
    cost = cost_of(study.space, suggestion.architecture, len(CLASSES))
    number = record.open_trial(suggestion, cost, study.space)
    top1 = min(max(0.12 * math.log10(cost.macs) - 0.35 + chance.gauss(0, 0.06), 0.05), 0.98)
    curve = tuple(
        Epoch(e, 2.3 * 0.85**e, top1 * (1 - 0.8**e), val_loss=2.3 * 0.88**e, seconds=2.0) for e in range(1, 13)
    )
    part = place % 100
    if part < 6:
        return record.infeasible(number, Objective("gmacs", "minimize", True, 0.001), cost.gmacs)
    if part < 9:
        return record.fail(number, Failed("non-finite loss (nan) at step 3 of epoch 2", curve=curve[:1]))
    if part == 9:
        return record.epoch(number, curve[:5])
    metrics = Metrics(top1, min(top1 + 0.3, 1.0), 1.0, CLIPS.val, 2)
    record.complete(number, Completed(metrics, curve=curve, train_seconds=24.0))


if __name__ == "__main__":
    main()
