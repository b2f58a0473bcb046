"""The comparison over seeds as text: a table on the terminal (rich), a Markdown page, a note on the noise."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from expand.core.accuracy import percent
from expand.core.trial import TrialState
from expand.report.candidates import RunFacts
from expand.report.significance import Comparison, Network
from expand.report.tables import cost_unit, markdown_row, show_cost, show_top1

if TYPE_CHECKING:
    from rich.console import Console

BEATS = "beats beyond noise"
MOST_NAMES = 4  # in a cell; if there are more, only their number is shown
MOST_PAIRS = 45  # in a Markdown page: ten networks


def print_comparison(console: Console, facts: RunFacts, comparison: Comparison) -> None:
    """Prints the networks as a table, the best first, and below it the note on the noise. Accuracies are in percent."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(_title(facts, comparison)), title_justify="left")
    for heading, right in _headings(comparison):
        table.add_column(heading, justify="right" if right else "left", no_wrap=heading != BEATS)
    for cells in _rows(comparison):
        table.add_row(*map(Text, cells))
    console.print(table)
    console.print(Text(comparison_note(facts, comparison)))


def comparison_markdown(facts: RunFacts, comparison: Comparison) -> str:
    """The comparison as a Markdown page: the networks, the note on the noise, and up to `MOST_PAIRS` pairs."""
    headings = _headings(comparison)
    lines = [f"# {_title(facts, comparison)}", "", markdown_row(name for name, _ in headings)]
    lines += [markdown_row("---:" if right else "---" for _, right in headings)]
    lines += [markdown_row(cells) for cells in _rows(comparison)]
    lines += ["", comparison_note(facts, comparison), "", "## Pairs", ""]
    if len(comparison.pairs) > MOST_PAIRS:
        return "\n".join([*lines, f"All {len(comparison.pairs)} pairs are in comparison.csv."]) + "\n"
    names = (
        "better",
        "worse",
        "points",
        f"each of {_seeds(comparison)}",
        "standard error",
        "must exceed",
        "p, adjusted",
        "verdict",
    )
    lines += [markdown_row(names), markdown_row(("---", "---", *("---:",) * 5, "---"))]
    for pair in comparison.pairs:
        each = "  ".join(percent(value, signed=True) for value in pair.differences)
        points, error = percent(pair.difference), percent(pair.standard_error)
        needed = "" if pair.needed is None else percent(pair.needed)
        cells = (pair.better.label, pair.worse.label, points, each, error, needed, show_p(pair.p), pair.verdict)
        lines.append(markdown_row(cells))
    return "\n".join(lines) + "\n"


def comparison_note(facts: RunFacts, comparison: Comparison) -> str:
    """How large the noise is, what a difference must exceed, and under which conditions."""
    count, seeds = len(comparison.networks), len(comparison.seeds)
    epochs = f"{facts.epochs} epoch{'s' if facts.epochs != 1 else ''}"
    lines = [f"{count} networks x {seeds} seeds, {epochs}; {facts.accuracy}; {facts.noise}."]
    if comparison.least_difference is None:
        lines += [
            "Every difference is exactly the same for every seed: seed noise cannot be estimated, "
            "and no difference is called beyond it."
        ]
    else:
        lines += [_method(len(comparison.pairs), comparison.least_difference)]
    one = fmean(network.split_error for network in comparison.networks)
    two = fmean(pair.split_error for pair in comparison.pairs)
    lines += [
        f"The validation split adds noise: a binomial standard error of {percent(one)} points per network and "
        f"{percent(two)} points per difference on average, which is conservative, since all networks see the same clips. "
        "(In brackets): beyond seed noise, but within two standard errors of the split."
    ]
    if comparison.left_out:
        lines.append(f"Left out: {', '.join(f'{label} ({state.value})' for label, state in comparison.left_out)}.")
    return " ".join(lines)


def _method(pairs: int, least: float) -> str:
    noise = "Seed noise is that of initialisation and order of clips, with the same validation clips."
    if pairs == 1:
        return (
            f"A difference above {percent(least)} points is beyond seed noise: a paired t test over seeds, 5 %. {noise}"
        )
    return (
        f"To be beyond seed noise, a difference must exceed at least {percent(least)} points, and more between networks "
        "whose seeds disagree. Method: a studentised bootstrap over seeds as blocks, 5 % for all "
        f"{pairs} pairs together, in which a pair's standard error is at least the average pair's, and "
        f"the pair's own paired t test. {noise} A network that learns late with some seeds, but with none of these, looks "
        "better than it is; no test can detect that."
    )


def show_p(p: float | None) -> str:
    """A p value with three decimals; "" if unknown."""
    return "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def _title(facts: RunFacts, comparison: Comparison) -> str:
    ended = "" if facts.complete else ", search not ended"
    return f"Comparison of {len(comparison.networks)} networks, {facts.study} ({facts.scale}) on {facts.data}{ended}"


def _seeds(comparison: Comparison) -> str:
    return f"seeds {', '.join(map(str, comparison.seeds))}"


def _headings(comparison: Comparison) -> list[tuple[str, bool]]:
    """The headings, each with whether its column holds numbers."""
    _, unit = cost_unit(network.candidate.cost.macs for network in comparison.networks)
    numbers = (unit, "M params", "top-1 %", _seeds(comparison))
    return [("network", False), *((name, True) for name in numbers), (BEATS, False)]


def _rows(comparison: Comparison) -> list[list[str]]:
    size, _ = cost_unit(network.candidate.cost.macs for network in comparison.networks)
    return [
        [
            network.label,
            show_cost(network.candidate.cost.macs, size),
            show_cost(network.candidate.cost.params, 1e6),
            show_top1(network.top1, network.candidate.spread, TrialState.COMPLETE),
            "  ".join(map(percent, network.scores)),
            beaten_text(comparison, network),
        ]
        for network in comparison.networks
    ]


def beaten_text(comparison: Comparison, network: Network) -> str:
    """The networks that this one beats, by name if they are few; in brackets those beyond seed noise only."""
    clear, bracketed = comparison.beaten(network)
    if len(clear) + len(bracketed) <= MOST_NAMES:
        return ", ".join([*clear, *(f"({label})" for label in bracketed)])
    others = len(comparison.networks) - 1
    if not clear:
        return f"({len(bracketed)} of {others})"
    return f"{len(clear)} of {others}" + (f", ({len(bracketed)} more)" if bracketed else "")
