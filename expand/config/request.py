"""What a run was asked for: enough to build the same study again."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from expand.config.loading import load_study
from expand.config.overrides import limited, override, with_recipe_axes
from expand.config.single_network import Alone
from expand.core.study import Study
from expand.core.trial import Suggestion


@dataclass(frozen=True)
class Request:
    """What a run was asked for: enough to build the same study again, in another process and on another day.

    Attributes:
        reference: the study by name, dotted name or file; empty for a study that was given as an object.
        given: that object.
        recipe_from: where the first of `settings` are from, if a tuning found them.
        recipe_axes: fields of the recipe that are searched too, such as "learning_rate=0.0125..0.2".
        grown: train this network alone in the study's run, from a trial's weights, and leave the search as it is; not stored.
    """

    reference: str
    scale: str = "demo"
    settings: tuple[str, ...] = ()
    data: str | None = None
    seed: int | None = None
    limits: tuple[str, ...] = ()
    alone: Alone | None = None
    given: Study | None = None
    recipe_from: str = ""
    grown: Suggestion | None = None
    recipe_axes: tuple[str, ...] = ()

    @staticmethod
    def of_study(study: Study) -> Request:
        """For a study that is an object in this process."""
        return Request("", study.scale, given=study)

    def study(self) -> Study:
        """Loads or takes the study and changes what was asked for."""
        study = load_study(self.reference, self.scale) if self.given is None else self.given
        if self.data is not None:
            study = replace(study, data=replace(study.data, source=self.data))
        if study.data.source is not None:
            study = replace(study, data=replace(study.data, source=os.path.realpath(study.data.source)))
        if self.seed is not None:
            study = replace(study, seeds=(self.seed,))
        study = limited(override(study, self.settings), self.limits)
        study = with_recipe_axes(study, self.recipe_axes)
        if self.alone is not None:
            study = self.alone.study(study, self.reference)
        if study.recipe.weights is not None:  # workers have a working directory of their own
            study = replace(study, recipe=replace(study.recipe, weights=os.path.realpath(study.recipe.weights)))
        return study

    def default_folder(self, study: Study) -> Path:
        parts = (
            [study.name]
            + ([self.scale] if self.alone is None else [])
            + ([Path(study.data.source).name] if study.data.source else [])
        )
        return Path("runs") / "-".join(parts + ([f"seed{self.seed}"] if self.seed is not None else []))


def lasting(reference: str) -> str:
    """A study file's name holds from any working directory."""
    return str(Path(reference).resolve()) if reference.endswith(".py") else reference
