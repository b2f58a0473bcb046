"""A comparison as text: tables and lines on the terminal (rich) and a Markdown page, both from the same cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from expand.core.accuracy import percent, with_error
from expand.core.units import format_macs
from expand.report.compare.fronts import Bin, Fronts, Versus, share_at
from expand.report.compare.intervals import Difference
from expand.report.compare.runs import Run
from expand.report.significance import Network
from expand.report.tables import cost_unit, markdown_row, show_cost

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Section:
    """A table with its title, headings (each with whether its column holds numbers), rows, and the lines below it."""

    title: str
    headings: tuple[tuple[str, bool], ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()


def sections(found: Fronts) -> list[Section]:
    """The runs, their hypervolumes, and the best networks at equal cost."""
    return [_runs(found), _hypervolumes(found), _equal_cost(found)]


def pair_section(runs: Sequence[Run], networks: Sequence[Network], difference: Difference) -> Section:
    """Two named networks."""
    size, unit = cost_unit(network.candidate.amount("gmacs") for network in networks)
    rows = tuple(
        (
            run.name, network.label, show_cost(network.candidate.amount("gmacs"), size),
            show_cost(network.candidate.cost.params, 1e6), with_error(mean, difference.own_half_width),
            "  ".join(map(percent, network.scores)),
        )
        for run, network, mean in zip(runs, networks, (difference.first, difference.second), strict=True)
    )  # fmt: skip
    headings = (
        ("run", False),
        ("network", False),
        (unit, True),
        ("M params", True),
        ("top-1 %", True),
        ("each seed", True),
    )
    ratio = networks[0].candidate.amount("gmacs") / networks[1].candidate.amount("gmacs")
    notes = (
        f"{show_difference(difference)} points at {ratio:.2f} of the cost: {show_verdict(difference, _names(runs, networks))}.",
        f"{_pair_noise(difference, runs[0], runs[1])} This holds for two networks that were named before their accuracies were "
        "known: between two picked from many, chance alone makes larger differences.",
        OVERLAP,
    )
    return Section("Two networks", headings, rows, notes)


SPLIT = (
    "It does not include the noise of the validation split, which is the same for all; differences within two standard errors of "
    "that are named."
)
DIFFERENCE = "difference, verdict"
OVERLAP = (
    "± is half the half-width of the difference's interval: networks whose intervals overlap are indistinguishable, "
    "because the interval of their difference contains 0."
)


def print_sections(console: Console, parts: Sequence[Section], warnings: Sequence[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    for warning in warnings:
        console.print(Text(f"warning: {warning}"))
    for part in parts:
        table = Table(title=Text(part.title), title_justify="left")
        for place, (heading, right) in enumerate(part.headings):
            least = 22 if heading == DIFFERENCE else None  # so that an interval stays on one line
            table.add_column(
                heading, justify="right" if right else "left", no_wrap=right or place == 0, min_width=least
            )
        for row in part.rows:
            table.add_row(*map(Text, row))
        console.print(table if part.rows else Text(part.title))
        for note in part.notes:
            console.print(Text(f"  {note}"))
        console.print()


def markdown(title: str, parts: Sequence[Section], warnings: Sequence[str], picture: str = "") -> str:
    lines = [f"# {title}", "", *(f"**Warning:** {warning}.\n" for warning in warnings)]
    if picture:
        lines += [f"![fronts]({picture})", ""]
    for part in parts:
        lines += [f"## {part.title}", ""]
        if part.rows:
            lines += [markdown_row(name for name, _ in part.headings)]
            lines += [markdown_row("---:" if right else "---" for _, right in part.headings)]
            lines += [*map(markdown_row, part.rows), ""]
        lines += [f"{note}\n" for note in part.notes]
    return "\n".join(lines).rstrip("\n") + "\n"


def show_difference(difference: Difference) -> str:
    """ "+3.1 (-1.0 to +7.2)", in points."""
    shown = percent(difference.value, signed=True)
    if difference.interval is None:
        return shown
    low, high = difference.interval
    return f"{shown} ({percent(low, signed=True)} to {percent(high, signed=True)})"


def show_verdict(difference: Difference, names: tuple[str, str]) -> str:
    """With the better one's name where they differ."""
    if difference.half_width is None or difference.indistinguishable:
        return difference.verdict
    return f"{names[0] if difference.value > 0 else names[1]} better, {difference.verdict}"


