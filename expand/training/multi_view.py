"""Validation and testing: the score of a video is the mean softmax of its views, K clips in time by S crops in space.

Validation uses K centre clips; a test as in the papers uses 10 by 3 views (SlowFast, section 4; X3D, section 4).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from expand.core.clip import Clip
from expand.core.errors import UsageError
from expand.core.study import Recipe
from expand.core.trial import Metrics
from expand.data.loader import ViewClips, batches
from expand.data.sampling import Scale, validation_scale
from expand.training.device import as_trained, autocast, put
from expand.training.metrics import Scores, hits

if TYPE_CHECKING:
    from expand.data.cache.clip_cache import ClipCache

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Views:
    """The views of a video: `clips` evenly spaced in time, with `crops` each: 1 at the centre, or 3 along the longer side."""

    clips: int
    crops: int = 1

    @property
    def number(self) -> int:
        return self.clips * self.crops

    def __str__(self) -> str:
        return f"{self.clips}x{self.crops}"

    @staticmethod
    def parse(text: str) -> Views:
        """Parses a text such as "10x3".

        Raises:
            UsageError: the text has another form.
        """
        found = re.fullmatch(r"([1-9]\d{0,3})[x×]([13])", text)
        if found is None:
            raise UsageError(
                f"--views {text}: write it as CLIPSxCROPS, at least 1 clip by 1 crop (centre) or 3 crops (along the longer "
                "side), such as 10x3"
            )
        return Views(int(found[1]), int(found[2]))


def validate(
    network: nn.Module, cache: ClipCache, clips: Sequence[Clip], recipe: Recipe, *, views: int, device: torch.device
) -> Metrics:
    """Accuracy and loss over all videos of a cache, with `views` centre clips each. Training mode is restored afterwards."""
    scale = validation_scale(recipe)
    return score(network, cache, clips, recipe, views=Views(views), scale=scale, device=device).metrics()


def test_network(
    network: nn.Module,
    clips: Sequence[Clip],
    cache: ClipCache,
    recipe: Recipe,
    *,
    views: Views | tuple[int, int] = (10, 3),
    scale: Scale | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Scores every video of a cache, on the network's device.

    Args:
        clips: one per stream; their size need not be that of training.
        scale: short side of the frame over a clip's side; by default `default_scale`.
        progress: called with (videos done, total number of videos).

    Raises:
        UsageError: the network cannot take such a crop, or has another number of classes than the videos.
    """
    device = next(network.parameters(), torch.empty(0)).device
    views = views if isinstance(views, Views) else Views(*views)
    scale = default_scale(clips, recipe) if scale is None else scale
    put(network, device)
    _try(network, clips, len(cache.classes), device)
    with autocast(device, wanted=recipe.mixed_precision):
        return score(network, cache, clips, recipe, views=views, scale=scale, device=device, progress=progress)


def default_scale(clips: Sequence[Clip], recipe: Recipe, crop: int | None = None) -> Scale:
    """Frame size over crop size for which objects appear as large as in validation. A larger crop than in training sees more of
    the frame, until it covers a whole side."""
    scale = validation_scale(recipe)
    if crop is None:
        return scale
    if isinstance(scale, tuple):
        return max(1.0, scale[0] * clips[0].height / crop), max(1.0, scale[1] * clips[0].width / crop)
    return max(1.0, scale * clips[0].height / crop)


def padded_videos(cache: ClipCache, clips: Sequence[Clip]) -> int:
    """How many videos are shorter than a clip and are padded by repeating their last frame."""
    span = max((clip.frames - 1) * clip.stride + 1 for clip in clips)
    return sum(cache.length(index) < span for index in range(len(cache)))


@torch.no_grad()
def score(
    network: nn.Module,
    cache: ClipCache,
    clips: Sequence[Clip],
    recipe: Recipe,
    *,
    views: Views,
    scale: Scale,
    device: torch.device,
    progress: Progress | None = None,
) -> Scores:
    """Scores all views of all videos with the network in evaluation mode."""
    training = network.training
    data = ViewClips(cache, clips, views.clips, crops=views.crops, scale=scale)
    network.eval()
    sums = torch.zeros(len(cache), len(cache.classes))  # of the softmax over views
    clip_hits = torch.zeros(len(cache), 2)
    seen = 0
    for streams, labels in batches(data, 2 * recipe.batch_size, workers=recipe.loader_workers):
        chances = network(*(as_trained(stream, device) for stream in streams)).float().softmax(1).cpu()
        videos = torch.arange(seen, seen + len(labels)) // views.number
        sums.index_add_(0, videos, chances)
        clip_hits.index_add_(0, videos, hits(chances, labels))
        seen += len(labels)
        if progress:
            progress(seen // views.number, len(cache))
    network.train(training)
    truth = torch.as_tensor(cache.labels, dtype=torch.long)
    return Scores(sums / views.number, truth, clip_hits / views.number, views.number)


@torch.no_grad()
def _try(network: nn.Module, clips: Sequence[Clip], classes: int, device: torch.device) -> None:
    """Tries one empty clip, to report early that the network cannot take it."""
    training = network.training
    empty = [torch.zeros(1, c.channels, c.frames, c.height, c.width, device=device) for c in clips]
    try:
        answers = network.eval()(*empty).shape[1]
    except RuntimeError as error:
        side, reason = clips[0].height, str(error).splitlines()[0]
        raise UsageError(f"the network cannot take a crop of {side} pixels: {reason}") from None
    finally:
        network.train(training)
    if answers != classes:
        raise UsageError(
            f"the network has {answers} output classes, the videos have {classes}: test it on its own classes"
        )
