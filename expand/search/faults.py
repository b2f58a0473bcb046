"""Decides the cause of a failed training, and what to do about it. Pure functions.

A candidate fails for good only by its own fault, or by a fault that repeats when nothing else can have caused it.
"""

from __future__ import annotations

import errno
import re
from enum import StrEnum

from expand.core.attempt import Attempt, Fault
from expand.core.outcome import Retry

WAITS = (1.0, 10.0, 30.0, 60.0)  # seconds before the second try of a trial, the third, and so on


class Verdict(StrEnum):
    RETRY = "retry"
    ALONE = "alone"  # try again while no other trial runs
    FAIL = "fail"
    HALT = "halt"  # the search ends; the same command resumes it


_BY_TYPE = {
    "MemoryError": Fault.MEMORY,
    "OutOfMemoryError": Fault.MEMORY,  # of a GPU
    "Unavailable": Fault.SURROUNDINGS,
    "DamagedVideo": Fault.SURROUNDINGS,  # all videos were intact when the cache was built
    "ConnectionError": Fault.CRASH,  # a loader process at the other end of a pipe has died
    "OSError": Fault.SURROUNDINGS,
}
# Texts of errors whose type says nothing: RuntimeErrors of torch, CUDA and cuDNN, and Ray's errors about a worker. The first
# match counts. CUDA's asserts and invalid arguments are not listed: the network causes them.
_BY_WORDS = (
    (Fault.MEMORY, r"out of memory|can(no|')t allocate memory|low on memory|_ALLOC_FAILED|_STATUS_NOT_INITIALIZED"),
    (
        Fault.SURROUNDINGS,
        r"ECC error|busy or unavailable|no CUDA-capable device|no CUDA GPUs|invalid device ordinal|driver version"
        r"|CUDA initialization|CUDA error: initialization|CUDA unknown error|fallen off the bus|GPU is lost"
        r"|system not yet initialized|DataLoader timed out|can't start new thread|its node has died|temporarily unavailable"
        r"|Input/output error|Stale file handle|Too many open files",
    ),
    (
        Fault.CRASH,
        r"DataLoader worker \(pid|Pin memory thread exited|shared memory object|unable to mmap|torch_\d"
        r"|illegal memory access|unspecified launch failure|CUDA error: unknown error|_EXECUTION_FAILED|_INTERNAL_ERROR",
    ),
)


def fault_of(error: BaseException) -> Fault:
    """The cause of an exception, by its type, then by its text, then by the exception that caused it.

    Exceptions of a loader process arrive as text, whose last line is that of the exception.
    """
    text = str(error).strip()
    names = [kind.__name__ for kind in type(error).__mro__]
    if loader := re.match(r"Caught (\w+) in ", text):
        names.insert(0, loader[1])
        text = text.splitlines()[-1]
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return Fault.MEMORY
    for name in names:
        if name in _BY_TYPE:
            return _BY_TYPE[name]
    if "RuntimeError" in names:
        for fault, words in _BY_WORDS:
            if re.search(words, text, re.IGNORECASE):
                return fault
    return fault_of(error.__cause__) if error.__cause__ is not None else Fault.OWN


def worker_died(text: str, node: str) -> Retry:
    """The outcome of a job whose worker process has died, with Ray's own error text."""
    lines = text.strip().splitlines() or ["no reason is known"]
    first = next((line for line in lines if re.search(" (because|due to) |unavailable", line)), lines[0])
    fault = fault_of(RuntimeError(text))
    return Retry(
        Fault.CRASH if fault is Fault.OWN else fault, f"its worker process died ({first.strip()[:400]})",
        Attempt(node=node), traceback=text[:6000],
    )  # fmt: skip


def verdict(fault: Fault, tries: int, attempts: int, *, alone: bool, others_went_on: bool) -> Verdict:
    """What to do after a fault.

    Args:
        tries: how often in a row the trial ended in a fault without a new checkpoint, including this time.
        attempts: `budget.attempts`.
        alone: whether no other trial was running this time.
        others_went_on: whether another trial has finished an epoch since the first of these tries.
    """
    if fault is Fault.OWN:
        return Verdict.FAIL
    if fault is Fault.SURROUNDINGS:
        if tries <= len(WAITS):
            return Verdict.RETRY
        return Verdict.FAIL if others_went_on else Verdict.HALT
    if tries >= attempts and alone:
        return Verdict.FAIL
    return Verdict.ALONE if tries >= attempts - 1 else Verdict.RETRY


def wait_before(tries: int) -> float:
    """Seconds that a trial waits after so many failed tries in a row."""
    return WAITS[min(tries, len(WAITS)) - 1]
