"""Which frames and which rectangle of a video a clip reads. Pure functions of numbers.

`sample_augmentation` samples the random augmentation parameters of one clip; everything else follows from them and the video's
length and size. A clip spans (frames - 1) x stride + 1 frames at the cache's frame rate, which is the same for all videos.
Shorter videos are padded by repeating the last frame. All streams of a sample are centred on the same moment: the longest clip
is placed in the video, the others in the middle of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from expand.core.clip import Clip
from expand.core.study import Recipe

ATTEMPTS = 10  # to sample a rectangle that fits, for the Inception crop
Scale = float | tuple[float, float]  # size of the resized frame over the crop's: short side, or height and width

# RandAugment's operations (arXiv 1909.13719, section 3), implemented in `randaugment.py`.
OPERATIONS = (
    "identity", "auto_contrast", "equalize", "rotate", "solarize", "colour", "posterize", "contrast", "brightness",
    "sharpness", "shear_x", "shear_y", "translate_x", "translate_y",
)  # fmt: skip


class Rectangle(NamedTuple):
    """A rectangle in whole pixels of the cached frame."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Augmentation:
    """The random augmentation parameters of one clip, the same for all its frames and streams.

    Attributes:
        moment: position in time, in [0, 1).
        down: vertical position of the crop, in [0, 1).
        right: horizontal position of the crop, in [0, 1).
        shape: uniform numbers in [0, 1) for the rectangle's size.
        flip: mirror left to right.
        colour: factors of brightness, contrast and saturation, and the rotation of the hue in turns.
        operations: RandAugment's operations by name, with strengths in [-1, 1].
        weight: the clip's own weight in mixup.
    """

    moment: float
    down: float
    right: float
    shape: tuple[float, ...]
    flip: bool
    colour: tuple[float, float, float, float]
    operations: tuple[tuple[str, float], ...]
    weight: float


def sample_augmentation(recipe: Recipe, seed: int, *, flip: bool = True) -> Augmentation:
    """Samples the augmentation parameters of a clip with this seed. `flip=False` disables flipping."""
    rng = Random(seed)
    moment, down, right, coin = (rng.random() for _ in range(4))
    shape = tuple(rng.random() for _ in range(2 * ATTEMPTS if recipe.crop == "resized" else 1))
    *spreads, turn = recipe.colour_jitter
    brightness, contrast, saturation = (rng.uniform(max(0.0, 1 - spread), 1 + spread) for spread in spreads)
    colour = (brightness, contrast, saturation, rng.uniform(-turn, turn))
    strength = recipe.randaugment_magnitude / 10
    operations = tuple(
        (rng.choice(OPERATIONS), rng.choice((-strength, strength))) for _ in range(recipe.randaugment_operations)
    )
    weight = rng.betavariate(recipe.mixup, recipe.mixup) if recipe.mixup else 1.0
    return Augmentation(
        moment if recipe.temporal_jitter else 0.5, down, right, shape, flip and recipe.flip and coin < 0.5, colour,
        operations, weight,
    )  # fmt: skip


# --- in time ---------------------------------------------------------------------------------------------------------


def random_start(length: int, clip: Clip, moment: float) -> int:
    """The first frame of a clip placed uniformly at random in `length` frames; `moment` is uniform in [0, 1)."""
    return int(moment * (_slack(length, clip) + 1))


def uniform_start(length: int, clip: Clip, view: int, views: int) -> int:
    """The first frame of view `view` (from 0) of `views` views spaced evenly over `length` frames.

    A single view is centred (the papers' "K-Center" testing, in time).
    """
    return int(_slack(length, clip) * (view + 0.5) / views)


def widest(clips: Sequence[Clip]) -> Clip:
    """The clip with the longest duration."""
    return max(clips, key=_span)


def within(length: int, clip: Clip, clips: Sequence[Clip], start: int) -> int:
    """The first frame of `clip`, if the longest of the sample's `clips` starts at `start`.

    The middles of all clips coincide, after they are shortened to a video of `length` frames.
    """
    return start + (min(_span(widest(clips)), length) - min(_span(clip), length)) // 2


