"""RandAugment's operations on clips small enough to work out by hand, two frames each unless said otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from expand.data import randaugment
from expand.data.sampling import OPERATIONS


def clip(rows: list[list[int]], frames: int = 2) -> torch.Tensor:
    """Grey frames, all alike: (frames, H, W, 3)."""
    return torch.tensor(rows, dtype=torch.uint8)[None, :, :, None].repeat(frames, 1, 1, 3)


NINE = [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
OUT = randaugment.OUTSIDE


@pytest.mark.parametrize(
    ("name", "strength", "before", "after"),
    [
        ("identity", 1.0, NINE, NINE),
        ("auto_contrast", 1.0, [[50, 100, 150]], [[0, 128, 255]]),  # 50 × 255 / 100 = 127.5
        ("auto_contrast", 1.0, [[7, 7]], [[7, 7]]),
        ("solarize", 0.5, [[0, 127, 128, 255]], [[0, 127, 127, 0]]),
        ("solarize", -1.0, [[0, 127]], [[255, 128]]),
        ("solarize", 0.0, [[0, 255]], [[0, 255]]),
        ("posterize", 1.0, [[255, 16, 15]], [[240, 16, 0]]),
        ("posterize", 0.5, [[255, 7]], [[252, 4]]),
        ("posterize", 0.0, [[255, 1]], [[255, 1]]),
        ("brightness", 1.0, [[100, 200]], [[190, 255]]),
        ("brightness", -1.0, [[100, 200]], [[10, 20]]),
        ("contrast", -1.0, [[100, 200]], [[145, 155]]),
        ("contrast", 0.5, [[100, 200]], [[78, 222]]),  # 150 ± 1.45 × 50 = 77.5, 222.5
        ("colour", 1.0, NINE, NINE),  # grey stays grey
        ("sharpness", -1.0, [[13, 13, 13], [13, 0, 13], [13, 13, 13]], [[13, 13, 13], [13, 7, 13], [13, 13, 13]]),  # 0.9 × 8
        ("sharpness", 1.0, [[1, 2], [3, 4]], [[1, 2], [3, 4]]),  # nothing but rim
        ("shear_x", 1.0, [[1, 2], [3, 4]], [[1, 2], [3, 4]]),  # 0.15 of a pixel
        ("translate_x", 0.75, NINE, [[20, 30, OUT], [50, 60, OUT], [80, 90, OUT]]),  # 0.75 × 0.453 × 3 = 1.02
        ("translate_x", -0.75, NINE, [[OUT, 10, 20], [OUT, 40, 50], [OUT, 70, 80]]),
        ("translate_y", 0.75, NINE, [[40, 50, 60], [70, 80, 90], [OUT, OUT, OUT]]),
    ],
)  # fmt: skip
def test_by_hand(name, strength, before, after):
    got = randaugment.BY_NAME[name](clip(before), strength)
    assert got.dtype == torch.uint8 and torch.equal(got, clip(after))


def test_shears_push_rows_and_columns_by_their_distance_from_the_middle():
    columns = clip([list(range(9))] * 9)
    sheared = randaugment.shear_x(columns, 1.0)[0, :, :, 0]
    assert sheared[:, 4].tolist() == [3, 3, 3, 4, 4, 4, 5, 5, 5]  # 4 + 0.3 × (row - 4), to the nearest
    assert sheared[8, 8] == OUT and sheared[0, 0] == OUT
    rows = randaugment.shear_y(columns.transpose(1, 2), 1.0)
    assert torch.equal(rows, randaugment.shear_x(columns, 1.0).transpose(1, 2))


def test_a_rotation_turns_about_the_centre(monkeypatch):
    monkeypatch.setattr(randaugment.math, "radians", lambda degrees: degrees * torch.pi / 60)  # 30 degrees become 90
    turned = randaugment.rotate(clip(NINE), 1.0)[0, :, :, 0]
    assert turned.tolist() == [[70, 40, 10], [80, 50, 20], [90, 60, 30]]
    monkeypatch.undo()
    line = clip([[0] * 41] * 20 + [[9] * 41] + [[0] * 41] * 20)
    y, x = (randaugment.rotate(line, 1.0)[0, :, :, 0] == 9).nonzero().double().T
    assert np.polyfit(x, y, 1)[0] == pytest.approx(np.tan(np.pi / 6), abs=0.03)


def test_colour_moves_away_from_grey():
    red = torch.tensor([200, 100, 100], dtype=torch.uint8).expand(1, 1, 1, 3)  # grey: 0.299 × 200 + 0.701 × 100 = 129.9
    assert randaugment.colour(red, -1.0).flatten().tolist() == [137, 127, 127]
    assert randaugment.colour(red, 1.0).flatten().tolist() == [255, 73, 73]


def test_equalizing_is_pillows():
    random = np.random.default_rng(0)
    picture = (random.beta(2, 5, (40, 30, 3)) * 255).astype(np.uint8)
    expected = np.asarray(ImageOps.equalize(Image.fromarray(picture)))
    assert np.array_equal(randaugment.equalize(torch.from_numpy(picture)[None], 1.0)[0].numpy(), expected)
    assert torch.equal(randaugment.equalize(clip([[7, 7]]), 1.0), clip([[7, 7]]))


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_frame_is_changed_alike(name):
    """What happens to a frame value by value and place by place is the same in two different frames."""
    random = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 12, 16, 3), generator=random, dtype=torch.uint8)
    frames[1, :6] = frames[0, :6]  # the upper halves are equal, the lower ones not
    changed = randaugment.BY_NAME[name](frames, 0.6)
    assert changed.shape == frames.shape
    untouched = slice(0, 5) if name == "sharpness" else slice(0, 1)  # where the lower half cannot have come to
    if name in ("rotate", "shear_y", "translate_y"):
        frames[1] = frames[0]
        changed, untouched = randaugment.BY_NAME[name](frames, 0.6), slice(None)
    assert torch.equal(changed[0, untouched], changed[1, untouched])
