"""What a family says about one of its networks: the layer plan that is truly its own, and the shapes of its clips."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from expand.core.clip import Clip
from expand.core.layer_plan import LayerPlan
from expand.core.space import Architecture, SearchSpace
from expand.counting.meta_counter import Shape


def own_plan(space: SearchSpace, architecture: Architecture, num_classes: int) -> LayerPlan | None:
    """The family's `layer_plan`; None where it has none, or inherits that of another network."""
    return space.layer_plan(architecture, num_classes) if _has_own_plan(type(space)) else None


@functools.cache
def _has_own_plan(family: type[SearchSpace]) -> bool:
    """Whether `layer_plan` describes the family's network: not if a subclass builds another network and inherits the plan."""
    order = [kind.__dict__ for kind in family.__mro__]
    planned = next(place for place, names in enumerate(order) if "layer_plan" in names)
    return not any("constructor" in names or "build" in names for names in order[:planned])


def shapes_of(clips: Sequence[Clip]) -> tuple[Shape, ...]:
    return tuple((c.channels, c.frames, c.height, c.width) for c in clips)