def _runs(found: Fronts) -> Section:
    size, unit = cost_unit([found.box.low, found.box.high], found.cost)
    headings = ("run", "seeds", "networks", unit, "best top-1 %", "trained")
    rows = tuple(_run_row(found, place, size) for place in range(len(found.runs)))
    studies = ", ".join(
        f"{run.name} is {run.about.study} ({run.about.scale}), {run.about.epochs} epochs" for run in found.runs
    )
    notes = [
        f"{studies}.",
        f"Accuracy: {found.runs[0].about.accuracy}; ± is {accuracy_noise(found.runs)}. Cost: {_cost_said(found)}.",
        "Trained: multiply-adds of all trainings, including backward passes and validation.",
    ]
    apart = [run.name for run in found.runs if not run.about.complete]
    notes += [f"Not ended yet: {', '.join(apart)}."] if apart else []
    left = [f"{run.left_out} of {run.name}" for run in found.runs if run.left_out]
    notes += [f"Left out, because not trained in full with every seed: {', '.join(left)}."] if left else []
    return Section("Runs", tuple((name, index > 0) for index, name in enumerate(headings)), rows, tuple(notes))


def _run_row(found: Fronts, place: int, size: float) -> tuple[str, ...]:
    run = found.runs[place]
    amounts = [network.candidate.amount(found.cost) for network in run.networks]
    best = max(run.networks, key=lambda network: network.top1)
    return (
        run.name, " ".join(map(str, run.seeds)), str(len(run.networks)),
        _range(min(amounts), max(amounts), size), with_error(best.top1, best.candidate.noise),
        format_macs(found.fronts[place].growth[-1].macs),
    )  # fmt: skip


def accuracy_noise(runs: Sequence[Run]) -> str:
    """What ± stands for after the accuracy of one network."""
    alone = [run.name for run in runs if len(run.seeds) == 1]
    split = "the binomial standard error of the validation split"
    if len(alone) == len(runs):
        return split
    return "the sample standard deviation over seeds" + (f", for {', '.join(alone)} {split}" if alone else "")


def _hypervolumes(found: Fronts) -> Section:
    least = found.equal_training
    headings = ("run", "hypervolume", "each seed's own", f"after {format_macs(least)} of training")
    rows = tuple(
        (
            run.name, percent(share), "  ".join(map(percent, seeds)), percent(share_at(front.growth, least)),
        )
        for run, share, seeds, front in zip(found.runs, found.shares, found.seed_shares, found.fronts, strict=True)
    )  # fmt: skip
    size, unit = cost_unit([found.box.low, found.box.high], found.cost)
    low, high = show_cost(found.box.low, size), show_cost(found.box.high, size)
    over = f" above {percent(found.box.floor)} %" if found.box.floor else ""
    notes = [
        f"Hypervolume: the best top-1{over} at each cost, averaged over costs from {low} to {high} {unit} on a log axis, in "
        f"points. The reference point is the upper end and top-1 {100 * found.box.floor:g} %. The range begins at the cost at "
        "which every run has a network; cheaper networks count from there on."
    ]
    notes += [_versus_line(found.runs, versus) for versus in found.versus]
    notes += [_family(len(found.versus), "hypervolumes")] if len(found.versus) > 1 else []
    return Section("Hypervolume", tuple((name, index > 0) for index, name in enumerate(headings)), rows, tuple(notes))


def _versus_line(runs: Sequence[Run], versus: Versus) -> str:
    first, second = runs[versus.first], runs[versus.second]
    verdict = show_verdict(versus.difference, (first.name, second.name))
    basis = _basis(versus.difference, first, second)
    return f"{first.name} less {second.name}: {show_difference(versus.difference)} points, {basis}: {verdict}."


