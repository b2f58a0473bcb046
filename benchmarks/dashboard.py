"""A search's record written as fast as it can be while its dashboard is polled: trials a second, and what showing them takes.

    python benchmarks/dashboard.py [--trials 100] [--clients 3]

The dashboard is a process of its own, as `expand dashboard` is. Each client asks for the whole study again a quarter of a second
after each answer; a browser leaves seconds. Nothing is trained: a trial is opened, told and shown, with notes and artifacts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from expand.config.loading import load_study
from expand.core.attempt import Epoch
from expand.core.outcome import Completed
from expand.core.study import Study
from expand.core.trial import Cost, Metrics, Suggestion
from expand.monitoring.dashboard.presenter import Presenter
from expand.report.run_report import run_facts
from expand.storage.facts import Facts, StudyFacts, VideoCounts, VideoFacts
from expand.storage.run_directory import Record, open_for_writing

CURVE = tuple(Epoch(epoch, 2.0 / epoch, 0.03 * epoch, seconds=1.0) for epoch in range(1, 17))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--clients", type=int, default=3)
    options = parser.parse_args()
    figures: dict[str, Any] = {"benchmark": "dashboard", "trials": options.trials, "clients": options.clients}
    for name, clients in (("alone", 0), ("polled", options.clients)):
        with tempfile.TemporaryDirectory() as folder:
            result = write(Path(folder), options.trials, clients)
        print(f"{name}: {result['trials_a_second']:.1f} trials a second, {result['show_ms']:.0f} ms a trial to show it, "
              f"{result['record_ms']:.0f} ms to record it, {result['answers']} answers")  # fmt: skip
        figures |= {f"{name}_{key}": value for key, value in result.items()}
    figures["ratio"] = round(figures["polled_trials_a_second"] / figures["alone_trials_a_second"], 3)
    print(json.dumps(figures))


def write(folder: Path, trials: int, clients: int) -> dict[str, Any]:
    """A whole search's worth of writing.

    Raises:
        ExpandError: the writer could not write.
        AssertionError: showing failed, or a client was not answered.
    """
    study = load_study("x3d_stepwise", "demo")
    complaints: list[str] = []
    took = {"record": 0.0, "show": 0.0}
    with open_for_writing(folder, _facts(study), study) as record:
        show = Presenter(record, lambda: run_facts(record), complaints.append)
        with polled(folder, clients, complaints) as answers:
            began = time.perf_counter()
            for index in range(trials):
                _trial(record, show, study, index, took)
            seconds = time.perf_counter() - began
        count = len(answers)
    assert not complaints, complaints
    return {
        "trials_a_second": round(trials / seconds, 2), "answers": count,
        **{f"{name}_ms": round(1000 * spent / trials, 1) for name, spent in took.items()},
    }  # fmt: skip


def _trial(record: Record, show: Presenter, study: Study, index: int, took: dict[str, float]) -> None:
    suggestion = Suggestion(study.space.start, 16, index, 1, ("frames",), 0 if index else None, "sample", "drawn")
    cost = Cost(2_000_000 + 1000 * index, 300, 250, 10, ((3, 1, 16, 16),))

    @contextlib.contextmanager
    def timed(name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        took[name] += time.perf_counter() - began

    with timed("record"):
        number = record.open_trial(suggestion, cost, study.space)
    with timed("show"):
        show.opened(record.trial(number))
        show.ending(number, CURVE)
    with timed("record"):
        record.complete(number, Completed(Metrics(0.3 + index / 1e4, 0.9, 1.0, 40, 2), curve=CURVE, train_seconds=16.0))
    with timed("show"):
        show.ended(record.trial(number))
        show.refresh()


def _facts(study: Study) -> Facts:
    data = VideoFacts("none", "0" * 64, ("a", "b"), VideoCounts(1, 40))
    return Facts(study=StudyFacts.of(study), data=data, reference=study.name)


@contextlib.contextmanager
def polled(run: Path, clients: int, complaints: list[str]) -> Iterator[list[int]]:
    """While it lasts, so many clients ask the run's dashboard; the bytes of each answer."""
    answers: list[int] = []
    if not clients:
        yield answers
        return
    command = [sys.executable, "-m", "expand", "dashboard", str(run)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = process.stdout.readline().rpartition(" ")[2].strip().replace("/dashboard/", "/api/")
    asking = [
        subprocess.Popen(
            [sys.executable, "-c", CLIENT, address], stdout=subprocess.PIPE, text=True, stdin=subprocess.PIPE
        )
        for _ in range(clients)
    ]
    try:
        yield answers
    finally:
        for client in asking:
            said, _ = client.communicate("end")
            answers += [int(line) for line in said.split() if line.isdigit()]
            if client.returncode:
                complaints.append(f"a client ended with {client.returncode}: {said}")
        process.terminate()
        process.wait(timeout=30)


# Prints the size of each answer, until something comes from its parent.
CLIENT = """
import select, sys, urllib.request
while not select.select([sys.stdin], [], [], 0.25)[0]:
    print(len(urllib.request.urlopen(sys.argv[1], timeout=60).read()))
"""


if __name__ == "__main__":
    main()
