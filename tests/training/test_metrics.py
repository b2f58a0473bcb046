"""What views come to, on tables worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from expand.core.clip import Clip
from expand.core.errors import UsageError
from expand.core.study import Recipe
from expand.training import multi_view as views
from expand.training.metrics import Scores, hits, wilson
from search_spaces.c3d import C3DSpace

CPU = torch.device("cpu")
RECIPE = Recipe(batch_size=2, scale_jitter=(1.25, 1.5))  # batches of four clips: 18 views leave a last one of two


class Cache:
    """Three videos of 12 frames of one brightness each: what a made network goes by."""

    labels = np.array([0, 5, 2])
    classes = tuple("abcdef")
    names = ("x", "y", "z")

    def __len__(self) -> int:
        return 3

    def length(self, index: int) -> int:
        return 12

    def picked(self, index: int, indices: list[int]) -> np.ndarray:
        return self.frames(index)[indices]

    def frames(self, index: int) -> np.ndarray:
        frames = np.zeros((12, 8, 16, 3), np.uint8)
        frames[:, :, :, 0], frames[:, :, :, 1] = index, np.arange(12)[:, None, None]
        frames[:, :, :, 2] = np.arange(16) // 6  # 0 and 1 on the left, 2 on the right
        return frames


class Made(nn.Module):
    """Answers by video, and wrongly where the table says so for the first clip or the right-hand crop."""

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        red, green, blue = (clip.mean((2, 3, 4)) * 0.225 + 0.45).mul(255).T
        right = {0: 0, 1: 4, 2: 2}
        answers = []
        for video, time, place in zip(red.round().long().tolist(), green.tolist(), blue.tolist(), strict=True):
            wrong = video == 2 and (time < 4 or place > 1.3)
            logits = torch.zeros(6)
            logits[1 if wrong else right.get(video, 0)] = math.log(5)  # softmax: 5/10 there, 1/10 elsewhere
            answers.append(logits)
        return torch.stack(answers)


@pytest.mark.parametrize("workers", [0, 1])
def test_videos_and_views_are_judged_as_worked_out(workers):
    told = []
    scores = views.test_network(
        Made(), [Clip(2, 1, 8, 8)], Cache(), Recipe(batch_size=2, loader_workers=workers), views=(2, 3), scale=1.0,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    # video 2: the first clip (3 crops) is wrong, and the right-hand crop of the second; 2 of 6 views are right
    share = 2 / 6
    z = [0.1, 0.1 + 0.4 * (1 - share), 0.1 + 0.4 * share, 0.1, 0.1, 0.1]
    expected = torch.tensor([[0.5] + [0.1] * 5, [0.1] * 4 + [0.5, 0.1], z])
    assert torch.allclose(scores.probabilities, expected, atol=1e-6)
    assert torch.allclose(scores.clip_hits[:, 0], torch.tensor([1.0, 0.0, share]))
    assert scores.predicted.tolist() == [0, 4, 1] and scores.views == 6
    rates = scores.rates()
    assert rates["video_top1"].value == pytest.approx(1 / 3, abs=1e-6)
    assert rates["video_top1"].standard_error == pytest.approx((2 / 9 / 3) ** 0.5, abs=1e-6)  # binomial
    # of six classes, "f" of video 1 is the last of five equal ones: the sixth
    assert rates["video_top5"].value == rates["clip_top5"].value == pytest.approx(2 / 3, abs=1e-6)
    assert rates["clip_top1"].value == pytest.approx((1 + 0 + share) / 3, abs=1e-6)
    mean = (1 + share) / 3
    spread = (((1 - mean) ** 2 + mean**2 + (share - mean) ** 2) / 3) ** 0.5
    assert rates["clip_top1"].standard_error == pytest.approx(spread / 3**0.5, abs=1e-6)
    assert scores.loss == pytest.approx(-(math.log(0.5) + math.log(0.1) + math.log(z[2])) / 3, abs=1e-5)
    assert told[-1] == (3, 3) and scores.metrics().views == 6


def test_validation_is_the_same_code_with_centre_clips():
    made = Made().train()
    metrics = views.validate(made, Cache(), [Clip(2, 1, 8, 8)], RECIPE, views=2, device=CPU)
    scores = views.test_network(made, [Clip(2, 1, 8, 8)], Cache(), RECIPE, views=(2, 1))
    assert metrics == scores.metrics() and metrics.views == 2 and made.training


def test_confusions_and_classes_by_hand():
    labels, answers = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2]
    scores = Scores(torch.eye(4)[answers], torch.tensor(labels), torch.zeros(6, 2), 1)
    assert scores.confusion().tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    rows = scores.per_class(("a", "b", "c", "d"))
    assert [(row.videos, row.right) for row in rows] == [(3, 2), (2, 1), (1, 1), (0, 0)]
    assert rows[3].accuracy is None and (rows[3].low, rows[3].high) == (0, 1)
    assert rows[0].accuracy == pytest.approx(2 / 3) and rows[0].low < 2 / 3 < rows[0].high


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_the_published_one(right, total, low, high):
    """R. G. Newcombe, Statistics in Medicine 17, 1998, table I, method 3."""
    assert wilson(right, total) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_of_equal_scores_the_first_class_comes_first_and_no_number_is_wrong():
    scores = torch.tensor([[1.0, 1, 1, 1, 1, 1]] * 3 + [[math.nan] * 6])
    assert hits(scores, torch.tensor([0, 4, 5, 0])).tolist() == [[1, 1], [0, 1], [0, 0], [0, 0]]


def test_things_stay_as_large_as_in_training_until_the_crop_fills_the_short_side():
    clips, recipe = [Clip(13, 6, 160, 160)], Recipe(scale_jitter=(182 / 160, 228 / 160))
    assert views.default_scale(clips, recipe) == pytest.approx(182 / 160)
    assert views.default_scale(clips, recipe, 182) == pytest.approx(1.0)  # X3D-S is tested so
    assert views.default_scale(clips, recipe, 128) == pytest.approx(182 / 128)
    assert views.default_scale(clips, recipe, 256) == 1.0


def test_what_a_network_cannot_take_is_said_before_anything_is_scored():
    space = C3DSpace(width=0.05, frames=9, resolution=17)
    network, clips = space.build(space.start, 6), space.inputs(space.start)
    with pytest.raises(UsageError, match="cannot take a crop of 64 pixels"):
        views.test_network(network, [replace(clips[0], height=64, width=64)], Cache(), RECIPE)
    with pytest.raises(UsageError, match="has 4 output classes, the videos have 6"):
        views.test_network(space.build(space.start, 4), clips, Cache(), RECIPE)


def test_short_videos_are_counted():
    assert views.padded_videos(Cache(), [Clip(2, 11, 8, 8)]) == 0
    assert views.padded_videos(Cache(), [Clip(2, 11, 8, 8), Clip(2, 12, 8, 8)]) == 3


@pytest.mark.parametrize("text", ["0x3", "10", "ax3", "3x2", "10x3x1", "-1x3", "10x0", ""])
def test_views_that_are_none(text):
    with pytest.raises(UsageError, match=r"--views .*such as 10x3"):
        views.Views.parse(text)
    assert str(views.Views.parse("10x3")) == "10x3" and views.Views.parse("4x1").number == 4
