"""Several runs side by side: fronts, the area below them, what it cost to get there, and the best networks at equal cost.

Pure functions of runs. Two families of differences, each of which holds together with 95 %: the hypervolumes of all pairs of
runs, and the accuracies of all pairs in all bins of equal cost. Standard library; numpy where intervals need it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean, stdev

from expand.core.errors import UsageError
from expand.core.pareto import hypervolume
from expand.core.study import Objective
from expand.report.candidates import Candidate, CostName, front
from expand.report.compare import intervals
from expand.report.compare.intervals import Difference, Noise
from expand.report.compare.runs import Run
from expand.report.hypervolume import COST_AND_ACCURACY, training_macs
from expand.report.significance import Network

UNITS = {"gmacs": 1e9, "params_m": 1e6, "latency_ms": 1.0}  # what a cost's amount is divided by
RESAMPLED = 300  # draws of validation clips for the noise of a hypervolume


@dataclass(frozen=True)
class Box:
    """What hypervolumes are measured in, the same for all runs: costs from `low`, where every run has a network, to the
    reference, by default twice the dearest network of any run, so that this one counts too, on a log axis; top-1 from
    `floor` up."""

    low: float
    high: float
    floor: float = 0.0

    def share(self, points: Sequence[tuple[float, float]]) -> float:
        """Best top-1 above the floor to be had, averaged over the log of cost; where there is no network yet it is 0, and one
        cheaper than `low` counts from there on. Points are (cost, top-1)."""
        logs = [(math.log2(max(cost, self.low)), top1) for cost, top1 in points]
        area = hypervolume(logs, COST_AND_ACCURACY, (math.log2(self.high), self.floor))
        return area / math.log2(self.high / self.low)


@dataclass(frozen=True)
class Versus:
    """Two runs by their positions, and how much they differ. `seeds` are those that the difference is paired over."""

    first: int
    second: int
    difference: Difference
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Bin:
    """Networks of about one cost: the best of each run (None where it has none), of how many, and each pair of runs."""

    low: float
    high: float
    best: tuple[Network | None, ...]
    counts: tuple[int, ...]
    versus: tuple[Versus, ...]


@dataclass(frozen=True)
class Moment:
    """Multiply-adds of all trainings so far, and the hypervolume of what they had found."""

    macs: int
    share: float


@dataclass(frozen=True)
class Fronts:
    """All of it. `shares` are hypervolumes of the fronts that are drawn (means over seeds), `seed_shares` each seed's own;
    `growth` is what each run had found after so much training."""

    runs: tuple[Run, ...]
    cost: CostName
    box: Box
    fronts: tuple[tuple[Candidate, ...], ...]
    shares: tuple[float, ...]
    seed_shares: tuple[tuple[float, ...], ...]
    versus: tuple[Versus, ...]
    bins: tuple[Bin, ...]
    width: float
    growth: tuple[tuple[Moment, ...], ...]

    @property
    def equal_training(self) -> int:
        """Multiply-adds of training that every run has spent."""
        return min(moments[-1].macs for moments in self.growth)


def compare_fronts(
    runs: Sequence[Run], cost: CostName, *, width: float = 0.1, reference: dict[str, float] | None = None
) -> Fronts:
    """Compares two runs or more over a cost. Bins are so wide that their dearest network costs up to 1 + `width` times their
    cheapest. `reference` may hold the cost's and top-1's reference, in the cost's unit and as a fraction.

    Raises:
        UsageError: a run where this cost is not known, a reference outside of what can be.
    """
    runs = tuple(_known(run, cost) for run in runs)
    box = _box(runs, cost, reference or {})
    points = [_points(run, cost) for run in runs]
    aims = (Objective("top1", "maximize"), Objective(cost, "minimize"))
    seed_shares = tuple(
        tuple(box.share([(amount, scores[i]) for amount, scores in own]) for i in range(len(run.seeds)))
        for run, own in zip(runs, points, strict=True)
    )
    return Fronts(
        runs, cost, box,
        fronts=tuple(front([network.candidate for network in run.networks], aims) for run in runs),
        shares=tuple(box.share([(amount, fmean(scores)) for amount, scores in own]) for own in points),
        seed_shares=seed_shares,
        versus=_share_differences(runs, cost, box, seed_shares),
        bins=find_bins(runs, cost, width),
        width=width,
        growth=tuple(_growth(run, cost, box) for run in runs),
    )  # fmt: skip


def find_bins(runs: Sequence[Run], cost: CostName, width: float) -> tuple[Bin, ...]:
    """A bin begins at the cheapest network from which on networks of two runs lie within the width."""
    everyone = sorted(
        (
            (network.candidate.amount(cost), place, network)
            for place, run in enumerate(runs)
            for network in run.networks
        ),
        key=lambda entry: entry[:2],
    )
    groups = []
    while everyone:
        ceiling = everyone[0][0] * (1 + width) * (1 + 1e-12)  # a network at exactly the width is in
        inside = [entry for entry in everyone if entry[0] <= ceiling]
        if len({place for _, place, _ in inside}) > 1:
            groups.append(inside)
            everyone = everyone[len(inside) :]
        else:
            everyone = everyone[1:]
    found = [_bin(group, len(runs)) for group in groups]
    wanted: dict[tuple[int, int], list[tuple[int, Network, Network]]] = {}
    for place, entry in enumerate(found):
        for a, one, b, two in _pairs(entry):
            wanted.setdefault((a, b), []).append((place, one, two))
    count = sum(map(len, wanted.values()))
    versus: list[list[Versus]] = [[] for _ in found]
    for (a, b), own in wanted.items():
        differences = network_differences(runs[a], runs[b], [(one, two) for _, one, two in own], count)
        for (place, _, _), difference in zip(own, differences, strict=True):
            versus[place].append(Versus(a, b, difference, _paired(runs[a], runs[b])))
    return tuple(
        replace(entry, versus=tuple(sorted(own, key=lambda each: (each.first, each.second))))
        for entry, own in zip(found, versus, strict=True)
    )


def network_differences(
    first: Run, second: Run, pairs: Sequence[tuple[Network, Network]], count: int
) -> list[Difference]:
    """Top-1 of networks of one run less that of networks of another, in a table of `count` differences. The noise is judged among
    all networks of the two runs."""
    basis, ours, theirs = intervals.shared_seeds(first.seeds, second.seeds)
    splits = [math.hypot(one.split_error, two.split_error) for one, two in pairs]
    means = [(fmean(first.scores(one, ours)), fmean(second.scores(two, theirs))) for one, two in pairs]
    if basis == "clips":
        noises = [intervals.clip_noise(a, b, (first.about.clips, second.about.clips)) for a, b in means]
        found = [(noise, intervals.clip_half_width(noise, intervals.share(1, count))) for noise in noises]
    else:
        found = intervals.seed_noise(
            [first.scores(network, ours) for network in first.networks],
            [second.scores(network, theirs) for network in second.networks],
            [(first.networks.index(one), second.networks.index(two)) for one, two in pairs],
            paired=basis == "paired", error=intervals.share(len(pairs), count),
        )  # fmt: skip
    return [
        Difference(a, b, noise, width, split)
        for (a, b), (noise, width), split in zip(means, found, splits, strict=True)
    ]


def share_at(moments: Sequence[Moment], macs: int) -> float:
    """The hypervolume after so much training."""
    return max((moment.share for moment in moments if moment.macs <= macs), default=0.0)


def _known(run: Run, cost: CostName) -> Run:
    """The run with the networks only whose cost is known."""
    networks = tuple(network for network in run.networks if network.candidate.amount(cost) > 0)
    if not networks:
        raise UsageError(
            f"--cost {cost}: it was not measured in {run.name}; a run with --limit 'latency_ms<=...' measures it. "
            "Use gmacs or params_m"
        )
    return replace(run, networks=networks, left_out=run.left_out + len(run.networks) - len(networks))


def _box(runs: Sequence[Run], cost: CostName, reference: dict[str, float]) -> Box:
    amounts = [[network.candidate.amount(cost) for network in run.networks] for run in runs]
    low, dearest = max(map(min, amounts)), max(map(max, amounts))
    high, floor = reference.get(cost), reference.get("top1", 0.0)
    if high is not None and high * UNITS[cost] <= low:
        place = [min(own) for own in amounts].index(low)
        raise UsageError(
            f"--reference {cost}={high:g}: the cheapest network of {runs[place].name} costs {low / UNITS[cost]:.4g} already"
        )
    if not 0 <= floor < 1:
        raise UsageError(f"--reference top1={floor:g}: a fraction from 0 to below 1, such as the chance level 0.1")
    return Box(low, 2 * dearest if high is None else high * UNITS[cost], floor)


def _points(run: Run, cost: CostName) -> list[tuple[float, tuple[float, ...]]]:
    return [(network.candidate.amount(cost), network.scores) for network in run.networks]


def _bin(group: Sequence[tuple[float, int, Network]], runs: int) -> Bin:
    members = [[network for _, place, network in group if place == run] for run in range(runs)]
    # of equal accuracies the cheaper one: networks come by rising cost
    best = tuple(max(own, key=lambda network: round(network.top1, 12)) if own else None for own in members)
    return Bin(group[0][0], group[-1][0], best, tuple(map(len, members)), ())


def _pairs(entry: Bin) -> list[tuple[int, Network, int, Network]]:
    present = [(place, network) for place, network in enumerate(entry.best) if network is not None]
    return [(a, one, b, two) for (a, one), (b, two) in combinations(present, 2)]


def _paired(first: Run, second: Run) -> tuple[int, ...]:
    basis, ours, _ = intervals.shared_seeds(first.seeds, second.seeds)
    return ours if basis == "paired" else ()


def _share_differences(
    runs: Sequence[Run], cost: CostName, box: Box, seed_shares: Sequence[Sequence[float]]
) -> tuple[Versus, ...]:
    """Hypervolume of each pair of runs, every seed's front being one score; with one seed, clips are drawn again."""
    pairs = list(combinations(range(len(runs)), 2))
    error = intervals.share(1, len(pairs))
    spreads = [_clip_spread(run, cost, box) if len(runs[i].seeds) == 1 else None for i, run in enumerate(runs)]
    found = []
    for a, b in pairs:
        basis, ours, theirs = intervals.shared_seeds(runs[a].seeds, runs[b].seeds)
        one = [share for seed, share in zip(runs[a].seeds, seed_shares[a], strict=True) if seed in ours]
        two = [share for seed, share in zip(runs[b].seeds, seed_shares[b], strict=True) if seed in theirs]
        if basis == "clips":
            spread = math.hypot(*(spreads[i] or _clip_spread(runs[i], cost, box) for i in (a, b)))
            noise = Noise("clips", spread or None, math.inf)
            width = intervals.clip_half_width(noise, error)
        else:
            ((noise, width),) = intervals.seed_noise([one], [two], [(0, 0)], paired=basis == "paired", error=error)
        found.append(Versus(a, b, Difference(fmean(one), fmean(two), noise, width), _paired(runs[a], runs[b])))
    return tuple(found)


