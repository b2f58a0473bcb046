"""Work ahead in threads, with results in order and in bounded memory.

Threads, not processes: PyAV gives Python's lock back while it decodes, scales and encodes (`benchmarks/preparing.py` compares
both), and no frames travel between processes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

MOST_THREADS = 32
AHEAD_BYTES = 256 << 20  # of finished results that wait for an earlier one; those under way come on top

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    items: Iterable[Item], work: Callable[[Item], Result], *, weigh: Callable[[Result], int] = lambda result: 0
) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, in order. What `work` raises is raised here. `weigh` says a result's bytes.

    Leaving early, by an error or an interrupt, waits for what is under way and begins nothing more.
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
