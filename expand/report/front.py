"""What figures and pages draw of a run: candidates, the front, the path of the expansion, growth of the hypervolume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from expand.core.study import Objective
from expand.core.trial import Trial, TrialState
from expand.report.candidates import Candidate, CostName, RunFacts, candidates, cost_name, front, inherited_candidates
from expand.report.hypervolume import Box, Moment, box_of, growth

if TYPE_CHECKING:
    from expand.strategies.ledger import LedgerStep


@dataclass(frozen=True)
class Front:
    """The front of a run, ready to be drawn.

    Attributes:
        cost: the study's first cost objective, the x axis.
        best: the candidates on the front, cheapest first.
        inherited: the candidates that started from another one's weights, which never stand on the front; `inherited_best` are
            those of them on a front of their own.
        path: the start and the chosen candidate of each step.
        box: the bounds of the hypervolumes in `growth`; runs in one figure share it.
    """

    name: str
    facts: RunFacts
    cost: CostName
    candidates: tuple[Candidate, ...]
    best: tuple[Candidate, ...]
    path: tuple[Candidate, ...] = ()
    box: Box | None = None
    growth: tuple[Moment, ...] = ()
    inherited: tuple[Candidate, ...] = ()
    inherited_best: tuple[Candidate, ...] = ()

    @property
    def complete(self) -> tuple[Candidate, ...]:
        """The candidates that can be drawn: trained in full, with a known cost."""
        return tuple(c for c in self.candidates if c.state is TrialState.COMPLETE and c.amount(self.cost) > 0)

    @property
    def drawn(self) -> tuple[Candidate, ...]:
        """All that one run's picture shows: also what started from inherited weights."""
        grown = (c for c in self.inherited if c.state is TrialState.COMPLETE and c.amount(self.cost) > 0)
        return (*self.complete, *grown)


def front_of(
    name: str,
    facts: RunFacts,
    trials: Sequence[Trial],
    objectives: Sequence[Objective],
    *,
    steps: Sequence[LedgerStep] = (),
    spent: Mapping[int, int] | None = None,
    box: Box | None = None,
) -> Front:
    """The front of a run.

    Args:
        spent: training multiply-adds by trial number.
        box: bounds of the hypervolume; by default computed from this run alone.
    """
    found, cost = candidates(trials, facts.seeds), cost_name(objectives)
    box = box or box_of([found], cost)
    moments = growth(trials, found, cost, box, spent or {})
    grown = inherited_candidates(trials)
    return Front(
        name, facts, cost, found, front(found, objectives), path(found, steps), box, moments,
        grown, front(grown, objectives),
    )  # fmt: skip


def path(found: Sequence[Candidate], steps: Sequence[LedgerStep]) -> tuple[Candidate, ...]:
    """The path of the expansion: the start, then the candidate chosen in each step."""
    by_number = {number: candidate for candidate in found for number in candidate.numbers}
    by_architecture = {candidate.architecture: candidate for candidate in found}
    chosen: list[Candidate | None] = []
    for step in steps:
        if step.base is not None and not chosen:
            chosen.append(by_architecture.get(step.base))
        if step.chosen is not None:
            chosen += [by_number.get(number) for number in step.entries[step.chosen].trial_numbers[:1]]
    return tuple(
        dict.fromkeys(candidate for candidate in chosen if candidate is not None and candidate.top1 is not None)
    )