def _clip_spread(run: Run, cost: CostName, box: Box) -> float:
    """Standard deviation of the hypervolume of the first seed's front when validation clips are drawn again, by chance but
    always the same."""
    import numpy

    clips, points = run.about.clips, _points(run, cost)
    guesses = [(scores[0] * clips + 1) / (clips + 2) for _, scores in points]
    drawn = numpy.random.default_rng(0).binomial(clips, guesses, (RESAMPLED, len(points))) / clips
    amounts = [amount for amount, _ in points]
    return stdev(box.share(list(zip(amounts, row, strict=True))) for row in drawn.tolist())


def _growth(run: Run, cost: CostName, box: Box) -> tuple[Moment, ...]:
    """One moment a trial that has ended, in the order of their ends; a network counts once its last seed is trained."""
    videos = run.facts["data"]["videos"]
    last = {max(network.candidate.numbers): network for network in run.networks}
    spent, share, moments = 0, 0.0, [Moment(0, 0.0)]
    points: list[tuple[float, float]] = []
    for trial in sorted(
        (trial for trial in run.trials if trial.state.ended), key=lambda trial: (trial.ended, trial.number)
    ):
        spent += training_macs(trial, videos["train"], run.about.clips, run.about.views)
        if network := last.get(trial.number):
            points.append((network.candidate.amount(cost), network.top1))
            share = box.share(points)
        moments.append(Moment(spent, share))
    return tuple(moments)
