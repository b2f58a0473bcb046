"""Which temporal depth for which layer? C3D's search network with a depth of 1, 3, 5 or 7 in each layer: 4^5 = 1,024 networks.

The paper trained six of them (`c3d_temporal_depth`). Here these six (at demo scale two) are trained first; a quasi-random
sequence samples others, as many as `budget.trials` allows. All 1,024: `strategy=Grid(axes=GROUPS)` in a study of your own.
"""

from __future__ import annotations

from expand.core.study import Budget, Data, Study
from expand.strategies.sampled import Sampled
from search_spaces.c3d import GROUPS, PATTERNS, C3DSpace
from studies.c3d_temporal_depth import DEMO_RECIPE, DEMO_SPACE, PAPER_RECIPE, SEEDS, UCF101


def study(scale: str = "demo") -> Study:
    paper = scale == "paper"
    networks = 64 if paper else 8
    return Study(
        name="c3d_depth_free",
        scale=scale,
        space=C3DSpace() if paper else DEMO_SPACE,
        strategy=Sampled(axes=GROUPS, points=tuple(PATTERNS) if paper else ("depth-1", "depth-3")),
        budget=Budget(trials=networks * len(SEEDS)),
        recipe=PAPER_RECIPE if paper else DEMO_RECIPE,
        data=Data(cache_side=128, published=UCF101) if paper else Data(cache_side=64),
        seeds=SEEDS,
    )
