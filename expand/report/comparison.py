"""Which networks differ by more than noise: all pairs of a run's candidates, paired over the seeds they share.

Every network is trained with the same seeds, so that the seeds are the blocks of a randomised complete block design (any
textbook on the design of experiments): top-1 = network + seed + residual. The residuals of all networks together give the
noise; Tukey's honestly significant difference (J. W. Tukey, "Comparing individual means in the analysis of variance",
Biometrics 5, 1949) holds the chance of any false alarm among all pairs at 5 %. With two networks it is the paired t test.

All accuracies are fractions. Standard library only; scipy is imported by the function that needs it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from statistics import fmean

from expand.report.candidates import Candidate, by_seed
from expand.trial import Trial, TrialState

FAMILY_ERROR = 0.05  # the chance of one false alarm or more among all pairs of equal networks
EQUAL = 1e-9  # accuracies are counts over clips: what is nearer than this differs by rounding only


@dataclass(frozen=True)
class Network:
    """One that was trained in full with every seed; `scores` are its top-1, one a seed, in the order of the seeds."""

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
    """Two networks, the better one first. `standard_error` is that of the mean difference from seeds alone; `p` is
    adjusted for all pairs and None where the noise is not known."""

    better: Network
    worse: Network
    standard_error: float
    p: float | None
    beyond_seeds: bool

    @property
    def differences(self) -> tuple[float, ...]:
        """One a seed."""
        return tuple(round(a - b, 12) for a, b in zip(self.better.scores, self.worse.scores, strict=True))

    @property
    def difference(self) -> float:
        return round(fmean(self.differences), 12)

    @property
    def split_error(self) -> float:
        """Standard error of the difference from the finite validation split, as if each network had been scored on clips of
        its own. The networks see the same clips, and a clip that is easy is easy for most, so the true one is smaller."""
        return math.hypot(self.better.split_error, self.worse.split_error)

    @property
    def beyond_split(self) -> bool:
        """Whether it is two standard errors of the split's noise or more."""
        return self.difference >= 2 * self.split_error

    @property
    def verdict(self) -> str:
        if self.p is None:
            return "noise unknown"
        if not self.beyond_seeds:
            return "within seed noise"
        return "beyond noise" if self.beyond_split else "beyond seed noise, within the split's"


@dataclass(frozen=True)
class Comparison:
    """Networks best first (of equals the cheaper one), and all their pairs. `noise` is the standard deviation of one
    training with what a seed does to all networks taken off; `hsd` is what a difference must exceed, None where `noise` is
    zero. `left_out` are the candidates that not every seed has completed, with their states."""

    seeds: tuple[int, ...]
    networks: tuple[Network, ...]
    pairs: tuple[Pair, ...]
    noise: float
    degrees_of_freedom: int
    hsd: float | None
    left_out: tuple[tuple[str, TrialState], ...]

    def beaten(self, network: Network) -> tuple[list[str], list[str]]:
        """Labels of the networks that this one beats beyond noise, and of those it beats beyond seed noise only."""
        won = [pair for pair in self.pairs if pair.better is network and pair.beyond_seeds]
        clear = [pair.worse.label for pair in won if pair.beyond_split]
        return clear, [pair.worse.label for pair in won if not pair.beyond_split]


def compare(candidates: Sequence[Candidate], trials: Sequence[Trial], seeds: Sequence[int]) -> Comparison | None:
    """The comparison of all complete candidates; None with fewer than two of them or fewer than two seeds.

    Where every difference between networks is the same with every seed, to the last clip, the seeds show no noise at all.
    A few trainings cannot prove that there is none, so that no difference is then called beyond noise.
    """
    networks, left_out = scored_networks(candidates, trials, seeds)
    if len(networks) < 2 or len(seeds) < 2:
        return None
    networks.sort(key=lambda n: (-round(n.top1, 12), n.candidate.cost.macs, n.candidate.numbers))
    noise, freedom, hsd = honest_difference([network.scores for network in networks])
    error = noise * math.sqrt(2 / len(seeds))
    pairs = []
    for better, worse in combinations(networks, 2):
        gap = better.top1 - worse.top1
        # the studentized range is over the standard error of one mean, hence the root of 2
        p = None if hsd is None else _p_value(round(math.sqrt(2) * gap / error, 9), len(networks), freedom)
        pairs.append(Pair(better, worse, error, p, hsd is not None and gap > hsd))
    return Comparison(tuple(seeds), tuple(networks), tuple(pairs), noise, freedom, hsd, tuple(left_out))


def scored_networks(
    candidates: Sequence[Candidate], trials: Sequence[Trial], seeds: Sequence[int]
) -> tuple[list[Network], list[tuple[str, TrialState]]]:
    """The complete candidates with the score of each seed, in their order, and the labels and states of the others."""
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


def honest_difference(scores: Sequence[Sequence[float]]) -> tuple[float, int, float | None]:
    """For N networks' scores with S seeds each, at least two of both: the residual standard deviation, its (N-1)(S-1)
    degrees of freedom, and Tukey's honestly significant difference of two means (None where the deviation is zero)."""
    rows, columns = [fmean(row) for row in scores], [fmean(column) for column in zip(*scores, strict=True)]
    middle = fmean(rows)
    freedom = (len(rows) - 1) * (len(columns) - 1)
    squares = sum(
        (score - row - column + middle) ** 2
        for row, own in zip(rows, scores, strict=True)
        for column, score in zip(columns, own, strict=True)
    )
    noise = math.sqrt(squares / freedom)
    if noise < EQUAL:
        return 0.0, freedom, None
    return noise, freedom, _critical(len(rows), freedom) * noise / math.sqrt(len(columns))


def unique_labels(candidates: Sequence[Candidate]) -> list[str]:
    """What to call each: its name, or step and axis as in "3 depth", with its first trial where two would be called the
    same."""
    labels = [candidate.name or f"{candidate.step} {candidate.label}" for candidate in candidates]
    times = Counter(labels)
    return [
        label if times[label] == 1 else f"{label} (trial {candidate.numbers[0]})"
        for candidate, label in zip(candidates, labels, strict=True)
    ]


@lru_cache(maxsize=256)
def _critical(networks: int, freedom: int) -> float:
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(1 - FAMILY_ERROR, networks, freedom))


@lru_cache(maxsize=10_000)  # scipy takes 10 ms for one, and a report needs each several times
def _p_value(q: float, networks: int, freedom: int) -> float:
    from scipy.stats import studentized_range

    return min(max(float(studentized_range.sf(q, networks, freedom)), 0.0), 1.0)
