"""Optuna's own samplers as strategies: multivariate TPE and NSGA-II.

Optuna is asked until it proposes a network that is within the limits and new; its other proposals are answered without a worker.
The study it is asked through is built anew from the trials each time, so a resumed search continues as before.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from expand.core.checks import require
from expand.core.study import Costs, Study
from expand.core.trial import Suggestion, Trial
from expand.strategies.candidates import Choice, Pool, first_networks, legal, pool
from expand.strategies.knowledge import Knowledge, knowledge, require_budget

ASKS = 200  # proposals that are known or beyond a limit, before the nearest network that is neither is taken


@dataclass(frozen=True)
class OptunaSampler:
    """Asks a sampler of Optuna for (top-1, log2 of the cost).

    Its Gaussian process is not offered: behind hard limits it proposed nothing but networks beyond them.

    Attributes:
        sampler: "tpe" is the multivariate tree-structured Parzen estimator; "nsga2" the evolutionary algorithm NSGA-II.
        axes: names of the axes to search; empty searches all axes of the space.
        within: axis, lowest and highest value, for axes of numbers that are not searched over their whole range.
        values: most values that are tried on an axis of numbers, spread evenly by ratio; 0 tries all.
        points: names of points that are trained first.
        first: networks trained before the sampler is asked; 0 is one more than the axes, at least 6.
        seed: the sampler's seed.
    """

    sampler: Literal["tpe", "nsga2"] = "tpe"
    axes: tuple[str, ...] = ()
    within: tuple[tuple[str, float, float], ...] = ()
    values: int = 8
    points: tuple[str, ...] = ()
    first: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        require(
            self, "strategy.",
            sampler=(self.sampler in ("tpe", "nsga2"), "allowed are tpe, nsga2"),
            values=(self.values == 0 or self.values >= 2, "at least 2, or 0 for all"),
            first=(self.first >= 0, "0 or more"),
        )  # fmt: skip

    @property
    def choice(self) -> Choice:
        return Choice(self.axes, self.within, self.values, self.points)

    def ask(self, study: Study, trials: Sequence[Trial], macs: Costs) -> list[Suggestion]:
        """One network with all its seeds.

        Raises:
            UsageError: no budget, no limit on a cost, limits that allow no network, a budget below one training, or an unknown
                name.
        """
        found = pool(study, self.choice, macs, [trial.architecture for trial in trials])
        require_budget(study, found)
        known = knowledge(study, found, trials, [study.recipe.epochs])
        count = self.first or max(6, len(self.axes or study.space.axes) + 1)
        for row in first_networks(found, count, self.seed):
            if not known.begun[row]:
                return known.whole(row, "optuna", f"one of the first {count} networks, spread over all costs")
        if not (~known.begun).any():
            return []
        row, reason = self._proposed(study, known)
        return known.whole(row, "optuna", reason)

    def _proposed(self, study: Study, known: Knowledge) -> tuple[int, str]:
        """The first proposal that is new and within the limits; after `ASKS` the network nearest to the last one."""
        import optuna

        found, name = known.pool, {"tpe": "TPE", "nsga2": "NSGA-II"}[self.sampler]
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                memory = _rebuilt(self, known)
                for asked in range(1, ASKS + 1):
                    proposal = memory.ask(_distributions(found))
                    network = legal(study.space, _values(found, proposal.params))
                    row = found.index.get(network) if network is not None else None
                    if row is not None and not known.begun[row]:
                        return row, f"proposal {asked} of Optuna's {name}"
                    proposal.set_constraint("new and within the limits", 1.0)
                    memory.tell(proposal, state=optuna.trial.TrialState.PRUNED)
        finally:
            optuna.logging.set_verbosity(before)
        free = np.flatnonzero(~known.begun)
        places = np.array([[_place(found, int(row), name) for name, _ in found.lists] for row in free], dtype=float)
        target = np.array([proposal.params[name] for name, _ in found.lists], dtype=float)
        distances = np.abs(places - target).sum(axis=1)
        nearest = int(free[int(np.argmin(distances))])
        return nearest, f"nearest to proposal {ASKS} of Optuna's {name}: all before were known or beyond a limit"


def _distributions(found: Pool) -> dict[str, Any]:
    """An axis is a number of its place in the list of values; kinds are categories."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    return {
        name: CategoricalDistribution(list(range(len(values))))
        if all(isinstance(value, str) for value in values) else IntDistribution(0, len(values) - 1)
        for name, values in found.lists
    }  # fmt: skip


def _values(found: Pool, params: dict[str, Any]) -> dict[str, Any]:
    return {name: values[params[name]] for name, values in found.lists}


def _place(found: Pool, row: int, name: str) -> int:
    """Where a network's value stands in the list of an axis: at the nearest number, or at 0 where it has none."""
    values, value = dict(found.lists)[name], found.networks[row].as_dict().get(name)
    if value in values:
        return values.index(value)
    if not isinstance(value, (int, float)):
        return 0
    return int(np.argmin([abs(float(each) - float(value)) for each in values]))


def _rebuilt(strategy: OptunaSampler, known: Knowledge) -> Any:
    """An Optuna study in memory with all complete and running trials."""
    import optuna
    from optuna.trial import create_trial

    seed = strategy.seed + 1000 * len(known.trials)
    sampler = (
        optuna.samplers.TPESampler(multivariate=True, n_startup_trials=1, constant_liar=True, seed=seed)
        if strategy.sampler == "tpe"
        else optuna.samplers.NSGAIISampler(population_size=12, seed=seed)
    )
    found = known.pool
    directions = ["maximize", *["minimize"] * found.costs.shape[1]]
    memory = optuna.create_study(sampler=sampler, directions=directions)
    distributions, told = _distributions(found), 0
    for row in np.flatnonzero(known.begun & ~known.out):
        params = {name: _place(found, int(row), name) for name, _ in found.lists}
        if known.done[row]:
            attributes = {}
            if strategy.sampler == "nsga2":  # else its generations are unknown, and it samples at random
                attributes = {"NSGAIISampler:generation": told // 12}
            told += 1
            values = [float(known.top1[row]), *np.log2(found.costs[row]).tolist()]
            memory.add_trial(
                create_trial(params=params, distributions=distributions, values=values, system_attrs=attributes)
            )
        elif strategy.sampler == "tpe":
            memory.add_trial(
                create_trial(params=params, distributions=distributions, state=optuna.trial.TrialState.RUNNING)
            )
    return memory
