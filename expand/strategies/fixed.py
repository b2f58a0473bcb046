"""No search: one given network, once per seed. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from expand.core.errors import UsageError
from expand.core.space import Architecture
from expand.core.study import CountMacs, Study
from expand.core.trial import Suggestion, Trial
from expand.strategies.grid import next_network


@dataclass(frozen=True)
class Fixed:
    """Trains one given network, once per seed: the strategy of `expand train`.

    Attributes:
        network: the architecture as JSON.
        label: the network's name in tables.

    Examples:
        >>> from studies.mcx_split import study
        >>> space = study("demo").space
        >>> fixed = Fixed(space.point("MC3").to_json(), "MC3")
        >>> [(suggestion.name, suggestion.seed) for suggestion in fixed.ask(study("demo"), [], lambda network: 0)]
        [('MC3', 0), ('MC3', 1), ('MC3', 2)]
    """

    network: str
    label: str

    def ask(self, study: Study, trials: Sequence[Trial], macs: CountMacs) -> list[Suggestion]:
        """The missing seeds of the network.

        Raises:
            UsageError: the study's space does not contain the network.
        """
        architecture = Architecture.from_json(self.network)
        if study.space.architecture(**architecture.as_dict()) != architecture:
            raise UsageError(f"{study.space.name} has changed and no longer contains the network {architecture}")
        epochs = study.recipe.epochs
        network = Suggestion(architecture, epochs, 0, kind="fixed", reason="trained alone", name=self.label)
        return next_network(study, trials, [network])
