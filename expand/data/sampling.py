"""Which frames and which rectangle of a video a clip reads. Pure functions of numbers.

`draw` throws the dice of one clip; everything else follows from that draw and the video's length and size. A clip spans
(frames - 1) x stride + 1 source frames, at the cache's frame rate, to which every video is brought: a stride is a time. Where a
video is shorter than that, its last frame is held. The streams of one sample look at one moment: the widest clip is laid into the
video, the others into the middle of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from expand.core.clip import Clip
from expand.core.study import Recipe

ATTEMPTS = 10  # at a rectangle that fits, in the Inception crop
Scale = float | tuple[float, float]  # of the resized frame over the crop: its short side, or its height and its width

# RandAugment's (arXiv 1909.13719, section 3); `randaugment.py` carries them out.
OPERATIONS = (
    "identity", "auto_contrast", "equalize", "rotate", "solarize", "colour", "posterize", "contrast", "brightness",
    "sharpness", "shear_x", "shear_y", "translate_x", "translate_y",
)  # fmt: skip


class Rectangle(NamedTuple):
    """In whole pixels of the cached frame."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Draw:
    """The dice of one clip, the same for all its frames and streams.

    `moment`, `down` and `right` place it in time and space, in [0, 1); `shape` holds uniform numbers for the rectangle's
    size. `colour`: factors of brightness, contrast and saturation, and a turn of the hue. `operations`: RandAugment's, by
    name, with strengths in [-1, 1]. `weight`: the clip's own in mixup.
    """

    moment: float
    down: float
    right: float
    shape: tuple[float, ...]
    flip: bool
    colour: tuple[float, float, float, float]
    operations: tuple[tuple[str, float], ...]
    weight: float


def draw(recipe: Recipe, seed: int, *, flip: bool = True) -> Draw:
    """What the recipe makes of a clip with this seed; a clip is never flipped without `flip`."""
    dice = Random(seed)
    moment, down, right, coin = (dice.random() for _ in range(4))
    shape = tuple(dice.random() for _ in range(2 * ATTEMPTS if recipe.crop == "resized" else 1))
    *spreads, turn = recipe.colour_jitter
    brightness, contrast, saturation = (dice.uniform(max(0.0, 1 - spread), 1 + spread) for spread in spreads)
    colour = (brightness, contrast, saturation, dice.uniform(-turn, turn))
    strength = recipe.randaugment_magnitude / 10
    operations = tuple(
        (dice.choice(OPERATIONS), dice.choice((-strength, strength))) for _ in range(recipe.randaugment_operations)
    )
    weight = dice.betavariate(recipe.mixup, recipe.mixup) if recipe.mixup else 1.0
    return Draw(
        moment if recipe.temporal_jitter else 0.5, down, right, shape, flip and recipe.flip and coin < 0.5, colour,
        operations, weight,
    )  # fmt: skip


# --- in time ---------------------------------------------------------------------------------------------------------


def random_start(length: int, clip: Clip, moment: float) -> int:
    """The first frame of a clip laid uniformly at random into `length` frames; `moment` is uniform in [0, 1)."""
    return int(moment * (_slack(length, clip) + 1))


def uniform_start(length: int, clip: Clip, view: int, views: int) -> int:
    """The first frame of view number `view` (from 0) of `views` spread evenly over `length` frames; a single one is
    centred (the papers' "K-Center" testing, in time)."""
    return int(_slack(length, clip) * (view + 0.5) / views)


def widest(clips: Sequence[Clip]) -> Clip:
    """The clip that spans the most time."""
    return max(clips, key=_span)


def within(length: int, clip: Clip, clips: Sequence[Clip], start: int) -> int:
    """The first frame of one of a sample's clips, where the widest of them starts at `start`: the middles of all coincide, of
    what a video of `length` frames has of them."""
    return start + (min(_span(widest(clips)), length) - min(_span(clip), length)) // 2


def frame_indices(length: int, clip: Clip, start: int) -> list[int]:
    """`clip.frames` indices below `length`."""
    return [min(start + step * clip.stride, length - 1) for step in range(clip.frames)]


def _slack(length: int, clip: Clip) -> int:
    return max(0, length - _span(clip))


def _span(clip: Clip) -> int:
    return (clip.frames - 1) * clip.stride + 1


# --- in space --------------------------------------------------------------------------------------------------------


def random_rectangle(height: int, width: int, clip: Clip, recipe: Recipe, drawn: Draw) -> Rectangle:
    """What to cut out of a frame of this size before it is resized to the clip's: the same as to resize the whole frame and
    then to crop, but for half a source pixel of rounding."""
    if recipe.crop == "resized":
        rows, columns = _inception_size(height, width, recipe, drawn.shape)
    elif recipe.crop == "fixed":
        rows, columns = _size(height, width, clip, recipe.squeeze)
    else:
        small, large = recipe.scale_jitter
        rows, columns = _size(height, width, clip, small + (large - small) * drawn.shape[0])
    return Rectangle(round(drawn.down * (height - rows)), round(drawn.right * (width - columns)), rows, columns)


def view_rectangle(height: int, width: int, clip: Clip, scale: Scale, crop: int = 0, crops: int = 1) -> Rectangle:
    """What crop number `crop` (from 0) of `crops` reads of a frame that was resized by `scale`. One crop is the centre; several
    lie evenly along the longer side from edge to edge, centred across it: three are left, centre and right of a wide frame,
    top, centre and bottom of a tall one (SlowFast, section 4, inference; X3D's "LeftCenterRight")."""
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
    """Validation takes the training's fixed size, or the lower end of its jitter, so that things are about as large as in
    training. (Random resized crops have no size of their own; theirs are tested at 256 for a crop of 224.)"""
    return recipe.squeeze if recipe.crop == "fixed" else recipe.scale_jitter[0]


def _size(height: int, width: int, clip: Clip, scale: Scale) -> tuple[int, int]:
    """How much of a frame the crop shows if the frame is resized by `scale` first."""
    if isinstance(scale, tuple):
        rows, columns = height / scale[0], width / scale[1]
    else:
        factor = min(height / clip.height, width / clip.width) / scale
        rows, columns = clip.height * factor, clip.width * factor
    return max(1, min(height, round(rows))), max(1, min(width, round(columns)))


def _inception_size(height: int, width: int, recipe: Recipe, shape: tuple[float, ...]) -> tuple[int, int]:
    """A share of the frame's area, uniform in `crop_area`, of an aspect (width over height) whose logarithm is uniform in
    that of `crop_aspect` (arXiv 1409.4842, section 6). The first attempt that fits, else as much as the aspects allow."""
    (smallest, largest), (narrow, wide) = recipe.crop_area, recipe.crop_aspect
    for share, lean in zip(shape[::2], shape[1::2], strict=True):
        area = height * width * (smallest + (largest - smallest) * share)
        aspect = narrow * math.exp(lean * math.log(wide / narrow))
        rows, columns = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < rows <= height and 0 < columns <= width:
            return rows, columns
    aspect = min(max(width / height, narrow), wide)
    return min(height, max(1, round(width / aspect))), min(width, max(1, round(height * aspect)))
