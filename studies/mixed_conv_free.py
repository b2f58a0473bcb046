"""Which kind of convolution for which group? 2D, 3D or (2+1)D in each of five groups: 3^5 = 243 networks.

The paper trained eleven of them (`mcx_split`, without R2D, which has no time axis). Here these eleven (at demo scale three) are
trained first; a quasi-random sequence samples others, as many as `budget.trials` allows. All 243: `strategy=Grid(axes=GROUPS)`
in a study of your own.
"""

from __future__ import annotations

from expand.core.study import Budget, Data, Study
from expand.strategies.sampled import Sampled
from search_spaces.mixed_conv import GROUPS, NAMED, MixedConvSpace
from studies.mcx_split import DEMO_RECIPE, DEMO_SPACE, KINETICS_400, PAPER_RECIPE, SEEDS


def study(scale: str = "demo") -> Study:
    paper = scale == "paper"
    networks = 64 if paper else 8
    return Study(
        name="mixed_conv_free",
        scale=scale,
        space=MixedConvSpace() if paper else DEMO_SPACE,
        strategy=Sampled(axes=GROUPS, points=tuple(NAMED) if paper else ("f-R2D", "R3D", "R(2+1)D")),
        budget=Budget(trials=networks * len(SEEDS)),
        recipe=PAPER_RECIPE if paper else DEMO_RECIPE,
        data=Data(cache_side=128, published=KINETICS_400) if paper else Data(cache_side=64),
        seeds=SEEDS,
    )
