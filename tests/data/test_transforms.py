"""From a draw to a batch: what every frame, every worker count and every device must agree on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from expand.core.clip import Clip
from expand.core.study import Recipe
from expand.data import loader
from expand.data import transforms as augment
from expand.data.cache.clip_cache import ClipCache, prepare
from expand.data.cache.device_cache import DeviceClips
from expand.data.loader import TrainingClips, ViewClips, batches
from expand.data.read_source import read_source
from expand.data.sampling import Augmentation, Rectangle
from expand.data.transforms import LEAST, MOST, augment_batch, centre_crop, colour_matrix, crop_resized, normalise

PLAIN = Augmentation(0.0, 0.0, 0.0, (0.0,), False, (1.0, 1.0, 1.0, 0.0), (), 1.0)
CLIPS = (Clip(3, 2, 16, 16),)
EVERYTHING = Recipe(
    batch_size=8, crop="resized", colour_jitter=(0.4, 0.4, 0.4, 0.1), randaugment_operations=2, mixup=0.5
)  # fmt: skip


def noise(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8))


@pytest.fixture(scope="module")
def cache(squares) -> ClipCache:
    return ClipCache(prepare(read_source(squares), side=24)[0])


# --- one clip --------------------------------------------------------------------------------------------------------


def test_a_cut_is_the_rectangle_or_close_to_resizing_it_in_float():
    frames = noise(3, 30, 40, 3)
    assert torch.equal(crop_resized(frames, Rectangle(4, 9, 16, 16), 16, 16), frames[:, 4:20, 9:25])
    for place in (Rectangle(2, 3, 27, 22), Rectangle(5, 0, 10, 31), Rectangle(0, 0, 8, 8)):
        exact = augment._resize(augment._within(frames, place).float(), 16, 16)
        got = crop_resized(frames, place, 16, 16)
        assert got.shape == (3, 16, 16, 3) and got.dtype == torch.uint8
        assert (got - exact).abs().max() <= 1.01 and (got - exact).abs().mean() < 0.4


def test_the_path_of_other_devices_differs_by_one_at_most(monkeypatch):
    """What a GPU does with frames that it holds, done here on the CPU: float, rounded once."""
    frames, place = noise(2, 40, 50, 3), Rectangle(1, 2, 37, 45)
    ours = crop_resized(frames, place, 16, 16)
    monkeypatch.setattr(augment, "_resizes_bytes", lambda device: False)
    theirs = crop_resized(frames, place, 16, 16)
    assert theirs.dtype == torch.uint8 and (ours.int() - theirs.int()).abs().max() == 1


def test_the_centre_of_a_frame():
    frames = noise(3, 30, 40, 3)
    assert torch.equal(centre_crop(frames, 30), frames[:, :, 5:35].permute(3, 0, 1, 2).float())
    squeezed = centre_crop(frames, 20, (1.5, 2.0))  # 20 × 20 of 30 × 40: all of it is shown in 2/3 × 1/2
    assert torch.equal(squeezed, frames[:, 5:25, 10:30].permute(3, 0, 1, 2).float())


def test_normalising_ends_at_black_and_white():
    assert normalise(torch.tensor([0.0, 255.0])).tolist() == pytest.approx([LEAST, MOST], abs=1e-6)
    assert pytest.approx(-2) == LEAST and pytest.approx(0.55 / 0.225) == MOST


# --- a batch ---------------------------------------------------------------------------------------------------------


def test_a_batch_is_flipped_normalised_and_channels_last():
    stream = noise(2, 3, 4, 5, 3)
    (out,), labels = augment_batch([stream], torch.tensor([1, 0]), [PLAIN, replace(PLAIN, flip=True)], 2)
    expected = normalise(stream.permute(0, 4, 1, 2, 3).float())
    assert torch.equal(out[0], expected[0]) and torch.equal(out[1], expected[1].flip(-1))
    assert out.is_contiguous(memory_format=torch.channels_last_3d) and labels.tolist() == [1, 0]


def test_randaugment_is_each_clips_own():
    stream = noise(2, 3, 4, 5, 3)
    augmentations = [replace(PLAIN, operations=(("solarize", 1.0), ("posterize", 1.0))), PLAIN]
    (out,), _ = augment_batch([stream], torch.tensor([0, 1]), augmentations, 2)
    expected = torch.stack([(255 - stream[0]) & 240, stream[1]])
    assert torch.equal(out, normalise(expected.permute(0, 4, 1, 2, 3).float()))


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ((0.5, 1.0, 1.0, 0.0), [(50, 25, 0), (25, 50, 100)]),
        ((1.0, 0.5, 1.0, 0.0), [(88.925, 63.925, 38.925), (63.925, 88.925, 138.925)]),  # halfway to the mean grey
        ((1.0, 1.0, 0.0, 0.0), [(59.25, 59.25, 59.25), (96.45, 96.45, 96.45)]),  # their greys
        ((0.5, 0.5, 0.0, 0.0), [(34.275, 34.275, 34.275), (43.575, 43.575, 43.575)]),  # 38.925 ± 0.5 × 9.3
        ((1.0, 1.0, 1.0, 1.0), [(100, 50, 0), (50, 100, 200)]),  # a whole turn
    ],
)
def test_colours_by_hand(factors, expected):
    """Two pixels whose greys are 59.25 and 96.45 (by 0.299, 0.587, 0.114), 77.85 in the mean."""
    stream = torch.tensor([(100, 50, 0), (50, 100, 200)], dtype=torch.uint8).reshape(1, 1, 1, 2, 3)
    (out,), _ = augment_batch([stream], torch.tensor([0]), [replace(PLAIN, colour=factors)], 1)
    got = out.permute(0, 2, 3, 4, 1).reshape(2, 3) * (255 * augment.STD) + 255 * augment.MEAN
    assert torch.allclose(got, torch.tensor(expected, dtype=torch.float32), atol=0.01)


def test_a_hue_turns_about_grey_and_keeps_brightness():
    matrix = colour_matrix(1, 1, 1, 0.3)
    assert torch.allclose(matrix @ torch.ones(3), torch.ones(3), atol=1e-6)
    grey = torch.tensor([0.299, 0.587, 0.114])
    assert torch.allclose(grey @ matrix, grey, atol=1e-6)
    there_and_back = colour_matrix(1, 1, 1, 0.3) @ colour_matrix(1, 1, 1, -0.3)
    assert torch.allclose(there_and_back, torch.eye(3), atol=1e-6) and not torch.allclose(
        matrix, torch.eye(3), atol=0.1
    )


def test_colours_are_cut_off_at_black_and_white():
    stream = torch.tensor([[200, 10, 250]], dtype=torch.uint8).reshape(1, 1, 1, 1, 3)
    (out,), _ = augment_batch([stream], torch.tensor([0]), [replace(PLAIN, colour=(2.0, 1.0, 1.0, 0.0))], 1)
    assert out.flatten().tolist() == pytest.approx([MOST, (20 / 255 - 0.45) / 0.225, MOST], abs=1e-5)


# --- mixup -----------------------------------------------------------------------------------------------------------


def test_mixup_pairs_each_clip_with_the_one_before_it():
    stream = noise(3, 1, 2, 2, 3)
    augmentations = [replace(PLAIN, weight=weight) for weight in (0.75, 1.0, 0.5)]
    (out,), targets = augment_batch([stream], torch.tensor([2, 0, 0]), augmentations, 3)
    plain = normalise(stream.permute(0, 4, 1, 2, 3).float())
    for number, (own, other) in enumerate(((0.75, 0.25), (1.0, 0.0), (0.5, 0.5))):
        assert torch.allclose(out[number], own * plain[number] + other * plain[number - 1], atol=1e-6)
    assert targets.tolist() == [[0.25, 0, 0.75], [1, 0, 0], [1, 0, 0]]


def test_the_loss_of_mixed_labels_is_the_weighted_sum_of_both():
    logits, weight = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)), 0.7
    _, targets = augment_batch([], torch.tensor([2, 0]), [replace(PLAIN, weight=weight)] * 2, 3)
    own, other = (
        functional.cross_entropy(logits, torch.tensor(labels), label_smoothing=0.1) for labels in ([2, 0], [0, 2])
    )
    mixed = functional.cross_entropy(logits, targets, label_smoothing=0.1)
    assert mixed.item() == pytest.approx((weight * own + (1 - weight) * other).item(), abs=1e-6)


def test_a_flipped_clip_brings_its_swapped_label_into_a_pair(cache):
    recipe = replace(EVERYTHING, mixup=1.0)
    data = TrainingClips(cache, CLIPS, recipe, seed=1, epoch=0)
    indices = [index for index, label in enumerate(cache.labels) if cache.classes[label] == "to the left"]
    batch = data.__getitems__(indices)
    right, left = cache.classes.index("to the right"), cache.classes.index("to the left")
    assert batch.labels.tolist() == [right if sampled.flip else left for sampled in batch.augmentations]
    assert {sampled.flip for sampled in batch.augmentations} == {True, False}
    _, targets = data.augment(batch)
    for number, sampled in enumerate(batch.augmentations):
        before = batch.augmentations[number - 1]
        share = sampled.weight * sampled.flip + (1 - sampled.weight) * before.flip
        assert targets[number, right].item() == pytest.approx(share, abs=1e-6)


# --- determinism -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(crop="fixed"), EVERYTHING], ids=["plain", "fixed", "everything"])
def test_worker_counts_change_nothing(cache, recipe):
    data = TrainingClips(cache, CLIPS, recipe, seed=3, epoch=1)
    runs = [
        list(batches(data, 8, shuffle_seed=5, workers=workers)) for workers in ((0, 1, 2) if recipe.mixup else (0, 2))
    ]
    for run in runs[1:]:
        assert len(run) == len(runs[0]) == 3
        for (streams, labels), (others, other_labels) in zip(runs[0], run, strict=True):
            assert torch.equal(streams[0], others[0]) and torch.equal(labels, other_labels)


@pytest.mark.parametrize(("size", "sizes"), [(23, [23]), (12, [12, 12]), (11, [11, 11, 2]), (24, [24])])
def test_a_last_batch_of_a_single_clip_is_left_out_of_training_only(cache, size, sizes):
    """24 videos, and 23 of them: a norm cannot be trained on one clip."""
    data = TrainingClips(cache, CLIPS, Recipe(), seed=0, epoch=0)
    assert [len(labels) for _, labels in batches(data, size, shuffle_seed=0)] == sizes
    views = ViewClips(cache, CLIPS, 1)
    assert sum(len(labels) for _, labels in batches(views, size)) == 24


def test_threads_change_nothing(cache):
    threads = torch.get_num_threads()
    data, found = TrainingClips(cache, CLIPS, EVERYTHING, seed=3, epoch=1), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(data.augment(data.__getitems__(range(8)))[0][0])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_batches_prefetched_are_the_same_batches(cache):
    """The CUDA path with a CPU in the GPU's place: bytes are sent and augmented where they arrive, one batch ahead."""
    data = TrainingClips(cache, CLIPS, EVERYTHING, seed=3, epoch=1)
    sent = []

    def cuts():
        for first in range(0, 24, 8):
            sent.append(first)
            yield data.__getitems__(range(first, first + 8))

    for number, (streams, labels) in enumerate(loader._prefetched(cuts(), torch.device("cpu"), data.augment)):
        assert len(sent) == min(number + 2, 3)
        expected, targets = data.augment(data.__getitems__(range(8 * number, 8 * number + 8)))
        assert torch.equal(streams[0], expected[0]) and torch.equal(labels, targets)
    assert number == 2


