"""A stepwise expansion of networks of a few blocks on 16-pixel crops: a candidate trains in about a second."""

from dataclasses import dataclass

from expand.core.study import Budget, Data, Recipe, Study
from expand.strategies.stepwise import Stepwise
from search_spaces.x3d import X3DSpace


def study(scale: str = "demo") -> Study:
    return Study(
        name="tiny",
        scale=scale,
        space=X3DSpace(frames=2, stride=2, resolution=16, width=0.2, depth=0.2),
        strategy=Stepwise(axes=("frames", "bottleneck")),
        budget=Budget(steps=2),
        recipe=Recipe(epochs=2, batch_size=8, views=1),
        data=Data(cache_side=24),
    )


@dataclass(frozen=True)
class Variant(X3DSpace):
    """A space that only this file defines, to see that it reaches the workers."""
