"""C3D's six patterns as small as they get, two seeds of each: a candidate trains in about a second."""

from expand.core.study import Data, Recipe, Study
from expand.strategies.grid import Grid
from search_spaces.c3d import PATTERNS, C3DSpace


def study(scale: str = "demo") -> Study:
    return Study(
        name="tiny_grid",
        scale=scale,
        space=C3DSpace(width=0.05, frames=9, resolution=17),
        strategy=Grid(points=tuple(PATTERNS)),
        recipe=Recipe(epochs=1, batch_size=8, learning_rate=0.01, views=1, warmup_epochs=0),
        data=Data(cache_side=24),
        seeds=(0, 1),
    )