def test_frames_held_on_a_device_give_the_same_batches(cache):
    class Held(DeviceClips):
        def __reduce__(self):
            raise AssertionError("held frames must not travel")

    data = [
        TrainingClips(source, CLIPS, EVERYTHING, seed=3, epoch=1)
        for source in (cache, Held(cache, torch.device("cpu")))
    ]
    plain, held = (list(batches(clips, 8, shuffle_seed=5, workers=2)) for clips in data)
    for (streams, labels), (others, other_labels) in zip(plain, held, strict=True):
        assert torch.equal(streams[0], others[0]) and torch.equal(labels, other_labels)


def test_another_epoch_or_seed_is_another_clip_and_an_index_keeps_its_own(cache):
    def clips(**changes):
        data = TrainingClips(cache, CLIPS, Recipe(), **({"seed": 0, "epoch": 0} | changes))
        return data.__getitems__([2, 5]).streams[0]

    first = clips()
    assert (
        torch.equal(first, clips()) and not torch.equal(first, clips(epoch=1)) and not torch.equal(first, clips(seed=1))
    )
    alone = TrainingClips(cache, CLIPS, Recipe(), seed=0, epoch=0).__getitems__([5]).streams[0]
    assert torch.equal(alone[0], first[1])


@pytest.mark.parametrize("recipe", [Recipe(crop="fixed"), replace(EVERYTHING, randaugment_operations=0), EVERYTHING])
def test_all_frames_and_streams_of_a_clip_are_treated_alike(cache, recipe, monkeypatch):
    still = torch.from_numpy(np.array(cache.frames(0)[:1])).repeat(12, 1, 1, 1)
    monkeypatch.setattr(loader, "_picked", lambda cache, index, indices: still[list(indices)])
    data = TrainingClips(cache, (Clip(3, 2, 16, 16), Clip(5, 1, 16, 16)), recipe, seed=2, epoch=0)
    (slow, fast), _ = data[0]
    for stream in (slow, fast):
        assert all(torch.equal(stream[0, :, 0], stream[0, :, step]) for step in range(stream.shape[2]))
    if not recipe.randaugment_operations:  # a stream's histogram, which equalizes it, depends on its number of frames
        assert torch.allclose(slow[0, :, 0], fast[0, :, 0], atol=1e-5)


