"""From cached uint8 frames (T, H, W, 3) to the float clip (3, T, side, side) a network reads."""

from __future__ import annotations

import re

import torch
from torch.nn import functional

MEAN, STD = 0.45, 0.225  # of all three channels: the normalisation of SlowFast's and X3D's training

Frames = torch.Tensor


def random_crop(frames: Frames, side: int, jitter: tuple[float, float], generator: torch.Generator) -> torch.Tensor:
    """A square at a random place, of a size as if the short side had been resized to `side` times a factor uniform in
    `jitter` before cropping (X3D, section 4: 128 to 160 for a crop of 112). The same square in every frame."""
    height, width = frames.shape[1:3]
    scale, down, right = torch.rand(3, generator=generator).tolist()
    factor = jitter[0] + (jitter[1] - jitter[0]) * scale
    square = max(1, min(height, width, round(min(height, width) / factor)))
    top, left = round(down * (height - square)), round(right * (width - square))
    return _resize(frames[:, top : top + square, left : left + square], side)


def centre_crop(frames: Frames, side: int, scale: float = 1.0) -> torch.Tensor:
    """The square in the middle, as if the short side had been resized to `side` x `scale` first. Validation takes the lower
    end of the training jitter as its scale, so that things are about as large as in training."""
    height, width = frames.shape[1:3]
    square = max(1, min(height, width, round(min(height, width) / scale)))
    top, left = (height - square) // 2, (width - square) // 2
    return _resize(frames[:, top : top + square, left : left + square], side)


def normalise(clip: torch.Tensor) -> torch.Tensor:
    """From 0..255 to about ±2."""
    return clip.div_(255.0).sub_(MEAN).div_(STD)


def _resize(frames: Frames, side: int) -> torch.Tensor:  # (T, h, w, 3) uint8 -> (3, T, side, side) float
    planes = frames.permute(0, 3, 1, 2).float()  # (T, 3, h, w)
    if planes.shape[-1] != side:
        smaller = side < planes.shape[-1]
        planes = functional.interpolate(planes, (side, side), mode="bilinear", align_corners=False, antialias=smaller)
    return planes.permute(1, 0, 2, 3)


def mirrored_labels(classes: tuple[str, ...]) -> tuple[list[int] | None, list[str]]:
    """What each label becomes when a clip is flipped left to right, read from the class names.

    "step left" and "step right" change places; a class with a side but without its counterpart makes flipping wrong for the
    whole set: then the answer is None, with the names of such classes.
    """
    index = {name: number for number, name in enumerate(classes)}
    swapped, alone = list(range(len(classes))), []
    for name, number in index.items():
        mirror = _swap_sides(name)
        if mirror == name:
            continue
        if mirror in index:
            swapped[number] = index[mirror]
        else:
            alone.append(name)
    return (None if alone else swapped), alone


def _swap_sides(name: str) -> str:
    sides = {"left": "right", "right": "left", "Left": "Right", "Right": "Left", "LEFT": "RIGHT", "RIGHT": "LEFT"}
    word = r"(?<![A-Za-z])(left|right|LEFT|RIGHT|Left|Right)(?![a-z])|(?<=[a-z])(Left|Right)(?![a-z])"
    return re.sub(word, lambda match: sides[match.group()], name)
