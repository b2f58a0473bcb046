"""Parallel work in threads, with results in order and bounded memory.

Threads suffice because PyAV releases Python's lock while it decodes, scales and encodes (`benchmarks/preparing.py` compares
both), and no frames are copied between processes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

MOST_THREADS = 32
AHEAD_BYTES = 256 << 20  # of finished results that wait for an earlier one; running work adds to it

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    items: Iterable[Item], work: Callable[[Item], Result], *, weigh: Callable[[Result], int] = lambda result: 0
) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, in order. Exceptions of `work` are raised here. `weigh` returns a result's bytes.

    On an error or interrupt, running work is finished and nothing new is started.
    """
    workers = min(MOST_THREADS, cores())
    ahead: deque[tuple[Item, Future[Result]]] = deque()

    def full() -> bool:
        ready = sum(weigh(future.result()) for _, future in ahead if future.done() and not future.exception())
        return len(ahead) > 2 * workers or ready > AHEAD_BYTES

    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                ahead.append((item, pool.submit(work, item)))
                while full():
                    yield _next(ahead)
            while ahead:
                yield _next(ahead)
        finally:
            for _, future in ahead:
                future.cancel()


def _next(ahead: deque[tuple[Item, Future[Result]]]) -> tuple[Item, Result]:
    item, future = ahead.popleft()
    return item, future.result()
