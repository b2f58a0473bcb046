"""The front and the ledger as tables, on the terminal (rich) and in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from expand.core.accuracy import resolution_text, with_error
from expand.core.study import Objective
from expand.core.trial import CONVENTION, TrialState
from expand.report.candidates import Candidate, CostName, RunFacts, cost_name, front
from expand.storage.test_results import Tested, TestResult, summary

if TYPE_CHECKING:
    from rich.console import Console

    from expand.strategies.ledger import LedgerEntry, LedgerStep

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def cost_unit(amounts: Iterable[float], name: CostName = "gmacs") -> tuple[float, str]:
    """One unit for all these costs: the largest unit in which the smallest is at least 0.01 and the largest at least 1."""
    if name == "latency_ms":
        return 1.0, "ms per clip"
    noun = " params" if name == "params_m" else "MACs"
    positive = [amount for amount in amounts if amount > 0] or [1e9]
    for size, prefix in _PREFIXES:
        if min(positive) >= size / 100 and max(positive) >= size:
            return size, f"{prefix}{noun}"
    return 1.0, noun.strip()


def show_cost(amount: float, size: float) -> str:
    """The cost in a unit of this size, with decimals that line up in a column: "1.10", "80.00", "0.0207", "35,840"."""
    value = amount / size
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{2 if value >= 0.1 or value <= 0 else 2 - math.floor(math.log10(value))}f}"


def show_top1(top1: float | None, noise: float | None, state: TrialState) -> str:
    """Percent with its noise, or the state if there is no accuracy."""
    if top1 is None or state is not TrialState.COMPLETE:
        return str(state.value)
    return with_error(top1, noise)


def _show_test(tested: Tested | None, *, several: bool) -> str:
    """Percent with its noise, and the views if several numbers of views were used."""
    if tested is None:
        return ""
    return with_error(tested.top1, tested.standard_error) + (f" ({tested.views})" if several else "")


def caption(facts: RunFacts) -> str:
    """The conditions of costs and accuracies, for below a table."""
    return f"{facts.convention}; {facts.accuracy}; {facts.training}; {facts.noise}"


def counted(candidates: Sequence[Candidate]) -> str:
    """How many candidates there are, by state: "16 complete, 1 failed"."""
    counts = {state: sum(candidate.state is state for candidate in candidates) for state in TrialState}
    return ", ".join(f"{count} {_STATE[state]}" for state, count in counts.items() if count) or "no candidates yet"


_STATE = {state: state.value for state in TrialState} | {TrialState.PRUNED: "stopped early"}


def print_front(
    console: Console,
    facts: RunFacts,
    candidates: Sequence[Candidate],
    objectives: Sequence[Objective],
    tests: Mapping[int, TestResult] | None = None,
) -> None:
    """Prints the front as a table, cheapest first, with the conventions below it. Accuracies are in percent. If networks were
    tested (`tests` by trial), a column shows the result and the views."""
    from rich.table import Table
    from rich.text import Text

    chosen, name = front(candidates, objectives), cost_name(objectives)
    size, unit = cost_unit((candidate.amount(name) for candidate in chosen), name)
    ended = "" if facts.complete else ", search not ended"
    title = f"Pareto front of {facts.study} ({facts.scale}) on {facts.data}: {counted(candidates)}{ended}"
    table = Table(title=Text(title), caption=Text(caption(facts)), title_justify="left", caption_justify="left")
    named = any(candidate.name for candidate in chosen)  # a grid: nothing was grown, so there are no steps
    label = "network" if named else "grown along"
    tested = [summary(tests or {}, candidate.numbers) for candidate in chosen]
    views = {each.views for each in tested if each}
    test = (f"test {min(views)} %" if len(views) == 1 else "test % (views)",) if views else ()
    for heading in (unit, "top-1 %", *test, "M params", *(() if named else ("step",)), label, "trial"):
        table.add_column(heading, justify="left" if heading == label else "right", no_wrap=True)
    for candidate, scored in zip(chosen, tested, strict=True):
        cells = (
            show_cost(candidate.amount(name), size),
            show_top1(candidate.top1, candidate.noise, candidate.state),
            *((_show_test(scored, several=len(views) > 1),) if test else ()),
            show_cost(candidate.cost.params, 1e6),
            *(() if named else (str(candidate.step),)),
            candidate.label,
            _numbers(candidate.numbers),
        )
        table.add_row(*map(Text, cells))
    console.print(table if chosen else Text(f"{title}\nNo candidate is complete: there is no front yet."))
    for candidate in chosen:  # below the table: a column would cut it off on most terminals
        console.print(Text(f"  trial {_numbers(candidate.numbers)}: {candidate.architecture}"))


def print_ledger(console: Console, steps: Sequence[LedgerStep], clips: int) -> None:
    """Prints each step as a table with every candidate, the chosen one (✓) and why; then the resolution of the accuracies."""
    from rich.table import Table
    from rich.text import Text

    size, unit = _ledger_unit(steps)
    for step in steps:
        table = Table(title=Text(_step_title(step, size, unit)), title_justify="left")
        for heading in _headings(unit):
            right = heading in (unit, "ratio", "top-1 %", "trial")
            table.add_column(heading, justify="right" if right else "left", no_wrap=heading != "change")
        for index, entry in enumerate(step.entries):
            style = "bold" if index == step.chosen else ""
            table.add_row(*map(Text, _ledger_cells(entry, index == step.chosen, size)), style=style)
        console.print(table)
        for line in (step.why, *step.notes):
            if line:
                console.print(Text(f"  {line}"))
        console.print()
    if steps:
        console.print(Text(_ledger_note(steps, clips)))


def ledger_markdown(steps: Sequence[LedgerStep], clips: int) -> str:
    """The ledger as a Markdown page."""
    size, unit = _ledger_unit(steps)
    lines = ["# Ledger", ""] if steps else ["# Ledger", "", "No step yet.", ""]
    for step in steps:
        headings = _headings(unit)
        lines += [f"## {_step_title(step, size, unit)}", "", markdown_row(headings)]
        lines += [
            markdown_row(["---:" if heading in (unit, "ratio", "top-1 %", "trial") else "---" for heading in headings])
        ]
        lines += [
            markdown_row(_ledger_cells(entry, index == step.chosen, size)) for index, entry in enumerate(step.entries)
        ] + [""]
        lines += [f"{line}\n" for line in (step.why, *step.notes) if line]
    lines += [_ledger_note(steps, clips)] if steps else []
    return "\n".join(lines).rstrip("\n") + "\n"


def _ledger_unit(steps: Sequence[LedgerStep]) -> tuple[float, str]:
    return cost_unit(entry.macs for step in steps for entry in step.entries)


def _ledger_note(steps: Sequence[LedgerStep], clips: int) -> str:
    seeded = any(entry.spread is not None for step in steps for entry in step.entries)
    noise = "sample standard deviation over seeds" if seeded else "standard error of the validation split"
    resolution = resolution_text(clips)
    return (
        f"Costs: {CONVENTION}; ratio: to the step's base; top-1 on the validation split, ± is the {noise}. "
        f"{resolution[0].upper()}{resolution[1:]}."
    )


def _headings(unit: str) -> list[str]:
    return ["axis", "change", unit, "ratio", "top-1 %", "chosen", "trial"]


def _step_title(step: LedgerStep, size: float, unit: str) -> str:
    base = f" from {step.base} ({show_cost(step.base_macs, size)} {unit})" if step.base is not None else ""
    return f"Step {step.step}: {step.kind}{base}"


def _ledger_cells(entry: LedgerEntry, chosen: bool, size: float) -> list[str]:
    noise = entry.spread if entry.spread is not None else entry.standard_error
    return [
        "=".join(entry.axes),
        entry.change,
        show_cost(entry.macs, size),
        f"{entry.ratio:.2f}",
        _predicted(entry) or show_top1(entry.top1, noise, entry.state),
        "✓" if chosen else "",
        _numbers(entry.trial_numbers),
    ]


def _predicted(entry: LedgerEntry) -> str:
    """What a candidate that was left out was expected to reach."""
    if entry.predicted is None or entry.state is not TrialState.PRUNED:
        return ""
    return f"predicted {with_error(*entry.predicted)}, not trained"


def _numbers(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def markdown_row(cells: Iterable[str]) -> str:
    """A row of a Markdown table, with bars and line ends in cells escaped."""
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
