"""The study of the run beside this file, which was made by version 0.1.0 of November 2026."""

from expand.core.study import Budget, Data, Recipe, Study
from expand.strategies.stepwise import Stepwise
from search_spaces.x3d import X3DSpace


def study(scale: str = "demo") -> Study:
    return Study(
        name="old",
        scale=scale,
        space=X3DSpace(frames=2, stride=2, resolution=16, width=0.1, depth=0.2),
        strategy=Stepwise(axes=("frames", "resolution")),
        budget=Budget(steps=2),
        recipe=Recipe(epochs=6, batch_size=8, learning_rate=0.02, views=1),
        data=Data(cache_side=24),
    )
