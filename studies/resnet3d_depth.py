"""How deep can a 3D residual network be? Plain ones of 18 to 200 layers, and pre-activation, wide and ResNeXt ones.

`--scale paper` is the published comparison (arXiv 1711.09577, section 4): Kinetics-400 from scratch, 16 frames of 112 pixels.
`--scale demo` takes minutes on two CPU cores: 10 to 50 layers, a quarter of the channels, 8 frames of 40 pixels, and a conv1 that
is 3 frames deep, not 7.
"""

from __future__ import annotations

from expand.core.study import Data, Recipe, Study
from expand.strategies.grid import Grid
from search_spaces.resnet3d import ResNet3DSpace
from studies.mcx_split import KINETICS_400, SEEDS

PUBLISHED = (
    "ResNet-18", "ResNet-34", "ResNet-50", "ResNet-101", "ResNet-152", "ResNet-200", "preact-ResNet-200", "WRN-50", "ResNeXt-101",
)  # fmt: skip

# Section 3 and the published options: SGD with momentum 0.9, weight decay 0.001, a learning rate of 0.1 that is divided by 10
# whenever the validation loss has stopped falling; here every 50 of at most 200 epochs. Batches of 128. Crops of 1 to 1/2 of the
# short side, at the corners or the centre; here a random share of the picture. The test averages all clips of a video without
# overlap, of which a 10-second video at 25 frames per second has 15. No gradient is clipped and there is no dropout.
PAPER_RECIPE = Recipe(
    epochs=200, batch_size=128, learning_rate=0.1, schedule="step", decay_every=50, warmup_epochs=0, momentum=0.9,
    nesterov=False, weight_decay=1e-3, dropout=0.0, crop="resized", crop_area=(0.25, 1.0), crop_aspect=(1.0, 1.0), views=15,
    loader_workers=8,
)  # fmt: skip
DEMO_SPACE = ResNet3DSpace(width=0.25, frames=8, resolution=40, stride=4, conv1_depth=3)
DEMO_RECIPE = Recipe(
    epochs=20, updates=560, batch_size=16, learning_rate=0.05, warmup_epochs=3, warmup_learning_rate=0.005,
    weight_decay=5e-4, dropout=0.0, scale_jitter=(1.0, 1.0), views=2,
)  # fmt: skip


def study(scale: str = "demo") -> Study:
    paper = scale == "paper"
    return Study(
        name="resnet3d_depth",
        scale=scale,
        space=ResNet3DSpace() if paper else DEMO_SPACE,
        strategy=Grid(points=PUBLISHED if paper else ("ResNet-10", "ResNet-18", "ResNet-34", "ResNet-50")),
        recipe=PAPER_RECIPE if paper else DEMO_RECIPE,
        data=Data(cache_side=128, published=KINETICS_400) if paper else Data(cache_side=64),
        seeds=SEEDS,
    )