def frame_indices(length: int, clip: Clip, start: int) -> list[int]:
    """`clip.frames` indices from `start` on; those after the end repeat the last frame."""
    return [min(start + step * clip.stride, length - 1) for step in range(clip.frames)]


def _slack(length: int, clip: Clip) -> int:
    return max(0, length - _span(clip))


def _span(clip: Clip) -> int:
    return (clip.frames - 1) * clip.stride + 1


# --- in space --------------------------------------------------------------------------------------------------------


def random_rectangle(height: int, width: int, clip: Clip, recipe: Recipe, sampled: Augmentation) -> Rectangle:
    """The random rectangle to crop from a frame before it is resized to the clip's size.

    It equals resizing the whole frame first and cropping then, except for rounding by half a source pixel.
    """
    if recipe.crop == "resized":
        rows, columns = _inception_size(height, width, recipe, sampled.shape)
    elif recipe.crop == "fixed":
        rows, columns = _size(height, width, clip, recipe.squeeze)
    else:
        small, large = recipe.scale_jitter
        rows, columns = _size(height, width, clip, small + (large - small) * sampled.shape[0])
    return Rectangle(round(sampled.down * (height - rows)), round(sampled.right * (width - columns)), rows, columns)


def view_rectangle(height: int, width: int, clip: Clip, scale: Scale, crop: int = 0, crops: int = 1) -> Rectangle:
    """The rectangle of crop `crop` (from 0) of `crops` in a frame that is resized by `scale`.

    One crop is the centre. Several are spaced evenly along the longer side, from edge to edge: three are left, centre and right
    of a wide frame, or top, centre and bottom of a tall one (SlowFast, section 4, inference; X3D's "LeftCenterRight").
    """
    rows, columns = _size(height, width, clip, scale)
    top, left = (height - rows) // 2, (width - columns) // 2
    if crops > 1:
        tall = scale[0] > scale[1] if isinstance(scale, tuple) else height > width
        if tall:
            top = (height - rows) * crop // (crops - 1)
        else:
            left = (width - columns) * crop // (crops - 1)
    return Rectangle(top, left, rows, columns)


def validation_scale(recipe: Recipe) -> Scale:
    """The scale for validation: the training's fixed size, or the lower end of its scale jitter.

    So objects are about as large as in training. Random resized crops have no fixed size; they are tested at 256 for a crop of
    224.
    """
    return recipe.squeeze if recipe.crop == "fixed" else recipe.scale_jitter[0]


def _size(height: int, width: int, clip: Clip, scale: Scale) -> tuple[int, int]:
    """Height and width of the crop in source pixels, if the frame is resized by `scale` first."""
    if isinstance(scale, tuple):
        rows, columns = height / scale[0], width / scale[1]
    else:
        factor = min(height / clip.height, width / clip.width) / scale
        rows, columns = clip.height * factor, clip.width * factor
    return max(1, min(height, round(rows))), max(1, min(width, round(columns)))


def _inception_size(height: int, width: int, recipe: Recipe, shape: tuple[float, ...]) -> tuple[int, int]:
    """Height and width of a random resized crop (arXiv 1409.4842, section 6).

    Its share of the area is uniform in `crop_area`, the logarithm of its aspect (width over height) is uniform in `crop_aspect`.
    The first attempt that fits is used, or else the largest crop with an allowed aspect.
    """
    (smallest, largest), (narrow, wide) = recipe.crop_area, recipe.crop_aspect
    for share, lean in zip(shape[::2], shape[1::2], strict=True):
        area = height * width * (smallest + (largest - smallest) * share)
        aspect = narrow * math.exp(lean * math.log(wide / narrow))
        rows, columns = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < rows <= height and 0 < columns <= width:
            return rows, columns
    aspect = min(max(width / height, narrow), wide)
    return min(height, max(1, round(width / aspect))), min(width, max(1, round(height * aspect)))