def _equal_cost(found: Fronts) -> Section:
    size, unit = cost_unit([found.box.low, found.box.high], found.cost)
    headings = ((unit, True), ("network", False), ("top-1 %", True), (DIFFERENCE, False))
    rows = tuple(
        row for entry in found.bins for versus in entry.versus for row in _bin_rows(found, entry, versus, size)
    )
    title = f"Accuracy at equal cost, within {100 * found.width:g} %"
    if not rows:
        return Section(f"{title}: no two runs have networks of such similar cost; --bins makes the bins wider")
    shown = {(v.first, v.second): v.difference for entry in found.bins for v in entry.versus}
    notes = [_noise(d, found.runs[a], found.runs[b]) for (a, b), d in shown.items()]
    if any(max(entry.counts) > 1 for entry in found.bins):
        notes += [
            "Of several networks of a run in one bin the best counts, which favours the run that has more of them."
        ]
    notes += [_family(len(rows) // 2, "differences"), OVERLAP]
    return Section(title, headings, rows, tuple(dict.fromkeys(notes)))


def _bin_rows(found: Fronts, entry: Bin, versus: Versus, size: float) -> list[tuple[str, ...]]:
    """Two rows: the networks of one pair of runs in a bin, one below the other."""
    names, difference = (found.runs[versus.first].name, found.runs[versus.second].name), versus.difference
    sides = []
    for place, mean in ((versus.first, difference.first), (versus.second, difference.second)):
        network, count = entry.best[place], entry.counts[place]
        assert network is not None
        of = f", best of {count}" if count > 1 else ""
        sides.append((f"{found.runs[place].name}: {network.label}{of}", with_error(mean, difference.own_half_width)))
    costs = _range(entry.low, entry.high, size)
    return [
        (costs, *sides[0], show_difference(difference)),
        ("", *sides[1], show_verdict(difference, names)),
    ]


def _range(low: float, high: float, size: float) -> str:
    first, last = show_cost(low, size), show_cost(high, size)
    return first if first == last else f"{first} to {last}"


def _noise(difference: Difference, first: Run, second: Run) -> str:
    """How the intervals of a pair of runs were computed."""
    basis, names = _basis(difference, first, second), " and ".join(dict.fromkeys((first.name, second.name)))
    if difference.noise.basis == "clips":
        return f"{names}: {basis}."
    if difference.noise.standard_error is None:
        return f"{names}: the difference is exactly the same for all seeds, so its noise is unknown."
    return (
        f"{names}: {basis}; a difference has the standard error of its own seeds, but at least the average over all pairs "
        f"of their networks. {SPLIT}"
    )


def _pair_noise(difference: Difference, first: Run, second: Run) -> str:
    """The same for two networks given by name, whose noise comes from their own seeds alone."""
    if difference.noise.basis == "clips" or difference.noise.standard_error is None:
        return _noise(difference, first, second)
    test = "a paired" if difference.noise.basis == "paired" else "Welch's"
    error, freedom = percent(difference.noise.standard_error), difference.noise.freedom
    return (
        f"The difference, {_basis(difference, first, second)}, has a standard error of {error} points: {test} t test with "
        f"{freedom:.3g} degree{'s' if freedom != 1 else ''} of freedom. {SPLIT}"
    )


def _basis(difference: Difference, first: Run, second: Run) -> str:
    basis = difference.noise.basis
    if basis == "paired":
        shared = [seed for seed in first.seeds if seed in second.seeds]
        return f"paired over seeds {', '.join(map(str, shared))}"
    if basis == "unpaired":
        return "not paired, because the runs have fewer than two seeds in common"
    single = " and ".join(run.name for run in (first, second) if len(run.seeds) == 1)
    return (
        f"{single} trained one seed, so the variance of training is unknown; the interval is from the validation clips "
        "alone, a lower bound"
    )


def _family(count: int, what: str) -> str:
    intervals = "The interval holds" if count == 1 else f"All {count} intervals of {what} hold together"
    return f"{intervals} in 95 of 100 cases."


def _cost_said(found: Fronts) -> str:
    return {"params_m": "all parameters", "latency_ms": "measured, one clip"}.get(
        found.cost, found.runs[0].about.convention
    )


def _names(runs: Iterable[Run], networks: Iterable[Network]) -> tuple[str, str]:
    first, second = (f"{network.label} of {run.name}" for run, network in zip(runs, networks, strict=True))
    return first, second
