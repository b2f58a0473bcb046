"""The search that found X3D: stepwise expansion along six axes from a single-frame network.

`--scale paper` has the published targets and recipe (arXiv 2004.04730, sections 3 and 4). `--scale demo` takes minutes on two
CPU cores: a half-width start on 48-pixel crops, three doublings.
"""

from __future__ import annotations

from expand.core.study import Budget, Data, Recipe, Study
from expand.strategies.stepwise import Stepwise
from search_spaces.x3d import X3DSpace


def study(scale: str = "demo") -> Study:
    return paper() if scale == "paper" else demo()


def paper() -> Study:
    """From X2D to 0.6, 2, 5, 20 and 40 GMACs.

    The paper's networks stop from 10 % below (XL) to 1 % above (XS) these targets, hence `reach` and `overshoot`.
    """
    return Study(
        name="x3d_stepwise",
        scale="paper",
        space=X3DSpace(),
        strategy=Stepwise(growth="paper", reach=0.89, overshoot=1.01),
        budget=Budget(targets_gmacs=(0.6, 2.0, 5.0, 20.0, 40.0)),
        # A learning rate of 1.6 for 1024 clips is 0.1 for 64; 256 epochs, 35 of them warm-up; ten views.
        recipe=Recipe(
            epochs=256, batch_size=64, learning_rate=0.1, warmup_epochs=35, warmup_learning_rate=0.01,
            weight_decay=5e-5, dropout=0.5, views=10, loader_workers=8,
        ),
        data=Data(cache_side=356, published=(240_000, 20_000, 400)),  # Kinetics-400
    )  # fmt: skip


def demo() -> Study:
    """Three doublings from half of X2D's width at 48 pixels. Rendered clips have 32 frames."""
    return Study(
        name="x3d_stepwise",
        scale="demo",
        space=X3DSpace(frames=1, stride=10, resolution=48, width=0.5, longest_clip=32, even_head=True),
        strategy=Stepwise(race=0.005, screen=0.005),
        seeds=(0, 1, 2),
        budget=Budget(steps=3),
        # Small pictures and few steps: nothing is cropped away. 560 steps are 20 epochs of the rendered clips.
        recipe=Recipe(
            epochs=20, updates=560, batch_size=16, learning_rate=0.05, warmup_epochs=3, warmup_learning_rate=0.005,
            weight_decay=5e-4, dropout=0.0, scale_jitter=(1.0, 1.0), views=2,
        ),
        data=Data(cache_side=96),
    )  # fmt: skip