class Numbered:
    """Two videos of 60 and 12 frames whose grey is the number of the frame, times four."""

    labels, classes = np.array([1, 0]), ("a", "b")

    def __len__(self) -> int:
        return 2

    def length(self, index: int) -> int:
        return (60, 12)[index]

    def picked(self, index: int, indices) -> np.ndarray:
        numbers = np.asarray(indices, dtype=np.uint8) * 4
        return np.broadcast_to(numbers[:, None, None, None], (len(numbers), 16, 16, 3)).copy()


SLOW, FAST = Clip(4, 8, 16, 16), Clip(8, 2, 16, 16)


@pytest.mark.parametrize("order", [(SLOW, FAST), (FAST, SLOW)])
def test_the_streams_of_a_sample_look_at_one_moment(order):
    """In training and in validation, in a video that is long enough and in one that is not."""
    starts = set()
    for epoch in range(20):
        data = TrainingClips(Numbered(), order, Recipe(), seed=0, epoch=epoch)
        for streams in (data.__getitems__([0, 1]).streams,):
            slow, fast = (streams[order.index(clip)][..., 0, 0, 0].int() // 4 for clip in (SLOW, FAST))
            assert (slow[0, 1:] - slow[0, :-1] == 8).all() and (fast[0, 1:] - fast[0, :-1] == 2).all()
            assert fast[0, 0] - slow[0, 0] == 5 and slow[0, -1] - fast[0, -1] == 5  # 25 frames, and 15 in their middle
            assert slow[1].tolist() == [0, 8, 11, 11] and fast[1].tolist() == [0, 2, 4, 6, 8, 10, 11, 11]
            starts.add(int(slow[0, 0]))
    assert len(starts) > 8
    views = ViewClips(Numbered(), order, 2)
    for item, first in ((0, 8), (1, 26)):  # a quarter and three quarters of the 35 frames that are left over
        read = [((stream[0, :, 0, 0] * 0.225 + 0.45) * 255 / 4).round().int().tolist() for stream in views[item][0]]
        slow, fast = (read[order.index(clip)] for clip in (SLOW, FAST))
        assert slow == [first + 8 * n for n in range(4)] and fast == [first + 5 + 2 * n for n in range(8)]


def test_a_cut_of_unequal_sides_keeps_height_and_width_apart():
    """A ramp from top to bottom, cut to twice as many columns as rows: it still falls, and along the rows."""
    ramp = (torch.arange(32, dtype=torch.uint8) * 8).reshape(1, 32, 1, 1).expand(2, 32, 48, 3)
    for place in (Rectangle(0, 0, 32, 48), Rectangle(4, 3, 16, 30), Rectangle(8, 0, 8, 16)):
        got = crop_resized(ramp, place, 8, 16)
        assert got.shape == (2, 8, 16, 3) and (got == got[:, :, :1]).all()
        middles = place.top + (torch.arange(8) + 0.5) * place.height / 8 - 0.5  # of the rows, in source pixels
        assert (got[0, 1:-1, 0, 0] - 8 * middles[1:-1]).abs().max() <= 1


def test_validation_is_not_mixed_or_coloured(cache):
    from expand.training.multi_view import validate

    class Seen(torch.nn.Module):
        def forward(self, x):
            seen.append(x)
            return torch.zeros(len(x), 3)

    seen: list[torch.Tensor] = []
    for recipe in (Recipe(), replace(EVERYTHING, crop="scale_jitter", batch_size=16)):
        validate(Seen(), cache, CLIPS, recipe, views=1, device=torch.device("cpu"))
    assert len(seen) == 2 and torch.equal(*seen)
