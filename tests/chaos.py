"""Kills or signals a small search at random moments, runs it again until it is finished, and compares it with an unbroken one.

    python tests/chaos.py --kills 200 --seed 0 --workers 0    SIGKILL to the driver; with Ray also to a worker, raylet or GCS
    python tests/chaos.py --signals 20 --workers 2            20 each of SIGINT and SIGTERM to the driver and to its group

Prints what was counted as JSON; the exit code is 1 if anything went wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from conftest import moving_square, write_video  # noqa: E402

from expand.storage.run_directory import open_for_reading  # noqa: E402

TINY = ROOT / "tests" / "studies" / "tiny.py"
LONGEST = 300.0  # seconds of one start, after which it hangs
WRONG = ("lost", "twice", "zombies", "hangs", "different fronts", "wrong exits", "unmarked", "noise", "left folders")


@dataclass
class Chaos:
    """One place for runs, and the counts."""

    folder: Path
    workers: int
    steps: int
    dice: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    details: list[str] = field(default_factory=list)
    whole: list[Any] = field(default_factory=list)  # what an unbroken run found
    front: str = ""
    seconds: float = 0.0  # of an unbroken run
    runs: int = 0
    retry_failed: bool = False

    def wrong(self, what: str, detail: str) -> None:
        self.counts[what] += 1
        self.details.append(f"{what}: run {self.runs}: {detail}")
        print(self.details[-1], file=sys.stderr, flush=True)

    @property
    def run(self) -> Path:
        return self.folder / f"run{self.runs}"

    def start(self, *, forked: bool = False) -> psutil.Popen | Forked:
        """The run, from the beginning or resumed, in a process group of its own. Where a trial ended with its driver so often
        that the search halted, it is told that these were kills from outside."""
        arguments = [
            "run", str(TINY), "--data", str(self.folder / "videos"), "--out", str(self.run), "--workers", str(self.workers),
            "--set", "budget.attempts=50", "--set", f"budget.steps={self.steps}", *["--retry-failed"] * self.retry_failed,
        ]  # fmt: skip
        with (self.folder / "errors").open("w") as errors:
            if forked:
                return Forked(arguments, errors.fileno())
            return psutil.Popen(
                [sys.executable, "-m", "expand", *arguments], env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True, cwd=self.folder,
            )  # fmt: skip

    def errors(self) -> str:
        return (self.folder / "errors").read_text()

    def prepare(self) -> None:
        """The videos, and the run that the others are compared with."""
        for split, count, first in (("train", 8, 0), ("val", 4, 100)):
            for name, direction in (("to the left", -1), ("to the right", 1), ("at rest", 0)):
                for seed in range(first, first + count):
                    video = self.folder / "videos" / split / name / f"{seed}.avi"
                    write_video(video, moving_square(direction, seed))
        began = time.monotonic()
        code = self.start(forked=self.workers == 0).wait(LONGEST)
        self.seconds = time.monotonic() - began
        assert code == 0, self.errors()
        self.whole, self.front = self.found()
        self.runs += 1
        assert all(trial[1] == "complete" for trial in self.whole)

    def found(self) -> tuple[list[Any], str]:
        trials = [
            (
                t.number,
                t.state,
                t.suggestion.step,
                t.suggestion.axes,
                t.architecture,
                t.cost,
                t.metrics and t.metrics.top1,
            )
            for t in open_for_reading(self.run).trials()
        ]
        return trials, (self.run / "report" / "front.csv").read_text()

    def compare(self) -> None:
        """A finished run against the unbroken one; the next start makes a new run."""
        trials, front = self.found()
        networks = Counter(trial[4] for trial in trials)
        for trial in self.whole:
            same = [other for other in trials if other[4] == trial[4] and other[1] == "complete"]
            if not same:
                errors = [t.error for t in open_for_reading(self.run).trials() if t.error]
                self.wrong("lost", f"{trial} {errors}")
            elif networks[trial[4]] > 1:
                self.wrong("twice", str(trial))
        if front != self.front or trials != self.whole:
            self.wrong(
                "different fronts", str([pair for pair in zip(trials, self.whole, strict=False) if pair[0] != pair[1]])
            )
        if left := list(Path(tempfile.gettempdir()).glob("expand-tune-*")):
            self.wrong("left folders", str(left))
        shutil.rmtree(self.run)
        self.counts["finished runs"] += 1
        self.runs, self.retry_failed = self.runs + 1, False

    def gone(self, processes: list[psutil.Process], seconds: float) -> None:
        """Waits until nothing is left of these."""
        _, left = psutil.wait_procs(processes, timeout=seconds)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                name = " ".join(process.cmdline()).lower() or process.name().lower()
                process.kill()
                if process.status() != psutil.STATUS_ZOMBIE:
                    self.wrong("zombies", name)


class Forked:
    """The command in a fork of this process, which has imported everything: a kill costs a second instead of five."""

    def __init__(self, arguments: list[str], errors: int) -> None:
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(errors, 2)
            sys.argv = ["expand", *arguments]
            code = 1
            try:
                from expand.cli.app import main

                main()
                code = 0
            except SystemExit as ending:
                code = int(ending.code or 0)
            finally:
                sys.stderr.flush()
                os._exit(code)
        self.process = psutil.Process(self.pid)

    def wait(self, timeout: float) -> int:
        return self.process.wait(timeout)

    def kill(self) -> None:
        self.process.kill()

    def children(self, recursive: bool) -> list[psutil.Process]:
        return self.process.children(recursive=recursive)


def descendants(process: Any) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []


def named(processes: list[psutil.Process], words: str) -> list[psutil.Process]:
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if words in " ".join(process.cmdline()[:1]):
                found.append(process)
    return found


VICTIMS = {"worker": "ray::ImplicitFunc", "raylet": "/raylet", "GCS": "/gcs_server"}


def kill_until_finished(chaos: Chaos, kills: int) -> None:
    """Starts and kills until so many kills are done and the last run is finished and compared."""
    while chaos.counts["kills"] < kills:
        process, began, seen = chaos.start(forked=chaos.workers == 0), time.monotonic(), []
        while True:
            victim = chaos.dice.choice(["driver", *VICTIMS]) if chaos.workers else "driver"
            at = time.monotonic() + chaos.dice.uniform(0.0, 0.5 * chaos.seconds)
            target: psutil.Process | None = None
            code = None
            while code is None and target is None and time.monotonic() - began < LONGEST:
                code = waited(process, 0.02 if chaos.workers == 0 else 0.1)
                if code is None and time.monotonic() >= at and chaos.counts["kills"] < kills:
                    children = descendants(process)
                    seen = list({*seen, *children})
                    found = named(children, VICTIMS[victim]) if victim != "driver" else [process]
                    target = chaos.dice.choice(found) if found else None
            if target is None:
                break
            with contextlib.suppress(psutil.NoSuchProcess):
                target.kill()
            chaos.counts["kills"] += 1
            chaos.counts[f"kills of {victim}"] += 1
            if victim == "worker":
                continue
            code = waited(process, 30)  # of the issue: a lost raylet or GCS ends the driver within 30 s
            break
        settle(chaos, process, code, seen)
        print(json.dumps(dict(chaos.counts)), flush=True)
    while chaos.run.exists():
        process = chaos.start(forked=chaos.workers == 0)
        settle(chaos, process, waited(process, LONGEST), [])


def waited(process: Any, seconds: float) -> int | None:
    try:
        return process.wait(timeout=seconds)
    except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
        return None


def settle(chaos: Chaos, process: Any, code: int | None, seen: list[psutil.Process]) -> None:
    """What a start came to. 0: finished; -9: killed; 1: it lost Ray and said so."""
    if chaos.workers:
        time.sleep(1)  # the guard may have the last word
    errors = chaos.errors()
    halted = "times in a row before a new checkpoint" in errors
    chaos.retry_failed |= halted
    if code is None:
        chaos.wrong("hangs", errors[-500:])
        process.kill()
        process.wait(timeout=20)
    elif code == 1 and "before it could say why" in errors:
        chaos.counts["ended because Ray was lost while it started"] += 1
    elif code == 1 and "run the same command again to resume" in errors:
        chaos.counts["ended because Ray was lost"] += 1
    elif code == 1 and halted:
        chaos.counts["halted after twelve starts"] += 1
    elif code not in (0, -signal.SIGKILL):
        chaos.wrong("wrong exits", f"{code} {errors[-500:]}")
    most = 20 if "before it could say why" in errors else 1  # Ray's native code then has its own say
    if "Traceback" in errors or errors.count("\n") > most:
        chaos.wrong("noise", errors[-2000:])
    chaos.gone(seen, 5)
    if code == 0:
        chaos.compare()


def signal_at_random(chaos: Chaos, each: int) -> None:
    """So many of each signal to the driver and to its process group, at random moments from start to end."""
    cases = [(number, group) for number in (signal.SIGINT, signal.SIGTERM) for group in (False, True)] * each
    while cases:
        number, group = cases[-1]
        process, seen = chaos.start(), []
        moment = time.monotonic() + chaos.dice.uniform(0.0, 1.1 * chaos.seconds)
        while (code := waited(process, 0.05)) is None and time.monotonic() < moment:
            pass
        if code is not None:  # ended before its signal
            settle(chaos, process, code, seen)
            continue
        seen = descendants(process)
        sent = time.monotonic()
        (os.killpg if group else os.kill)(process.pid, number)
        code = waited(process, 30)
        took = time.monotonic() - sent
        cases.pop()
        case = f"{number.name} to {'group' if group else 'driver'}"
        errors = chaos.errors()
        # Python itself ends by the signal before our first line runs. 0: it had finished.
        if code not in (128 + number, -number, 0):
            chaos.wrong("wrong exits" if code is not None else "hangs", f"{case}: {code} {errors[-1500:]}")
        if code is None:
            process.kill()
        if took > 10:
            chaos.wrong("hangs", f"{case}: took {took:.1f} s")
        if ("Traceback" in errors and code != -number) or errors.count("\n") > 1 + 100 * (code == -number):
            chaos.wrong("noise", f"{case}: {errors[-1500:]}")
        chaos.counts[f"{case}: exit {code}"] += 1
        chaos.counts["slowest (ms)"] = max(chaos.counts["slowest (ms)"], int(1000 * took))
        chaos.gone(seen, 2)
        check_marks(chaos, case)
        if left := list(Path(tempfile.gettempdir()).glob("expand-tune-*")):
            chaos.wrong("left folders", f"{case}: {left}")
            for path in left:
                shutil.rmtree(path)
        if code == 0:
            chaos.compare()
        print(json.dumps(dict(chaos.counts)), flush=True)


def check_marks(chaos: Chaos, case: str) -> None:
    """A trial that a worker had started stands in the record as interrupted, unless it ended."""
    if not (chaos.run / "study.json").exists():
        return
    for trial in open_for_reading(chaos.run).trials():
        started = (chaos.run / "checkpoints" / f"{trial.number:06d}" / "attempts.jsonl").exists()
        if started and not trial.state.ended:
            chaos.counts["marked"] += 1
            if not trial.interrupted:
                chaos.wrong("unmarked", f"{case}: trial {trial.number}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--signals", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2, help="Of the search; it trains two networks in each.")
    options = parser.parse_args()
    import expand.search.run  # noqa: F401 - for forks

    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background job would pass on that it is ignored
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    os.environ |= {"EXPAND_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
    tempfile.tempdir = str(folder)
    try:
        chaos = Chaos(folder, options.workers, options.steps, random.Random(options.seed))
        chaos.prepare()
        if options.kills:
            kill_until_finished(chaos, options.kills)
        if options.signals:
            signal_at_random(chaos, options.signals)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    wrong = {name: chaos.counts.pop(name, 0) for name in WRONG}
    print(
        json.dumps({"counts": dict(sorted(chaos.counts.items())), "wrong": wrong, "details": chaos.details}, indent=1)
    )
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
