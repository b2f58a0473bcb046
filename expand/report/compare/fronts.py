"""Compares several runs: fronts, hypervolumes, training spent, and the best networks at equal cost.

Pure functions of runs. There are two families of confidence intervals, each with 95 % simultaneous coverage: hypervolumes of all
pairs of runs, and accuracies of all pairs in all bins of equal cost. Standard library; numpy where intervals need it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean, stdev

from expand.core.errors import UsageError
from expand.core.study import Objective
from expand.report.candidates import CostName, cost_name, front
from expand.report.compare import intervals
from expand.report.compare.intervals import Difference, Noise
from expand.report.compare.runs import Run
from expand.report.front import Front
from expand.report.hypervolume import Box, Moment, box_of, growth, training_macs
from expand.report.significance import Network

UNITS = {"gmacs": 1e9, "params_m": 1e6, "latency_ms": 1.0}  # divisor of a cost's amount
RESAMPLED = 300  # resamples of the validation clips for the noise of a hypervolume


@dataclass(frozen=True)
class Versus:
    """The difference between two runs, which are given by their indices. `seeds` are the seeds it is paired over."""

    first: int
    second: int
    difference: Difference
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Bin:
    """Networks of about equal cost: the best of each run (None if it has none), out of how many, and each pair of runs."""

    low: float
    high: float
    best: tuple[Network | None, ...]
    counts: tuple[int, ...]
    versus: tuple[Versus, ...]


@dataclass(frozen=True)
class Fronts:
    """The comparison of several runs.

    Attributes:
        fronts: of each run, for the figure.
        shares: hypervolume of each run's front, from means over seeds.
        seed_shares: hypervolume of each seed's front, per run.
        width: relative width of the bins of equal cost.
    """

    runs: tuple[Run, ...]
    cost: CostName
    box: Box
    fronts: tuple[Front, ...]
    shares: tuple[float, ...]
    seed_shares: tuple[tuple[float, ...], ...]
    versus: tuple[Versus, ...]
    bins: tuple[Bin, ...]
    width: float

    @property
    def equal_training(self) -> int:
        """Training multiply-adds that every run has reached."""
        return min(front.growth[-1].macs for front in self.fronts)


def compare_fronts(
    runs: Sequence[Run], cost: CostName, *, width: float = 0.1, reference: dict[str, float] | None = None
) -> Fronts:
    """Compares two runs or more over a cost.

    Args:
        width: the most expensive network of a bin costs at most 1 + `width` times its cheapest.
        reference: bounds of the hypervolume: the cost in its unit, "top1" as a fraction.

    Raises:
        UsageError: a run in which this cost is unknown, or an impossible reference.
    """
    runs = tuple(_known(run, cost) for run in runs)
    box = _box(runs, cost, reference or {})
    points = [_points(run, cost) for run in runs]
    aims = (Objective("top1", "maximize"), Objective(cost, "minimize", known_before_training=True))
    seed_shares = tuple(
        tuple(box.share([(amount, scores[i]) for amount, scores in own]) for i in range(len(run.seeds)))
        for run, own in zip(runs, points, strict=True)
    )
    return Fronts(
        runs, cost, box,
        fronts=tuple(_front(run, aims, box) for run in runs),
        shares=tuple(box.share([(amount, fmean(scores)) for amount, scores in own]) for own in points),
        seed_shares=seed_shares,
        versus=_share_differences(runs, cost, box, seed_shares),
        bins=find_bins(runs, cost, width),
        width=width,
    )  # fmt: skip


def find_bins(runs: Sequence[Run], cost: CostName, width: float) -> tuple[Bin, ...]:
    """Bins of equal cost. A bin begins at the cheapest remaining network that has one of another run within the width."""
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
        ceiling = everyone[0][0] * (1 + width) * (1 + 1e-12)  # a network at exactly the width belongs to the bin
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
    """Top-1 of networks of one run minus that of another run's, in a table of `count` differences. The noise is estimated from
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
    """The hypervolume after this many training multiply-adds."""
    return max((moment.volume for moment in moments if moment.macs <= macs), default=0.0)


def _front(run: Run, aims: Sequence[Objective], box: Box) -> Front:
    """The front of the run's complete networks."""
    about, found = run.about, tuple(network.candidate for network in run.networks)
    clips = run.facts.clips_of_epoch
    spent = {trial.number: training_macs(trial, clips, about.clips, about.views) for trial in run.trials}
    cost = cost_name(aims)
    moments = growth(run.trials, found, cost, box, spent)
    return Front(run.name, about, cost, found, front(found, aims), box=box, growth=moments)


def _known(run: Run, cost: CostName) -> Run:
    """The run without the networks whose cost is unknown."""
    networks = tuple(network for network in run.networks if network.candidate.amount(cost) > 0)
    if not networks:
        raise UsageError(
            f"--cost {cost}: it was not measured in {run.name}; a run with --limit 'latency_ms<=...' measures it. "
            "Use gmacs or params_m"
        )
    return replace(run, networks=networks, left_out=run.left_out + len(run.networks) - len(networks))


def _box(runs: Sequence[Run], cost: CostName, reference: dict[str, float]) -> Box:
    own = box_of([[network.candidate for network in run.networks] for run in runs], cost)
    assert own is not None  # every run has a network whose cost is known
    high, floor = reference.get(cost), reference.get("top1", 0.0)
    if high is not None and high * UNITS[cost] <= own.low:
        run = max(runs, key=lambda run: min(network.candidate.amount(cost) for network in run.networks))
        raise UsageError(
            f"--reference {cost}={high:g}: the cheapest network of {run.name} costs {own.low / UNITS[cost]:.4g} already"
        )
    if not 0 <= floor < 1:
        raise UsageError(f"--reference top1={floor:g}: a fraction from 0 to below 1, such as the chance level 0.1")
    return Box(own.low, own.high if high is None else high * UNITS[cost], floor)


def _points(run: Run, cost: CostName) -> list[tuple[float, tuple[float, ...]]]:
    return [(network.candidate.amount(cost), network.scores) for network in run.networks]


def _bin(group: Sequence[tuple[float, int, Network]], runs: int) -> Bin:
    members = [[network for _, place, network in group if place == run] for run in range(runs)]
    # of equal accuracies the cheaper network: they are sorted by cost
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
    """Differences in hypervolume of all pairs of runs. Each seed's front gives one score; with one seed, clips are resampled."""
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
    """Standard deviation of the hypervolume of the first seed's front over resampled validation clips, with a fixed seed."""
    import numpy

    clips, points = run.about.clips, _points(run, cost)
    guesses = [(scores[0] * clips + 1) / (clips + 2) for _, scores in points]
    drawn = numpy.random.default_rng(0).binomial(clips, guesses, (RESAMPLED, len(points))) / clips
    amounts = [amount for amount, _ in points]
    return stdev(box.share(list(zip(amounts, row, strict=True))) for row in drawn.tolist())
