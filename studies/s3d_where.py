"""Where is 3D needed? I3D with 2D kernels below a group (top-heavy) or above it (bottom-heavy), all 2D, all 3D, and separable.

`--scale paper` is the published comparison (arXiv 1712.04851, sections 3 and 4) with every split of I3D: Kinetics-400 from
scratch, 64 frames of 224 pixels. `--scale demo` takes minutes on two CPU cores: six networks, a quarter of the channels, 16
frames of 40 pixels, and a conv1a that is 3 frames deep, not 7.
"""

from __future__ import annotations

from expand.core.study import Data, Recipe, Study
from expand.strategies.grid import Grid
from search_spaces.inception import InceptionSpace
from studies.mcx_split import KINETICS_400, SEEDS
from studies.resnet3d_depth import DEMO_RECIPE

SPLITS = tuple(name for name in InceptionSpace().points if "-heavy-I3D-" in name)

# As I3D (section 4 of its paper): SGD with momentum 0.9, weight decay 1e-7; batches of 6 clips on each of 56 GPUs; a learning
# rate of 0.1 that is divided by 10 after 80 thousand steps, which are 112 passes over the training videos. Dropout
# keeps 0.8 of the features, as in the authors' code. Frames are resized to a short side of 256 and cropped to 224. Tests read the
# whole video; here ten views.
PAPER_RECIPE = Recipe(
    epochs=154, batch_size=336, learning_rate=0.1, schedule="step", decay_every=112, warmup_epochs=0, momentum=0.9,
    nesterov=False, weight_decay=1e-7, dropout=0.2, scale_jitter=(256 / 224, 256 / 224), views=10, loader_workers=8,
)  # fmt: skip
DEMO_SPACE = InceptionSpace(width=0.25, frames=16, resolution=40, stride=2, conv1a_depth=3)
DEMO_POINTS = ("I2D", "top-heavy-I3D-4b", "bottom-heavy-I3D-4b", "I3D", "top-heavy-S3D-4b", "S3D")


def study(scale: str = "demo") -> Study:
    paper = scale == "paper"
    return Study(
        name="s3d_where",
        scale=scale,
        space=InceptionSpace() if paper else DEMO_SPACE,
        strategy=Grid(points=("I2D", *SPLITS, "I3D", "S3D", "S3D-G-authors-t3") if paper else DEMO_POINTS),
        recipe=PAPER_RECIPE if paper else DEMO_RECIPE,
        data=Data(cache_side=256, published=KINETICS_400) if paper else Data(cache_side=64),
        seeds=SEEDS,
    )
