"""Which trials may start now, and what to do when one could not be trained. In the driver's memory only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from expand.core.attempt import Fault
from expand.core.outcome import Retry
from expand.search.faults import Verdict, verdict, wait_before


@dataclass
class Tries:
    """The tries of a trial since it last made progress.

    Args:
        stamp: of its newest checkpoint at the first of them.
        epochs: done by the whole search at that time.
    """

    stamp: int | None
    epochs: int
    count: int = 0
    not_before: float = 0.0  # on the clock of `time.monotonic`
    alone: bool = False  # whether the next try must run while no other trial runs
    lowered: int = 0  # by how much it lowered the number of parallel trials
    nodes: tuple[str, ...] = ()  # Ray's nodes on which they ran


@dataclass
class Retries:
    """The tries of all trials that have made no progress since.

    Args:
        attempts: `budget.attempts`.
        at_once: how many trials may run in parallel; lowered if memory is short.
    """

    attempts: int
    at_once: int
    failed_in_a_row: int = 0  # by what may not be their fault, while no other trains
    _tries: dict[int, Tries] = field(default_factory=dict)
    _alone: int | None = None  # a running trial beside which no other may run
    _epochs: int = 0  # done by all trials since this driver began

    def waiting(self, queue: Sequence[int]) -> list[int]:
        """The queue without trials that must run alone; these come after all others."""
        return [number for number in queue if number not in self._tries or not self._tries[number].alone]

    def startable(self, queue: Sequence[int], running: int) -> int | None:
        """The first trial of the queue that may start now, while `running` trials run."""
        if self._alone is not None or running >= self.at_once:
            return None
        candidates = self.waiting(queue) or ([] if running else queue)
        now = time.monotonic()
        return next((n for n in candidates if n not in self._tries or self._tries[n].not_before <= now), None)

    def nodes(self, number: int) -> tuple[str, ...]:
        """The nodes on which a trial could not be trained."""
        return self._tries[number].nodes if number in self._tries else ()

    def started(self, number: int) -> None:
        if number in self._tries and self._tries[number].alone:
            self._alone = number

    def put_back(self, number: int) -> None:
        """Delays a trial that cannot be placed at the moment."""
        self.ended(number)
        self._tries[number].not_before = time.monotonic() + 1.0

    def ended(self, number: int) -> None:
        self._alone = None if self._alone == number else self._alone

    def forget(self, number: int) -> bool:
        """Forgets the tries of a trial; returns whether there were any."""
        return self._tries.pop(number, None) is not None

    def on_epoch(self, number: int) -> bool:
        """A trial has made progress; returns whether it had failed tries."""
        self._epochs += 1
        self.failed_in_a_row = 0
        self.ended(number)  # the first epoch takes the most memory: other trials may run beside it again
        return self.forget(number)

    def judged(self, number: int, outcome: Retry, stamp: int | None) -> tuple[Verdict, str]:
        """What to do with a trial whose newest checkpoint has this stamp, and how often it failed, in words."""
        alone = self.at_once == 1 or self._alone == number
        tries = self._tries.get(number)
        if tries is None or (stamp is not None and stamp != tries.stamp):
            tries = self._tries[number] = Tries(stamp, self._epochs)
        tries.count += 1
        node = outcome.attempt.node
        tries.nodes = tuple(dict.fromkeys([*tries.nodes, *([node] if node else [])]))
        others_went_on = self._epochs > tries.epochs
        what = verdict(outcome.fault, tries.count, self.attempts, alone=alone, others_went_on=others_went_on)
        return what, f"{tries.count} times in a row" + (", the last time with no other trial running" if alone else "")

    def failed(self, number: int) -> None:
        self.failed_in_a_row += 1
        self.at_once += self._tries[number].lowered  # the trials beside it were not the cause

    def try_again(self, number: int, fault: Fault, what: Verdict, running: int) -> list[str]:
        """Lets a trial start again later, with fewer parallel trials if memory was short; returns lines for the user."""
        tries = self._tries[number]
        wait = wait_before(tries.count)
        tries.not_before, tries.alone = time.monotonic() + wait, what is Verdict.ALONE
        how = " with no other trial running" if tries.alone and self.at_once > 1 else ""
        lines = [f"tried again in {wait:g} s or later{how}"]
        if fault is Fault.MEMORY and 0 < running < self.at_once:
            tries.lowered += self.at_once - running
            self.at_once = running
            lines.append(f"memory was short: from now on at most {running} trials in parallel")
        return lines
