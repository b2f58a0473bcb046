"""Random and quasi-random search with Optuna's samplers. Optuna is imported when networks are sampled."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from expand.core.errors import UsageError
from expand.core.study import CountMacs, Study
from expand.core.trial import Suggestion, Trial
from expand.strategies.grid import name_of, next_network, values_of


@dataclass(frozen=True)
class Sampled:
    """Samples every axis uniformly from its values; equal networks are sampled once.

    The samples depend on the sampler, its seed and the axes alone, never on results: the n-th network is the same in a resumed
    run. It suggests one network at a time with all its seeds.

    Attributes:
        sampler: "qmc" is a scrambled Sobol sequence, which covers the space more evenly than "random".
        axes: names of the axes to sample; all else is as at the start.
        points: names of points that are trained first, for comparison.
        within: axis, lowest and highest value, for axes of numbers that are not sampled over their whole range.
        seed: the sampler's seed.

    Examples:
        >>> from studies.mixed_conv_free import study
        >>> demo = study("demo")
        >>> sampled = Sampled(axes=("conv4", "conv5"), seed=1)
        >>> sampled.ask(demo, [], lambda architecture: 0) == sampled.ask(demo, [], lambda architecture: 0)
        True
    """

    sampler: Literal["qmc", "random"] = "qmc"
    axes: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    within: tuple[tuple[str, float, float], ...] = ()
    seed: int = 0

    def ask(self, study: Study, trials: Sequence[Trial], macs: CountMacs) -> list[Suggestion]:
        """The next network without trials.

        Raises:
            UsageError: no axes, no budget, an unknown sampler, or a name that the space does not have.
        """
        budget = study.budget
        if self.sampler not in ("qmc", "random"):
            raise UsageError(f"strategy.sampler={self.sampler}: allowed are qmc, random")
        if not self.axes:
            raise UsageError("strategy.axes: name the axes to sample")
        if budget.trials is None and budget.epochs is None and budget.hours is None:
            raise UsageError(
                "a sampled search needs budget.trials, budget.epochs or budget.hours, or it would never end"
            )
        return next_network(study, trials, self._networks(study))

    def _networks(self, study: Study) -> Iterator[Suggestion]:
        space, epochs = study.space, study.recipe.epochs
        axes = [space.axis(name) for name in self.axes]
        bounds = {name: (low, high) for name, low, high in self.within}
        values: list[list[Any]] = []
        for axis in axes:
            low, high = bounds.pop(axis.name, (-math.inf, math.inf))
            values.append([v for v in values_of(space, axis) if isinstance(v, str) or low <= v <= high])  # type: ignore[operator]
            if not values[-1]:
                raise UsageError(f"strategy.within: {axis.name} has no value from {low:g} to {high:g}")
        if bounds:
            raise UsageError(f"strategy.within: {', '.join(bounds)} is not among strategy.axes")
        named = [(name, space.point(name)) for name in self.points]
        seen = {architecture for _, architecture in named}
        for name, architecture in named:
            yield Suggestion(architecture, epochs, 0, kind="sample", reason=f"the point {name}", name=name)
        sizes = tuple(map(len, values))
        draws = _draws(self.sampler, self.seed, sizes)
        # In a small space the samples repeat; so many miss a network with a probability below one in a million.
        for number in range(min(20 * math.prod(sizes), 100_000)):
            chosen = {axis.parameter: v[i] for axis, v, i in zip(axes, values, draws(number), strict=True)}
            with contextlib.suppress(UsageError):  # values that are not legal together
                architecture = space.architecture(**chosen)
                if architecture not in seen:
                    seen.add(architecture)
                    reason = f"draw {number + 1}, {self.sampler}, seed {self.seed}"
                    name = name_of(space, axes, architecture)
                    yield Suggestion(architecture, epochs, 0, kind="sample", reason=reason, name=name)


@functools.lru_cache(maxsize=4)
def _draws(sampler: str, seed: int, sizes: tuple[int, ...]) -> Any:
    """A function that returns the n-th sample, one index per axis. Samples are cached."""
    import warnings

    import optuna
    from optuna.distributions import IntDistribution

    names = [f"{position:03d}" for position in range(len(sizes))]
    distributions = {name: IntDistribution(0, size - 1) for name, size in zip(names, sizes, strict=True)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        chosen = (
            optuna.samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=seed)
            if sampler == "qmc"
            else optuna.samplers.RandomSampler(seed=seed)
        )
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    memory = optuna.create_study(sampler=chosen)
    optuna.logging.set_verbosity(before)
    # Optuna samples its first trial independently, and takes the axes of the sequence from it.
    middle: dict[str, Any] = {name: size // 2 for name, size in zip(names, sizes, strict=True)}
    memory.add_trial(optuna.trial.create_trial(params=middle, distributions=dict(distributions), value=0.0))
    drawn: list[tuple[int, ...]] = []

    def draw(number: int) -> tuple[int, ...]:
        while len(drawn) <= number:
            params = memory.ask(dict(distributions)).params
            drawn.append(tuple(params[name] for name in names))
        return drawn[number]

    return draw
