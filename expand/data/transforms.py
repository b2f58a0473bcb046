"""From cached uint8 frames (T, H, W, 3) to the float batches (B, 3, T, height, width) a network reads.

Training clips are cropped and resized one by one, in uint8, because each has its own rectangle. All later steps run on the whole
batch, on the training device. The memory format is channels last, as the network needs it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
from torch.nn import functional

from expand.core.clip import Clip
from expand.core.errors import UsageError, unknown
from expand.data import randaugment
from expand.data.sampling import Augmentation, Rectangle, Scale, view_rectangle

MEAN, STD = 0.45, 0.225  # of all three channels, as in SlowFast's and X3D's training
LEAST, MOST = -MEAN / STD, (1 - MEAN) / STD  # black and white after normalisation

Frames = torch.Tensor


def crop_resized(frames: Frames, place: Rectangle, height: int, width: int) -> Frames:
    """Crops the same rectangle from every frame and resizes it: uint8 (T, height, width, 3).

    On a CPU torch resizes uint8 about ten times as fast as float, and rounds twice, once per direction. Elsewhere it supports
    only float, which is rounded once. Values differ by at most 1 of 255.
    """
    if (place.height, place.width) == (height, width):
        return _within(frames, place)
    if _resizes_bytes(frames.device):
        return _resize(_within(frames, place), height, width)
    return _resize(_within(frames, place).float(), height, width).round_().clamp_(0, 255).to(torch.uint8)


def augment_batch(
    streams: Sequence[torch.Tensor], labels: torch.Tensor, augmentations: Sequence[Augmentation], classes: int
) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """Augments and normalises a batch on its own device: flips, RandAugment, colours, normalisation, mixup.

    Args:
        streams: uint8 (B, T, H, W, 3) each.
        labels: (B,).
        augmentations: one per clip.
        classes: the number of output classes.

    Returns:
        Streams as float (B, 3, T, H, W). With mixup (arXiv 1710.09412) the labels are (B, classes): the weights of the two
        labels of each clip.
    """
    done = []
    for stream in streams:
        stream = _flipped(stream, augmentations)
        if any(sampled.operations for sampled in augmentations):
            pairs = zip(stream, augmentations, strict=True)
            stream = torch.stack([randaugment.apply(clip, sampled.operations) for clip, sampled in pairs])
        done.append(_coloured(stream, augmentations).permute(0, 4, 1, 2, 3))
    if all(sampled.weight == 1 for sampled in augmentations):
        return tuple(done), labels
    weights = torch.tensor([sampled.weight for sampled in augmentations], device=labels.device)
    targets = functional.one_hot(labels, classes).float()
    return tuple(_mixed(stream, weights) for stream in done), _mixed(targets, weights)


def centre_crop(frames: Frames, side: int, scale: Scale = 1.0) -> torch.Tensor:
    """The centre square, as if the frame was resized by `scale` first (see `sampling.Scale`)."""
    height, width = frames.shape[1:3]
    return crop_at(frames, view_rectangle(height, width, Clip(1, 1, side, side), scale), side)


def crop_at(frames: Frames, place: Rectangle, side: int) -> torch.Tensor:
    """A rectangle of uint8 frames (T, H, W, 3) as float (3, T, side, side), 0..255.

    It is resized in float, so that an export can do the same on any device.
    """
    return _resize(_within(frames, place).float(), side, side).permute(3, 0, 1, 2)


def normalise(clip: torch.Tensor) -> torch.Tensor:
    """Normalises 0..255 to about ±2, in place."""
    return clip.mul_(1 / (255 * STD)).sub_(MEAN / STD)


def _resizes_bytes(device: torch.device) -> bool:
    return device.type == "cpu"


def _within(frames: Frames, place: Rectangle) -> Frames:
    return frames[:, place.top : place.top + place.height, place.left : place.left + place.width]


def _resize(frames: Frames, height: int, width: int) -> Frames:  # (T, h, w, 3) -> (T, height, width, 3)
    planes = frames.permute(0, 3, 1, 2)
    if planes.shape[2:] != (height, width):
        planes = functional.interpolate(
            planes, (height, width), mode="bilinear", align_corners=False, antialias=True
        )  # fmt: skip
    return planes.permute(0, 2, 3, 1)


def _flipped(stream: torch.Tensor, augmentations: Sequence[Augmentation]) -> torch.Tensor:
    if not any(sampled.flip for sampled in augmentations):
        return stream
    return torch.stack([clip.flip(-2) if d.flip else clip for clip, d in zip(stream, augmentations, strict=True)])


def _mixed(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mixes each entry with the one before it in the batch, which is a random one, because batches are shuffled."""
    weights = weights.reshape(-1, *[1] * (values.ndim - 1))
    return values.mul(weights).add_(values.roll(1, 0).mul_(1 - weights))


# --- colour ----------------------------------------------------------------------------------------------------------


