"""The augmentation parameters of a clip, and the rectangles that follow, by numbers worked out on paper."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from expand.core.clip import Clip
from expand.core.study import Recipe
from expand.data.sampling import (
    OPERATIONS,
    Augmentation,
    Rectangle,
    frame_indices,
    random_rectangle,
    random_start,
    sample_augmentation,
    uniform_start,
    validation_scale,
    view_rectangle,
    widest,
    within,
)  # fmt: skip

CLIP = Clip(16, 1, 112, 112)
FIXED, RESIZED = Recipe(crop="fixed"), Recipe(crop="resized")


def parameters(down: float = 0.0, right: float = 0.0, shape: tuple[float, ...] = (0.0,)) -> Augmentation:
    return Augmentation(0.0, down, right, shape, False, (1.0, 1.0, 1.0, 0.0), (), 1.0)


@pytest.mark.parametrize(
    ("size", "sampled", "expected"),
    [
        ((128, 171), parameters(), (0, 0, 112, 112)),  # the short side becomes 128: nothing to resize
        (
            (128, 171),
            parameters(0.5, 0.999, (1.0,)),
            (19, 81, 90, 90),
        ),  # becomes 160: 128 / 160 × 112 = 89.6 of its pixels
        ((240, 320), parameters(0.999, 0.0), (30, 0, 210, 210)),  # 240 × 112 / 128
        ((20, 30), parameters(), (0, 0, 18, 18)),  # smaller than the crop: enlarged
    ],
)
def test_scale_jitter_is_a_square_of_the_jittered_short_side(size, sampled, expected):
    assert random_rectangle(*size, CLIP, Recipe(), sampled) == expected


@pytest.mark.parametrize(
    ("size", "sampled", "expected"),
    [
        ((128, 171), parameters(0.999, 0.999), (16, 59, 112, 112)),
        ((256, 342), parameters(0.5, 0.5), (16, 59, 224, 224)),
        ((128, 228), parameters(), (0, 0, 112, 149)),  # 16:9 gives up its aspect: 228 × 112 / 171 = 149.3
    ],
)
def test_a_fixed_size_gives_up_the_aspect(size, sampled, expected):
    assert random_rectangle(*size, CLIP, FIXED, sampled) == expected


def test_a_resized_crop_takes_the_first_attempt_that_fits():
    recipe = replace(RESIZED, crop_area=(0.25, 1.0), crop_aspect=(0.5, 2.0))
    square = random_rectangle(100, 100, CLIP, recipe, parameters(0.5, 0.0, (0.0, 0.5) * 10))
    assert square == Rectangle(25, 0, 50, 50)  # a quarter of the area at aspect 1
    wide = (1.0, 1.0)  # all of the area at aspect 2: does not fit
    assert random_rectangle(100, 100, CLIP, recipe, parameters(shape=wide + (0.0, 1.0) * 9)) == (0, 0, 35, 71)
    assert random_rectangle(100, 100, CLIP, recipe, parameters(shape=wide * 10)) == (0, 0, 100, 100)
    assert random_rectangle(100, 400, CLIP, recipe, parameters(0.5, 0.5, (1.0, 0.0) * 10)) == (
        0,
        100,
        100,
        200,
    )  # 2 at most


def test_drawn_areas_and_aspects_stay_in_their_ranges():
    for seed in range(300):
        _, _, rows, columns = random_rectangle(120, 160, CLIP, RESIZED, sample_augmentation(RESIZED, seed))
        assert 0.07 < rows * columns / (120 * 160) <= 1 and 0.72 < columns / rows < 1.4


SIDES = some.integers(1, 400)


@given(SIDES, SIDES, some.sampled_from([Recipe(), FIXED, RESIZED]), some.integers(0), some.integers(2, 5))
def test_every_rectangle_lies_within_the_frame(height, width, recipe, seed, crops):
    drawn = random_rectangle(height, width, CLIP, recipe, sample_augmentation(recipe, seed))
    scale = validation_scale(recipe)
    views = [view_rectangle(height, width, CLIP, scale, crop, crops) for crop in range(crops)]
    for top, left, rows, columns in (drawn, view_rectangle(height, width, CLIP, scale), *views):
        assert 0 <= top <= height - rows and 0 <= left <= width - columns and rows >= 1 and columns >= 1
    (first, last), size = (views[0], views[-1]), (height, width)
    assert (0, 0) in [(first.top, size[0] - last.top - last.height), (first.left, size[1] - last.left - last.width)]


CLIPS = some.lists(
    some.builds(Clip, some.integers(1, 24), some.integers(1, 9), some.just(8), some.just(8)), min_size=1, max_size=3
)


@given(some.integers(1, 200), CLIPS, some.floats(0, 1, exclude_max=True), some.integers(1, 5))
def test_streams_lie_within_the_video_around_one_moment(length, clips, moment, views):
    """Whatever is drawn: no frame that is not there, the last one held only where the video is too short, one middle."""
    wide = widest(clips)
    starts = [random_start(length, wide, moment), *(uniform_start(length, wide, view, views) for view in range(views))]
    assert starts[1:] == sorted(starts[1:])
    for start in starts:
        middles = []
        for clip in clips:
            first, span = within(length, clip, clips, start), (clip.frames - 1) * clip.stride + 1
            indices = frame_indices(length, clip, first)
            if span <= length:
                assert first >= 0 and indices == list(range(first, first + span, clip.stride)) and indices[-1] < length
            else:
                assert first == 0 and indices == [min(i * clip.stride, length - 1) for i in range(clip.frames)]
            middles.append(first + min(span, length) / 2)
        assert max(middles) - min(middles) <= 0.5


def test_validation_looks_at_the_same_geometry():
    assert view_rectangle(128, 171, CLIP, validation_scale(FIXED)) == (8, 29, 112, 112)
    assert view_rectangle(240, 320, CLIP, validation_scale(FIXED)) == (15, 55, 210, 210)
    assert view_rectangle(128, 171, CLIP, validation_scale(Recipe())) == (8, 29, 112, 112)
    assert view_rectangle(256, 340, CLIP, validation_scale(RESIZED)) == (16, 58, 224, 224)


def test_one_seed_is_one_draw_and_options_are_off_by_default():
    plain = sample_augmentation(Recipe(), 7)
    assert plain == sample_augmentation(Recipe(), 7) != sample_augmentation(Recipe(), 8)
    assert plain.colour == (1, 1, 1, 0) and plain.operations == () and plain.weight == 1
    assert sample_augmentation(Recipe(temporal_jitter=False), 7).moment == 0.5
    flips = [sample_augmentation(Recipe(), seed).flip for seed in range(200)]
    assert 70 < sum(flips) < 130
    assert not any(
        sample_augmentation(Recipe(), seed, flip=False).flip or sample_augmentation(Recipe(flip=False), seed).flip
        for seed in range(50)
    )


def test_options_draw_within_their_ranges():
    recipe = Recipe(colour_jitter=(0.4, 0.3, 0.2, 0.1), randaugment_operations=3, randaugment_magnitude=5, mixup=0.2)
    augmentations = [sample_augmentation(recipe, seed) for seed in range(400)]
    for position, (middle, spread) in enumerate(((1, 0.4), (1, 0.3), (1, 0.2), (0, 0.1))):
        values = [sampled.colour[position] for sampled in augmentations]
        assert middle - spread <= min(values) < middle - 0.9 * spread
        assert middle + 0.9 * spread < max(values) <= middle + spread
    assert {name for sampled in augmentations for name, _ in sampled.operations} == set(OPERATIONS)
    assert {strength for sampled in augmentations for _, strength in sampled.operations} == {-0.5, 0.5}
    assert all(len(sampled.operations) == 3 and 0 <= sampled.weight <= 1 for sampled in augmentations)
    assert sum(0.1 < sampled.weight < 0.9 for sampled in augmentations) < 200  # Beta(0.2, 0.2) is mostly near 0 and 1
