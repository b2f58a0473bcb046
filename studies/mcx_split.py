"""Where should a network model time? R2D, f-R2D, MC2 to MC5, rMC2 to rMC5, R3D and R(2+1)D, the twelve of the (2+1)D paper.

`--scale paper` is the published comparison (arXiv 1711.11248, section 4 and Table 2): Kinetics-400, 18 layers, 8 frames of
112 pixels. `--scale demo` takes minutes on two CPU cores, with a quarter of the channels on 28-pixel crops.
"""

from __future__ import annotations

from expand.core.study import Data, Recipe, Study
from expand.strategies.grid import Grid
from search_spaces.mixed_conv import NAMED, MixedConvSpace

SEEDS = (0, 1, 2)
KINETICS_400 = (240_000, 20_000, 400)  # training videos, validation videos, classes, as papers give them
TWELVE = ("R2D", *NAMED)

# Section 4: 45 epochs of a million clips, which are 188 passes over the 240 thousand training videos; a learning rate of
# 0.01 that is divided by 10 every 10 of the 45 (42 of the 188), with a warm-up over the first 10. Batches of 32 per device,
# weight decay from the published script. Frames are resized to 128 x 171 and cropped to 112, from a random frame on (temporal
# jitter). Ten clips per video for video@1. The released models were trained at 15 frames per second; here a stride of 1 is the
# training videos' median frame rate.
PAPER_RECIPE = Recipe(
    epochs=188, batch_size=32, learning_rate=0.01, schedule="step", decay_every=42, warmup_epochs=42,
    warmup_learning_rate=0.001, momentum=0.9, nesterov=False, weight_decay=1e-4, dropout=0.0,
    crop="fixed", views=10, loader_workers=8,
)  # fmt: skip
DEMO_SPACE = MixedConvSpace(width=0.25, frames=8, resolution=28, stride=4)
DEMO_RECIPE = Recipe(
    epochs=14, batch_size=16, learning_rate=0.1, warmup_epochs=3, warmup_learning_rate=0.01, weight_decay=5e-4,
    dropout=0.0, clip_gradient_norm=1.0, views=1,
)  # fmt: skip


def study(scale: str = "demo") -> Study:
    paper = scale == "paper"
    return Study(
        name="mcx_split",
        scale=scale,
        space=MixedConvSpace() if paper else DEMO_SPACE,
        strategy=Grid(points=TWELVE),
        recipe=PAPER_RECIPE if paper else DEMO_RECIPE,
        data=Data(cache_side=128, published=KINETICS_400) if paper else Data(cache_side=64),
        seeds=SEEDS,
    )
