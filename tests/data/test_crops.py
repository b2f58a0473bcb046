"""Where the crops of a test lie: coordinates worked out by hand, and the very pixels that a view reads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expand.core.clip import Clip
from expand.data.loader import ViewClips
from expand.data.sampling import view_rectangle
from expand.data.transforms import centre_crop, normalise


@pytest.mark.parametrize(
    ("height", "width", "scale", "expected"),
    [
        (240, 320, 1.0, [(0, 0, 240), (0, 40, 240), (0, 80, 240)]),  # left, centre, right of a wide frame
        (320, 240, 1.0, [(0, 0, 240), (40, 0, 240), (80, 0, 240)]),  # top, centre, bottom of a tall one
        (240, 320, 128 / 112, [(15, 0, 210), (15, 55, 210), (15, 110, 210)]),  # a crop of 112 from a short side of 128
        (101, 180, 1.0, [(0, 0, 101), (0, 39, 101), (0, 79, 101)]),
        (90, 90, 1.5, [(15, 0, 60), (15, 15, 60), (15, 30, 60)]),
        (90, 90, 1.0, [(0, 0, 90)] * 3),
    ],
)
def test_three_crops_lie_along_the_longer_side(height, width, scale, expected):
    clip = Clip(1, 1, 112, 112)
    rectangles = [(top, left, side, side) for top, left, side in expected]
    assert [view_rectangle(height, width, clip, scale, crop, 3) for crop in range(3)] == rectangles
    assert view_rectangle(height, width, clip, scale) == rectangles[1]


def test_three_crops_of_a_frame_of_fixed_size():
    """128 x 171, whatever the frame's own shape: a crop of 112 is 7/8 of its height and 0.655 of its width."""
    clip, scale = Clip(1, 1, 112, 112), (128 / 112, 171 / 112)
    assert [view_rectangle(128, 342, clip, scale, crop, 3) for crop in range(3)] == [
        (8, 0, 112, 224), (8, 59, 112, 224), (8, 118, 112, 224),
    ]  # fmt: skip
    assert view_rectangle(256, 171, clip, scale, 2, 3) == (16, 59, 224, 112)  # wide once it has that size


class Cache:
    """Two videos of 9 and 2 frames whose pixels tell frame, row and column."""

    labels = np.array([1, 0])
    classes = ("a", "b")

    def __init__(self) -> None:
        self.reads = 0

    def __len__(self) -> int:
        return 2

    def length(self, index: int) -> int:
        return (9, 2)[index]

    def picked(self, index: int, indices: list[int]) -> np.ndarray:
        return self.frames(index)[indices]

    def frames(self, index: int) -> np.ndarray:
        self.reads += 1
        t, y, x = np.indices((self.length(index), 20, 30))
        return np.stack((t * 10, y * 5, x * 5), -1).astype(np.uint8)


def pixels(sample) -> np.ndarray:
    """What the network reads, back as (T, H, W, 3) from 0 to 255."""
    return (sample[0][0] * 0.225 + 0.45).mul(255).round().permute(1, 2, 3, 0).numpy().astype(np.uint8)


def test_a_view_reads_its_frames_and_its_square():
    data = ViewClips(Cache(), [Clip(2, 3, 16, 16)], 2, crops=3, scale=1.25)
    assert len(data) == 12 and [data[i][1] for i in range(12)] == [1] * 6 + [0] * 6
    # a clip spans 4 of 9 frames: 5 are left over, and two views start at a quarter and three quarters of them
    for item, (frames, left) in enumerate(
        [((1, 4), 0), ((1, 4), 7), ((1, 4), 14), ((3, 6), 0), ((3, 6), 7), ((3, 6), 14)]
    ):
        assert np.array_equal(pixels(data[item]), Cache().frames(0)[list(frames), 2:18, left : left + 16]), item
    assert np.array_equal(pixels(data[6]), Cache().frames(1)[[0, 1], 2:18, :16])  # the short video holds its last frame


def test_one_crop_is_the_centre_crop_of_validation():
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (4, 20, 30, 3), dtype=np.uint8))
    cache = Cache()
    cache.frames, cache.length = lambda index: frames.numpy(), lambda index: 4
    for scale in (1.0, 128 / 112, 1.9):
        (stream,), _ = ViewClips(cache, [Clip(4, 1, 12, 12)], 1, scale=scale)[0]
        assert torch.equal(stream, normalise(centre_crop(frames, 12, scale)))


def test_the_crops_of_a_clip_share_what_was_read():
    cache = Cache()
    data = ViewClips(cache, [Clip(2, 1, 16, 16)], 2, crops=3)
    before = cache.reads
    for item in range(3):
        _ = data[item]
    once = cache.reads - before
    _ = data[3]
    assert cache.reads - before == 2 * once
