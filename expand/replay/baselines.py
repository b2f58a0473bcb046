"""What strategies are compared with on a table: a random order; and the names of all strategies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from expand.core.study import Costs, SearchStrategy, Study
from expand.core.trial import Suggestion, Trial
from expand.replay.bench import Make
from expand.strategies.candidates import Choice, pool
from expand.strategies.evolved import Evolved
from expand.strategies.guided import Guided
from expand.strategies.halving import Halving
from expand.strategies.knowledge import knowledge, require_budget
from expand.strategies.optuna_sampler import OptunaSampler


@dataclass(frozen=True)
class RandomOrder:
    """Trains networks to their end in a random order."""

    seed: int = 0

    def ask(self, study: Study, trials: Sequence[Trial], macs: Costs) -> list[Suggestion]:
        """The next network that the budget allows."""
        found = pool(study, Choice(values=0), macs)
        require_budget(study, found)
        epochs = study.recipe.epochs
        known = knowledge(study, found, trials, [epochs])
        for row in map(int, np.random.default_rng(self.seed).permutation(len(found.networks))):
            if not known.begun[row] and not known.spending((row, epochs)).over(study):
                return known.suggest(row, epochs, "sample", "the next in a random order")
        return []


def _guided(pauses: str, *, race: bool = False) -> Make:
    return lambda seed: Guided(values=0, pauses=pauses, race=race, enough=1e-5 if race else 0.001, seed=seed)


def _guided_by(prior: str) -> Make:
    return lambda seed: Guided(values=0, prior=prior, seed=seed)


def _optuna(sampler: str) -> Make:
    return lambda seed: OptunaSampler(sampler, values=0, seed=seed)  # type: ignore[arg-type]


def _evolved(seed: int) -> SearchStrategy:
    return Evolved(values=0, seed=seed)


def _halving(seed: int) -> SearchStrategy:
    return Halving(values=0, seed=seed)


STRATEGIES: dict[str, Make] = {
    "guided": _guided("auto"),
    "guided-raced": _guided("auto", race=True),
    "guided-paused": _guided("always"),
    "guided-full": _guided("never"),
    "guided-entropy": _guided_by("entropy"),
    "evolved": _evolved,
    "tpe": _optuna("tpe"),
    "nsga2": _optuna("nsga2"),
    "halving": _halving,
    "random": lambda seed: RandomOrder(seed),
}
