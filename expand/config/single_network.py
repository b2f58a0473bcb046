"""One network in place of a search: a study changed into the full training of a single architecture."""

from __future__ import annotations

from dataclasses import dataclass, replace

from expand.config.loading import load_space, load_study
from expand.config.overrides import override
from expand.core.study import Budget, Recipe, Study
from expand.strategies.fixed import Fixed


@dataclass(frozen=True)
class Alone:
    """Plain values, as they stand in study.json, to make the same study again from another one.

    Args:
        name: of the study that comes out.
        network: the architecture as JSON; `label` is what people call it.
        seeds: one training each.
        space: a search space by name or file, where it is not the study's.
        recipe_scale: the scale whose recipe of the study is taken, where it is not the study's own.
        epochs: the whole schedule is stretched to so many.
        settings: fields set last, such as "recipe.ema=0.999".
    """

    name: str
    network: str
    label: str
    seeds: tuple[int, ...]
    space: str = ""
    recipe_scale: str = ""
    epochs: int | None = None
    settings: tuple[str, ...] = ()

    def study(self, base: Study, reference: str) -> Study:
        """The study `base`, which `reference` names, with this network alone: no limits, no budget but attempts."""
        recipe = load_study(reference, self.recipe_scale).recipe if self.recipe_scale else base.recipe
        alone = replace(
            base,
            name=self.name,
            space=load_space(self.space) if self.space else base.space.network_of(base.space.start)[0],
            strategy=Fixed(self.network, self.label),
            recipe=recipe if self.epochs is None else stretched(recipe, self.epochs),
            budget=Budget(attempts=base.budget.attempts),
            objectives=tuple(replace(aim, limit=None) for aim in base.objectives if aim.on_front),
            seeds=self.seeds,
        )
        return override(alone, self.settings)


INHERITED_WARMUP = 0.5  # epochs: the weights are good already, the momentum begins at zero


def inherited(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe of a training that starts from a parent's weights: the whole schedule over `epochs`, from the full learning
    rate, after half an epoch of warm-up. Weights of a file are the parent's matter."""
    return replace(stretched(recipe, epochs), warmup_epochs=INHERITED_WARMUP, weights=None, freeze=False)


def stretched(recipe: Recipe, epochs: int) -> Recipe:
    """The same learning rates over another number of epochs: warm-up, decay and updates change in proportion."""
    factor = epochs / recipe.epochs
    return replace(
        recipe, epochs=epochs, updates=-(-recipe.updates // recipe.epochs) * epochs,
        warmup_epochs=recipe.warmup_epochs * factor, decay_every=recipe.decay_every * factor,
    )  # fmt: skip
