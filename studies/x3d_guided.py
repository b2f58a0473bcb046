"""Which X3D is best at each cost? A guided search over all six axes, instead of one expansion after the other.

A model of all learning curves chooses which training is worth its cost next; trainings pause once finished ones show that earlier
results agree with later ones. More seeds go to networks of the front where one more training may change the choice. The same
networks, recipe and clips as `x3d_stepwise`.
"""

from __future__ import annotations

from dataclasses import replace

from expand.core.study import Budget, Objective, Study
from expand.strategies.guided import Guided
from studies import x3d_stepwise

TOP1 = Objective("top1", "maximize")
# Without bounds most of the pool would be networks on 16 pixels, which learn nothing of these clips.
WITHIN = (("resolution", 32, 96), ("depth", 1.0, 4.0), ("width", 0.25, 1.5), ("bottleneck", 0.5, 3.0))


def study(scale: str = "demo") -> Study:
    """The limit is what the stepwise search ends at: three doublings of the start (demo), X3D-XL (paper)."""
    paper = scale == "paper"
    limit = 40.0 if paper else 0.0128
    gmacs = Objective("gmacs", "minimize", known_before_training=True, limit=limit)
    return replace(
        x3d_stepwise.study(scale),
        name="x3d_guided",
        strategy=Guided(
            values=6,
            race=True,
            enough=1e-5,
            within=() if paper else WITHIN,
        ),
        # At demo scale small networks take nearly as long as larger ones, so the trainings are limited, too.
        budget=Budget(gmac_epochs=256 * 400.0) if paper else Budget(trials=24, gmac_epochs=20 * 0.1),
        seeds=(0, 1, 2),
        objectives=(TOP1, gmacs),
    )
