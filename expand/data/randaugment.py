"""RandAugment's operations (arXiv 1909.13719; ranges of AutoAugment, arXiv 1805.09501, Table 6) on a whole clip at once.

A clip is uint8 (T, H, W, 3) on any device. `strength` in [-1, 1] is the share of an operation's range, signed if it has a
direction. Statistics of the picture (extremes, histogram, mean) are taken over all frames, so that all frames change equally.
Rotation, shear and translation use the nearest pixel, and grey 128 outside the picture.

Deviation: posterize and solarize get stronger with the magnitude; in the authors' code they get weaker.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

Clip = torch.Tensor
GREY = (0.299, 0.587, 0.114)  # the weights of red, green and blue in brightness (ITU-R BT.601)
OUTSIDE = 128


def apply(clip: Clip, operations: tuple[tuple[str, float], ...]) -> Clip:
    """Applies the operations (name, strength) in order."""
    for name, strength in operations:
        clip = BY_NAME[name](clip, strength)
    return clip


def auto_contrast(clip: Clip, strength: float) -> Clip:
    """Stretches each colour channel to 0..255."""
    low, high = clip.amin((0, 1, 2)).float(), clip.amax((0, 1, 2)).float()
    scale = torch.where(high > low, 255 / (high - low).clamp_min(1), 1.0)
    return _whole((clip.float() - torch.where(high > low, low, 0.0)) * scale)


def equalize(clip: Clip, strength: float) -> Clip:
    """Equalizes each colour channel's histogram, with the rounding of Pillow's `ImageOps.equalize`."""
    return torch.stack([_equalized(colour) for colour in clip.unbind(-1)], -1)


def _equalized(colour: torch.Tensor) -> torch.Tensor:
    counts = torch.bincount(colour.flatten().int(), minlength=256)
    step = (counts.sum() - counts[counts.nonzero()[-1]]) // 255
    if not step:
        return colour
    table = (counts.cumsum(0) - counts + step // 2) // step
    return table.clamp_max(255).to(torch.uint8)[colour.int()]


def solarize(clip: Clip, strength: float) -> Clip:
    """Inverts values at or above a threshold, which falls from 256 to 0."""
    return torch.where(clip.int() >= round(256 * (1 - abs(strength))), 255 - clip, clip)


def posterize(clip: Clip, strength: float) -> Clip:
    """Keeps 8 down to 4 bits per colour channel."""
    return clip & (256 - 2 ** round(4 * abs(strength)))


def colour(clip: Clip, strength: float) -> Clip:
    """Scales the distance from grey by 0.1 to 1.9."""
    return _blend(clip, grey(clip.float())[..., None], strength)


def contrast(clip: Clip, strength: float) -> Clip:
    """Scales the distance from the clip's mean brightness by 0.1 to 1.9."""
    return _blend(clip, mean_grey(clip[None]), strength)


def brightness(clip: Clip, strength: float) -> Clip:
    """Scales brightness by 0.1 to 1.9."""
    return _blend(clip, torch.zeros((), device=clip.device), strength)


def sharpness(clip: Clip, strength: float) -> Clip:
    """Scales the distance from a 3 x 3 blur (centre weight 5) by 0.1 to 1.9; border pixels stay."""
    values, (rows, columns) = clip.float(), clip.shape[1:3]
    if min(rows, columns) < 3:
        return clip
    blurred, inner = values.clone(), slice(1, -1)
    nine = [values[:, y : rows - 2 + y, x : columns - 2 + x] for y in range(3) for x in range(3)]
    blurred[:, inner, inner] = (sum(nine) + 4 * nine[4]) / 13
    return _blend(clip, blurred, strength)


def rotate(clip: Clip, strength: float) -> Clip:
    """Rotates about the centre by up to 30 degrees."""
    cos, sin = math.cos(math.radians(30 * strength)), math.sin(math.radians(30 * strength))
    return _moved(clip, ((cos, sin, 0), (-sin, cos, 0)))


def shear_x(clip: Clip, strength: float) -> Clip:
    """Shifts rows sideways by up to 0.3 of their distance from the middle row."""
    return _moved(clip, ((1, 0.3 * strength, 0), (0, 1, 0)))


def shear_y(clip: Clip, strength: float) -> Clip:
    return _moved(clip, ((1, 0, 0), (0.3 * strength, 1, 0)))


def translate_x(clip: Clip, strength: float) -> Clip:
    """Shifts by up to 150/331 of the width."""
    return _moved(clip, ((1, 0, 150 / 331 * strength * clip.shape[2]), (0, 1, 0)))


def translate_y(clip: Clip, strength: float) -> Clip:
    return _moved(clip, ((1, 0, 0), (0, 1, 150 / 331 * strength * clip.shape[1])))


BY_NAME: dict[str, Callable[[Clip, float], Clip]] = {
    "identity": lambda clip, strength: clip, "auto_contrast": auto_contrast, "equalize": equalize, "rotate": rotate,
    "solarize": solarize, "colour": colour, "posterize": posterize, "contrast": contrast, "brightness": brightness,
    "sharpness": sharpness, "shear_x": shear_x, "shear_y": shear_y, "translate_x": translate_x,
    "translate_y": translate_y,
}  # fmt: skip


def grey(values: torch.Tensor) -> torch.Tensor:  # float (..., 3) -> (...)
    red, green, blue = values.unbind(-1)
    return GREY[0] * red + GREY[1] * green + GREY[2] * blue


def mean_grey(clips: torch.Tensor) -> torch.Tensor:  # uint8 (B, T, H, W, 3) -> (B, 1, 1, 1, 1)
    """The mean brightness of each clip, from integer sums, which do not depend on the order of addition."""
    sums = (
        clips.sum((2, 3), dtype=torch.int32).sum(1, dtype=torch.int64).double()
    )  # the sum of one frame cannot overflow
    return (grey(sums) / clips[0, ..., 0].numel()).float().reshape(-1, 1, 1, 1, 1)


def _blend(clip: Clip, other: torch.Tensor, strength: float) -> Clip:
    return _whole(other + (1 + 0.9 * strength) * (clip.float() - other)).reshape(clip.shape)


def _whole(values: torch.Tensor) -> Clip:
    return values.round_().clamp_(0, 255).to(torch.uint8)


Row = tuple[float, float, float]


def _moved(clip: Clip, source: tuple[Row, Row]) -> Clip:
    """Moves pixels: the result at (x, y), relative to the centre, is the pixel at source · (x, y, 1).

    Positions are computed on the CPU, so that all devices agree.
    """
    rows, columns = clip.shape[1:3]
    x, y = torch.arange(columns) - (columns - 1) / 2, (torch.arange(rows) - (rows - 1) / 2)[:, None]
    (xx, xy, x1), (yx, yy, y1) = source
    from_x = (xx * x + xy * y + x1 + (columns - 1) / 2).round().long()
    from_y = (yx * x + yy * y + y1 + (rows - 1) / 2).round().long()
    inside = (from_x >= 0) & (from_x < columns) & (from_y >= 0) & (from_y < rows)
    index = torch.where(inside, from_y * columns + from_x, 0).flatten().to(clip.device)
    moved = clip.flatten(1, 2).index_select(1, index)
    moved[:, (~inside).flatten().to(clip.device)] = OUTSIDE
    return moved.reshape(clip.shape)