def _coloured(stream: torch.Tensor, augmentations: Sequence[Augmentation]) -> torch.Tensor:
    """Normalises, and changes brightness, contrast, saturation and hue: uint8 (B, T, H, W, 3) to float.

    All of it is one 3 x 3 matrix and one offset per clip, so one pass over the batch suffices; values are clipped at black and
    white only at the end. The hue rotates about the grey axis of YIQ, which is linear, unlike HSV.
    """
    if all(sampled.colour == (1, 1, 1, 0) for sampled in augmentations):
        return normalise(stream.float())
    matrices = torch.stack([colour_matrix(*sampled.colour) for sampled in augmentations]).to(stream.device)
    factors = torch.tensor([sampled.colour[:2] for sampled in augmentations], device=stream.device)
    offset = (factors[:, 0] * (1 - factors[:, 1])).reshape(-1, 1, 1, 1) * randaugment.mean_grey(stream)[..., 0]
    planes = stream.permute(0, 4, 1, 2, 3).contiguous().float()  # 5 times as fast as with interleaved colours
    changed = torch.empty_like(planes)
    for to in range(3):
        red, green, blue = matrices[:, to].reshape(-1, 3, 1, 1, 1).unbind(1)
        torch.mul(planes[:, 0], red, out=changed[:, to])
        changed[:, to].add_(planes[:, 1] * green).add_(planes[:, 2] * blue).add_(offset)
    return normalise(changed.permute(0, 2, 3, 4, 1).contiguous()).clamp_(LEAST, MOST)


def colour_matrix(brightness: float, contrast: float, saturation: float, turn: float) -> torch.Tensor:
    """The matrix that changes a colour (R, G, B), without contrast's offset; `turn` is the hue's rotation in full turns."""
    grey = torch.tensor(randaugment.GREY, dtype=torch.float64).repeat(3, 1)
    less = saturation * torch.eye(3, dtype=torch.float64) + (1 - saturation) * grey
    to_yiq = torch.tensor([randaugment.GREY, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)], dtype=torch.float64)
    cos, sin = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)
    rotation = torch.tensor([(1, 0, 0), (0, cos, -sin), (0, sin, cos)], dtype=torch.float64)
    return (brightness * contrast * torch.linalg.inv(to_yiq) @ rotation @ to_yiq @ less).float()


# --- left and right --------------------------------------------------------------------------------------------------


Pairs = Sequence[tuple[str, str]]

# Sides within lower-case words: "swipeleft" and "lefthand" have a side; "bright", "cleft" and "leftovers" have none.
_NOT_RIGHT = ("b", "f", "w", r"\ba", r"\bal", "up", "out", "down", "copy", "birth", "forth")  # before "right"
_SIDE = re.compile(
    "(?<!c)left(?!over|ist|ism)|"
    + "".join(f"(?<!{before})" for before in _NOT_RIGHT)
    + r"right(?!ful|eous|ist|ism|ly|ness|(?:s|ed|ing)\b)|counterclockwise|clockwise"
)
_OTHER_SIDE = {"left": "right", "right": "left", "clockwise": "counterclockwise", "counterclockwise": "clockwise"}


def mirrored_labels(classes: Sequence[str], pairs: Pairs = ()) -> tuple[list[int] | None, list[str]]:
    """The label of each class after a clip is flipped left to right.

    `pairs` of classes are swapped (a class paired with itself stays); all others are judged by their names: "step left" and
    "Step Right" are swapped, and so are "clockwise" and "anticlockwise".

    Returns:
        The new labels, or None if a class has a side but no counterpart, because then no clip may be flipped; and the names of
        such classes.

    Raises:
        UsageError: a pair names an unknown class, or a class is in two pairs.
    """
    swapped = list(range(len(classes)))
    given = _given(classes, pairs)
    plain: dict[str, list[int]] = {}
    for number, name in enumerate(classes):
        plain.setdefault(_plain(name), []).append(number)
    alone = []
    for number, name in enumerate(classes):
        if number in given:
            swapped[number] = given[number]
            continue
        words = _plain(name)
        mirror = _SIDE.sub(lambda side: _OTHER_SIDE[side.group()], words)
        if mirror == words:
            continue
        others = plain.get(mirror, [])
        if len(others) != 1 or others[0] in given or len(plain[words]) != 1:
            alone.append(name)
        else:  # in both directions: of "thumbleft" and "thumbright" only the first is recognised
            swapped[number], swapped[others[0]] = others[0], number
    return (None if alone else swapped), alone


def _given(classes: Sequence[str], pairs: Pairs) -> dict[int, int]:
    index = {name: number for number, name in enumerate(classes)}
    given: dict[int, int] = {}
    for pair in pairs:
        for name, other in (pair, pair[::-1]):
            if name not in index:
                raise unknown("class in data.mirrored:", name, classes)
            if given.setdefault(index[name], index.get(other, -1)) != index.get(other, -1):
                raise UsageError(f"data.mirrored: '{name}' is in two pairs; each class has one mirror image")
    return given


def _plain(name: str) -> str:
    """A name in lower case, with separated words and one spelling of "counterclockwise"."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|[\W_]+", " ", name).strip().lower()
    return re.sub(r"(counter|anti) ?clockwise", "counterclockwise", apart)
