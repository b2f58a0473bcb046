"""How fast videos become clips.

    python benchmarks/preparing.py [--source FOLDER] [--copies 4]

`preparing`: decoding a folder of videos into an empty cache, against the clips' own duration; threads against processes;
and the memory that takes for the videos once and for four times as many.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from expand.data import parallel
from expand.data.cache import clip_cache as cache
from expand.data.read_source import read_source
from expand.data.video.decode import decode, probe

SIDE = 96
PEAK = """
import sys
sys.path.insert(0, sys.argv[3])
from benchmarks import preparing
print(preparing.peak_of_preparing(sys.argv[1], int(sys.argv[2])))
"""


def main() -> None:
    parts: dict[str, Callable[[argparse.Namespace], None]] = {"preparing": preparing}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=parts, help="all of them without it")
    parser.add_argument("--source", default=str(Path(__file__).resolve().parents[2] / "shared/data/room_actions"))
    parser.add_argument("--copies", type=int, default=4, help="how often the videos are listed for the memory's sake")
    parser.add_argument("--rounds", type=int, default=3, help="how often all is timed; the median counts")
    options = parser.parse_args()
    for name, part in parts.items():
        if options.part in (None, name):
            part(options)


def preparing(options: argparse.Namespace) -> None:
    """Seconds of video prepared in a second, and what it takes in memory."""
    manifest = read_source(options.source)
    paths = [manifest.absolute(video) for video in manifest.videos]
    duration = sum(info.frames / info.fps for info in map(probe, paths))
    splits = tuple(dict.fromkeys(video.split for video in manifest.videos))
    seconds: dict[str, list[tuple[float, float]]] = {
        "prepare": [],
        "on the fly": [],
        "serial": [],
        "threads": [],
        "processes": [],
    }
    for _ in range(options.rounds):
        for name, fly in (("prepare", False), ("on the fly", True)):
            with tempfile.TemporaryDirectory() as folder:
                os.environ["EXPAND_CACHE"] = folder
                seconds[name].append(timed(partial(cache.prepare, manifest, side=SIDE, fly=fly, splits=splits)))
        seconds["serial"].append(timed(lambda: [length(path) for path in paths]))
        count = parallel.cores()
        for name, pool in (
            ("threads", ThreadPoolExecutor(count)), ("processes", ProcessPoolExecutor(count, get_context("spawn"))),
        ):  # fmt: skip
            seconds[name].append(spread(pool, paths))
    times = {name: duration / statistics.median(clock for clock, _ in values) for name, values in seconds.items()}
    work = {name: duration / statistics.median(busy for _, busy in values) for name, values in seconds.items()}
    peaks = {copies: peak(options.source, copies) for copies in (1, options.copies)}
    for name, factor in times.items():
        print(f"{name:12} {factor:8.0f} times real time, {work[name]:8.0f} by processor time")
    print(json.dumps({
        "benchmark": "preparing", "videos": len(paths), "video_seconds": round(duration, 1), "load": round(os.getloadavg()[0], 1),
        "times_real_time": {name: round(factor) for name, factor in times.items()},
        "by_processor_time": {name: round(factor) for name, factor in work.items()},
        "peak_mb": {f"{copies * len(paths)} videos": round(size / 1e6, 1) for copies, size in peaks.items()},
    }))  # fmt: skip


def length(path: Path) -> int:
    return len(decode(path, side=SIDE))


def spread(pool: Executor, paths: list[Path]) -> tuple[float, float]:
    def work() -> None:
        with pool:  # to its end, so that the processes' time is counted
            list(pool.map(length, paths, chunksize=4))

    return timed(work)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of processors, those of processes that ended in it included."""
    began, busy = time.perf_counter(), sum(os.times()[:4])
    work()
    return time.perf_counter() - began, sum(os.times()[:4]) - busy


def peak(source: str, copies: int) -> int:
    """Peak bytes of a fresh process that prepares the videos, listed so many times; mapped clips are not opened."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, source, str(copies), str(Path(__file__).resolve().parents[1])],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return int(done.stdout)


def peak_of_preparing(source: str, copies: int) -> int:
    manifest = read_source(source)
    manifest = replace(manifest, videos=manifest.videos * copies)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EXPAND_CACHE"] = folder
        cache.prepare(manifest, side=SIDE)
    lines = Path("/proc/self/status").read_text().splitlines()  # getrusage would say the parent's, if that was more
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
