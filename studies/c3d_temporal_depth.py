"""How deep in time should kernels be? The six networks of C3D's search.

`--scale paper` is the published search (arXiv 1412.0767, section 3.1): UCF101, 16 frames of 112 pixels, 16 epochs of SGD.
`--scale demo` takes minutes on two CPU cores, with an eighth of the filters on 40-pixel crops.
"""

from __future__ import annotations

from expand.core.study import Data, Recipe, Study
from expand.strategies.grid import Grid
from search_spaces.c3d import PATTERNS, C3DSpace

SEEDS = (0, 1, 2)
UCF101 = (9_537, 3_783, 101)  # videos of the first split's training list, of its test list, classes

# Section 3.1: batches of 30, a learning rate of 0.003 that is divided by 10 every 4 epochs, 16 epochs; weight decay from the
# prototxt. Frames are resized to 128 x 171 and cropped to 112; a clip is 16 consecutive frames. The paper splits each video
# into clips without overlap; here an epoch samples one clip per video at random.
PAPER_RECIPE = Recipe(
    epochs=16, batch_size=30, learning_rate=0.003, schedule="step", decay_every=4, warmup_epochs=0, momentum=0.9,
    nesterov=False, weight_decay=0.005, dropout=0.5, crop="fixed", views=1, loader_workers=8,
)  # fmt: skip
DEMO_SPACE = C3DSpace(width=0.125, frames=16, resolution=40, stride=2)
DEMO_RECIPE = Recipe(
    epochs=12, batch_size=16, learning_rate=0.02, warmup_epochs=2, warmup_learning_rate=0.002, weight_decay=5e-4,
    dropout=0.2, clip_gradient_norm=1.0, views=1,
)  # fmt: skip


def study(scale: str = "demo") -> Study:
    paper = scale == "paper"
    return Study(
        name="c3d_temporal_depth",
        scale=scale,
        space=C3DSpace() if paper else DEMO_SPACE,
        strategy=Grid(points=tuple(PATTERNS)),
        recipe=PAPER_RECIPE if paper else DEMO_RECIPE,
        data=Data(cache_side=128, published=UCF101) if paper else Data(cache_side=64),
        seeds=SEEDS,
    )
