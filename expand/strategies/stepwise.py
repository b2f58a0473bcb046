"""Stepwise expansion: the search that found X3D (arXiv 2004.04730, section 3.2).

Each step grows every axis of the current network alone until the cost has about doubled, and trains all these candidates. The
most accurate one becomes the current network, until the cost reaches the target. If the last step exceeds the target, the
axis that was expanded last is contracted until the cost meets it.

All functions are pure functions of the trials. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from expand.core.errors import UsageError
from expand.core.space import Architecture, Axis, SearchSpace
from expand.core.study import CountMacs, Study
from expand.core.trial import Suggestion, Trial
from expand.strategies.ladders import first_that
from expand.strategies.ledger import choose, entries_of, noise_of, race_of
from expand.strategies.racing import Standing, next_seeds

RACED = "another seed, because the choice is open: "


@dataclass(frozen=True)
class Stepwise:
    """Grows every axis alone until the cost has about doubled, trains all these candidates, and continues from the best one.

    Source: X3D (arXiv 2004.04730), section 3.2.

    Attributes:
        factor: how much one step multiplies the cost.
        growth: "solved" takes on each axis the network whose cost is nearest to `factor` times the current one; "paper" takes
            the paper's fixed steps, whose ratios drift (1.84 to 2.22 over its search).
        axes: names of the axes to grow; empty grows all axes of the space.
        reach: share of a target from which it counts as reached. The paper's networks stop at 0.90 (XL) to 1.01 (XS) of
            their targets.
        overshoot: share of a target above which the network is contracted.
        race: train every candidate of a step with the first of the study's seeds, and with more of them only while the choice is
            open: while not choosing a rival is expected to lose more than this accuracy. 0 trains all with all seeds.
        screen: train a candidate only while a model of all trainings so far expects it to gain more than this accuracy over the
            leader of its step (`screening.py`); the others are recorded with their prediction. 0 trains all.

    Examples:
        >>> from expand.counting.cost import cost_of
        >>> from studies.x3d_stepwise import study
        >>> demo = study("demo")
        >>> for suggestion in demo.strategy.ask(demo, [], lambda network: cost_of(demo.space, network, 10).macs):
        ...     print(suggestion.step, suggestion.kind, *suggestion.axes)
        0 start
        1 expand frame_rate frames
        1 expand resolution
        1 expand depth
        1 expand width
        1 expand bottleneck
    """

    factor: float = 2.0
    growth: Literal["solved", "paper"] = "solved"
    axes: tuple[str, ...] = ()
    reach: float = 1.0
    overshoot: float = 1.0
    race: float = 0.0
    screen: float = 0.0

    def ask(self, study: Study, trials: Sequence[Trial], macs: CountMacs) -> list[Suggestion]:
        """The suggestions of the current step that are not among `trials`, in the order to start them.

        Raises:
            UsageError: no stopping rule, a target below the cost of the start, or an unknown axis or growth.
        """
        self._check(study, macs)
        space, budget = study.space, study.budget
        state, step = space.start, 0
        targets = [target * 1e9 for target in budget.targets_gmacs]
        # The start is trained for the record only. Its accuracy decides nothing, so the first step does not wait for it.
        start = Suggestion(state, study.recipe.epochs, 0, kind="start", reason="the start")
        seeds = study.seeds[:1] if self.race else study.seeds
        suggestions = _missing(trials, [start], seeds)
        while (targets or not budget.targets_gmacs) and (budget.steps is None or step < budget.steps):
            step += 1
            candidates = self._grow(study, state, step, _number(trials, state), macs)
            if not candidates:
                return suggestions
            worth, left_out = self._worth(trials, candidates, macs)
            missing = _missing(trials, worth, seeds) + _missing(trials, left_out, seeds[:1])
            if missing or not _all_ended(trials, candidates):
                return suggestions + missing
            entries, noise = entries_of(trials, candidates), noise_of(trials)
            more = self._more_seeds(study, trials, candidates, race_of(entries, noise))
            if more:
                return suggestions + more
            chosen = choose(entries, noise)
            if chosen is None:
                return suggestions  # no candidate of this step completed, so there is no network to continue from
            state, axes = candidates[chosen].architecture, candidates[chosen].axes
            while targets and macs(state) >= self.reach * targets[0]:
                target = targets.pop(0)
                if macs(state) > self.overshoot * target and (
                    smaller := self._contract(space, state, space.axis(axes[-1]), target, macs)
                ):
                    reason = f"contracted along {axes[-1]} to meet {target / 1e9:g} GMACs: {state.changes(smaller)}"
                    contraction = Suggestion(
                        smaller, study.recipe.epochs, 0, step, (axes[-1],), _number(trials, state), "contract", reason
                    )
                    suggestions += _missing(trials, [contraction], seeds)
        return suggestions

    def _worth(
        self, trials: Sequence[Trial], candidates: Sequence[Suggestion], macs: CountMacs
    ) -> tuple[Sequence[Suggestion], Sequence[Suggestion]]:
        """The candidates to train, and those that are only recorded."""
        if not self.screen:
            return candidates, ()
        from expand.strategies.screening import screened  # it needs NumPy and SciPy, other searches in steps do not

        found = screened(candidates, trials, macs, self.screen)
        return found.train, found.leave

    def _more_seeds(
        self, study: Study, trials: Sequence[Trial], candidates: Sequence[Suggestion], race: dict[int, Standing]
    ) -> list[Suggestion]:
        """Another seed for each candidate that may still be the best; none without `race` or once the choice is made."""
        if not self.race or len(race) < 2:
            return []
        rows = list(race)
        wanted = next_seeds([race[row] for row in rows], most=len(study.seeds), enough=self.race)
        return [
            replace(
                candidates[rows[place]],
                seed=study.seeds[race[rows[place]].seeds],
                reason=f"{RACED}{candidates[rows[place]].reason}",
            )
            for place in wanted
        ]

    def _check(self, study: Study, macs: CountMacs) -> None:
        for name in self.axes:
            study.space.axis(name)
        if varied := study.space.recipe_of(study.space.start):
            raise UsageError(
                f"recipe axis {next(iter(varied))}: a stepwise expansion doubles the cost along an axis, and no recipe changes "
                "the cost; search it with Guided, Evolved, OptunaSampler, Halving, Sampled or Grid"
            )
        if self.growth not in ("solved", "paper"):
            raise UsageError(f"strategy.growth={self.growth}: allowed are solved, paper")
        for name, value in (("race", self.race), ("screen", self.screen)):
            if not 0 <= value < 1:
                raise UsageError(
                    f"strategy.{name}={value:g}: an accuracy from 0 to below 1, such as 0.005 for half a point"
                )
        if self.race and len(study.seeds) < 2:
            raise UsageError(
                f"strategy.race={self.race:g}: a race needs several seeds to choose from, such as --set seeds=0,1,2,3,4"
            )
        if self.factor <= 1:
            raise UsageError(f"strategy.factor={self.factor:g}: must be above 1, because a step grows the cost")
        targets = study.budget.targets_gmacs
        if not targets and study.budget.steps is None:
            raise UsageError("a stepwise expansion needs budget.targets_gmacs or budget.steps, or it would never end")
        if list(targets) != sorted(targets):
            raise UsageError(f"budget.targets_gmacs={targets}: must be in rising order")
        start = macs(study.space.start)
        if targets and targets[0] * 1e9 <= start:
            raise UsageError(
                f"budget.targets_gmacs: {targets[0]:g} GMACs is not above the start's cost of {start / 1e9:.6g}; "
                "raise the target or start from a smaller network"
            )

    def _grow(
        self, study: Study, state: Architecture, step: int, parent: int | None, macs: CountMacs
    ) -> list[Suggestion]:
        """One candidate per axis; axes that lead to the same network share one."""
        space, current = study.space, macs(state)
        found: dict[Architecture, list[str]] = {}
        omitted = []
        for name in self.axes or [axis.name for axis in space.axes]:
            try:
                grown = self._grown(space, state, space.axis(name), macs)
                ratio = macs(grown) / current if grown else 0.0
            except Exception as error:  # a network that cannot be built: skip this axis, continue the search
                omitted.append(f"{name} ({type(error).__name__}: {error})")
                continue
            if grown and self.factor**0.5 <= ratio <= self.factor**1.5:
                found.setdefault(grown, []).append(name)
            else:
                omitted.append(f"{name} (nearest reachable x{ratio:.2f})" if grown else f"{name} (at its end)")
        note = f"; not on offer: {', '.join(omitted)}" if omitted else ""
        return [
            Suggestion(
                architecture, study.recipe.epochs, 0, step, tuple(names), parent,
                reason=f"{' = '.join(names)} alone, {state.changes(architecture)}, "
                f"cost x{macs(architecture) / current:.3f}{note}",
            )
            for architecture, names in found.items()
        ]  # fmt: skip

    def _grown(self, space: SearchSpace, state: Architecture, axis: Axis, macs: CountMacs) -> Architecture | None:
        if self.growth == "paper":
            return space.published_growth(state, axis)
        target = self.factor * macs(state)
        ladder = _ladder(space, state, axis, larger=True)
        above = first_that(ladder, lambda point: macs(point) >= target)
        nearest = ladder[max(above - 1, 0) : above + 1]
        return min(nearest, key=lambda point: abs(math.log(macs(point) / target)), default=None)

    def _contract(
        self, space: SearchSpace, state: Architecture, axis: Axis, target: float, macs: CountMacs
    ) -> Architecture | None:
        """The most expensive network up to `overshoot` times the target, reached by shrinking this axis alone."""
        ladder = _ladder(space, state, axis, larger=False)
        index = first_that(ladder, lambda point: macs(point) <= self.overshoot * target)
        return ladder[index] if index < len(ladder) else None


@lru_cache(maxsize=128)
def _ladder(space: SearchSpace, state: Architecture, axis: Axis, *, larger: bool) -> Sequence[Architecture]:
    """Kept, because every `ask` goes through all steps again, and a ladder has hundreds of networks."""
    return tuple((space.larger if larger else space.smaller)(state, axis))


def _missing(trials: Sequence[Trial], suggestions: Sequence[Suggestion], seeds: Sequence[int]) -> list[Suggestion]:
    known = {(trial.architecture, trial.suggestion.seed) for trial in trials}
    return [
        replace(suggestion, seed=seed)
        for seed in seeds
        for suggestion in suggestions
        if (suggestion.architecture, seed) not in known
    ]


def _all_ended(trials: Sequence[Trial], candidates: Sequence[Suggestion]) -> bool:
    """Whether no trial of these candidates trains. All their first seeds have been asked for."""
    architectures = {candidate.architecture for candidate in candidates}
    return all(trial.state.ended for trial in trials if trial.architecture in architectures)


def _number(trials: Sequence[Trial], architecture: Architecture) -> int:
    """The number of this network's first trial. The start is suggested first, so it is trial 0 before it exists."""
    return next((trial.number for trial in trials if trial.architecture == architecture), 0)
