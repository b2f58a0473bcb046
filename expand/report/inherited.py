"""Networks that started from another one's weights: their own front, the cost of their whole lineage, and beside it what the same
network costs and reaches from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from expand.core.study import Objective
from expand.core.trial import Trial, TrialState
from expand.core.units import format_macs
from expand.report.candidates import Candidate, RunFacts, candidates, cost_name, front, inherited_candidates
from expand.report.hypervolume import training_macs, whole_training_macs
from expand.report.tables import cost_unit, show_cost, show_top1
from expand.strategies.inherited import lineage

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Inherited:
    """One network that started from inherited weights. Of several seeds, the first tells the lineage.

    Attributes:
        lineage: numbers of the trials whose weights it goes back to, the first ancestor first, itself last.
        epochs, macs: trained over the whole lineage: epochs, each of its own network, and training multiply-adds.
        before: top-1 before any training of its own; None if unknown.
        differences: why it did not compute what its parent did, before it was trained.
        scratch: the same architecture trained from scratch, if the run has it complete.
        scratch_epochs, scratch_macs: what training it from scratch takes by the run's recipe.
        on_front: whether it stands on the front of inherited networks.
    """

    candidate: Candidate
    lineage: tuple[int, ...]
    epochs: int
    macs: int
    before: float | None
    differences: tuple[str, ...]
    scratch: Candidate | None
    scratch_epochs: int
    scratch_macs: int
    on_front: bool


def inherited_of(
    facts: RunFacts, trials: Sequence[Trial], objectives: Sequence[Objective], videos: tuple[int, int]
) -> tuple[Inherited, ...]:
    """All inherited networks, cheapest first. `videos` are the numbers of training and validation videos."""
    found = inherited_candidates(trials)
    best, by_number = front(found, objectives), {trial.number: trial for trial in trials}
    scratch = {c.architecture: c for c in candidates(trials, facts.seeds) if c.state is TrialState.COMPLETE}
    rows = []
    for candidate in sorted(found, key=lambda c: (c.cost.macs, c.numbers)):
        own = by_number[candidate.numbers[0]]
        line, start = lineage(own, trials), own.attempt.inherited
        rows.append(
            Inherited(
                candidate, tuple(trial.number for trial in line), sum(trial.reached for trial in line),
                sum(training_macs(trial, *videos, facts.views) for trial in line),
                start.top1 if start else None, start.differences if start else (), scratch.get(candidate.architecture),
                facts.epochs, whole_training_macs(candidate.cost.macs, facts.epochs, *videos, facts.views), candidate in best,
            )
        )  # fmt: skip
    return tuple(rows)


NOTE = (
    "They stand on a front of their own (✓) and decide nothing: parents' epochs count too, and inherited weights do not rank "
    "networks as trainings from scratch do. Epochs and multiply-adds of training: over the whole lineage / of one training from "
    "scratch."
)


def print_inherited(console: Console, rows: Sequence[Inherited], objectives: Sequence[Objective]) -> None:
    """Prints the inherited networks as a table, cheapest first; nothing if there are none."""
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return
    name = cost_name(objectives)
    size, unit = cost_unit((row.candidate.amount(name) for row in rows), name)
    table = Table(
        title=Text("Networks from inherited weights"), caption=Text(NOTE), title_justify="left", caption_justify="left"
    )
    for heading in (unit, "top-1 %", "✓", "scratch %", "epochs", "training", "trials"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        own, other = row.candidate, row.scratch
        cells = (
            show_cost(own.amount(name), size), show_top1(own.top1, own.noise, own.state), "✓" if row.on_front else "",
            show_top1(other.top1, other.noise, other.state) if other else "-", f"{row.epochs} / {row.scratch_epochs}",
            f"{format_macs(row.macs)} / {format_macs(row.scratch_macs)}", " > ".join(map(str, row.lineage)),
        )  # fmt: skip
        table.add_row(*map(Text, cells))
    console.print()
    console.print(table)
    for row in rows:
        console.print(Text(f"  trial {', '.join(map(str, row.candidate.numbers))}: {row.candidate.architecture}"))


def plain_inherited(row: Inherited) -> dict[str, object]:
    """A row of inherited.csv: accuracies as fractions, costs as whole numbers."""
    own = row.candidate
    return {
        "trials": " ".join(map(str, own.numbers)), "lineage": " ".join(map(str, row.lineage)), "state": own.state.value,
        "on_inherited_front": row.on_front, "architecture": str(own.architecture), "macs": own.cost.macs,
        "params": own.cost.params, "top1": own.top1, "spread": own.spread, "standard_error": own.standard_error,
        "top1_before_training": row.before, "differences": "; ".join(row.differences),
        "lineage_epochs": row.epochs, "lineage_train_macs": row.macs,
        "scratch_top1": row.scratch.top1 if row.scratch else None, "scratch_epochs": row.scratch_epochs,
        "scratch_train_macs": row.scratch_macs,
    }  # fmt: skip
