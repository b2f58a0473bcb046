"""Which networks differ by more than noise: all pairs of a run's candidates, paired over their common seeds.

All networks are trained with the same seeds, so the seeds are the blocks of a randomised complete block design (any textbook on
the design of experiments): top-1 = network + seed + residual, where each network has its own residual variance.
`report/noise.py` decides which differences are significant. All accuracies are fractions. Standard library only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from expand.core.accuracy import two_errors
from expand.core.trial import RaceSeeds, Trial, TrialState
from expand.report.candidates import Candidate, by_seed
from expand.report.noise import all_pairs, judge


@dataclass(frozen=True)
class Network:
    """A network that was trained in full with every seed; `scores` holds its top-1 for each seed, in the order of the seeds."""

    label: str
    candidate: Candidate
    scores: tuple[float, ...]

    @property
    def top1(self) -> float:
        return fmean(self.scores)

    @property
    def split_error(self) -> float:
        """Binomial standard error of the validation split."""
        return self.candidate.standard_error or 0.0


@dataclass(frozen=True)
class Pair:
    """Two networks, the better one first.

    Attributes:
        standard_error: of the mean difference, from seeds alone.
        needed: what the difference must exceed to be beyond seed noise; None if the noise is unknown.
        p: adjusted for all pairs; None if the noise is unknown.
    """

    better: Network
    worse: Network
    standard_error: float
    needed: float | None
    p: float | None

    @property
    def differences(self) -> tuple[float, ...]:
        """One a seed."""
        return tuple(round(a - b, 12) for a, b in zip(self.better.scores, self.worse.scores, strict=True))

    @property
    def difference(self) -> float:
        return round(fmean(self.differences), 12)

    @property
    def split_error(self) -> float:
        """Standard error of the difference from the finite validation split, as if the networks had been scored on different
        clips. They are scored on the same clips, most of which are easy or hard for both, so the true value is smaller."""
        return math.hypot(self.better.split_error, self.worse.split_error)

    @property
    def beyond_seeds(self) -> bool:
        return self.needed is not None and self.difference > self.needed

    @property
    def beyond_split(self) -> bool:
        """Whether the difference is at least two standard errors of the split."""
        return self.difference >= two_errors(self.better.split_error, self.worse.split_error)

    @property
    def verdict(self) -> str:
        if self.p is None:
            return "noise unknown"
        if not self.beyond_seeds:
            return "within seed noise"
        return "beyond noise" if self.beyond_split else "beyond seed noise, within the split's"


@dataclass(frozen=True)
class Comparison:
    """All networks, the best first (the cheaper one of two equal ones), and all pairs. `left_out` holds the labels and states of
    the candidates that some seed has not completed."""

    seeds: tuple[int, ...]
    networks: tuple[Network, ...]
    pairs: tuple[Pair, ...]
    left_out: tuple[tuple[str, TrialState], ...]

    @property
    def least_difference(self) -> float | None:
        """The smallest difference that can be beyond seed noise: between two networks of small spread. None if the seeds show
        no noise."""
        return min((pair.needed for pair in self.pairs if pair.needed is not None), default=None)

    def beaten(self, network: Network) -> tuple[list[str], list[str]]:
        """Labels of the networks that it beats beyond noise, and of those that it beats beyond seed noise only."""
        won = [pair for pair in self.pairs if pair.better is network and pair.beyond_seeds]
        clear = [pair.worse.label for pair in won if pair.beyond_split]
        return clear, [pair.worse.label for pair in won if not pair.beyond_split]


def compare(candidates: Sequence[Candidate], trials: Sequence[Trial], seeds: Sequence[int]) -> Comparison | None:
    """The comparison of all complete candidates; None with fewer than two of them or fewer than two seeds.

    If each difference between networks is exactly the same for every seed, the seeds show no noise. A few trainings cannot
    prove that there is none, so no difference is then called beyond noise. A race has no such comparison: who gets more seeds
    depends on the results, and its ledger judges them.
    """
    if isinstance(seeds, RaceSeeds):
        return None
    networks, left_out = scored_networks(candidates, trials, seeds)
    if len(networks) < 2 or len(seeds) < 2:
        return None
    networks.sort(key=lambda n: (-round(n.top1, 12), n.candidate.cost.macs, n.candidate.numbers))
    rows = tuple(network.scores for network in networks)
    places = all_pairs(len(networks))
    pairs = tuple(
        Pair(networks[a], networks[b], found.standard_error, found.needed, found.p)
        for (a, b), found in zip(places, judge(rows, places), strict=True)
    )
    return Comparison(tuple(seeds), tuple(networks), pairs, tuple(left_out))


def scored_networks(
    candidates: Sequence[Candidate], trials: Sequence[Trial], seeds: Sequence[int]
) -> tuple[list[Network], list[tuple[str, TrialState]]]:
    """The complete candidates with their scores in the order of the seeds, and the labels and states of the others."""
    by_number = {trial.number: trial for trial in trials}
    networks: list[Network] = []
    left_out: list[tuple[str, TrialState]] = []
    for candidate, label in zip(candidates, unique_labels(candidates), strict=True):
        if candidate.state is TrialState.COMPLETE:
            scored = by_seed([by_number[number] for number in candidate.numbers])
            scores = [metrics.top1 for seed in seeds if (metrics := scored[seed].metrics)]
            networks.append(Network(label, candidate, tuple(scores)))
        else:
            left_out.append((label, candidate.state))
    return networks, left_out


def unique_labels(candidates: Sequence[Candidate]) -> list[str]:
    """A label for each: its name, or step and axis as in "3 depth", with its first trial if two labels were equal."""
    labels = [candidate.name or f"{candidate.step} {candidate.label}" for candidate in candidates]
    times = Counter(labels)
    return [
        label if times[label] == 1 else f"{label} (trial {candidate.numbers[0]})"
        for candidate, label in zip(candidates, labels, strict=True)
    ]
