"""Batches of clips from a cache: augmented and shuffled for training, uniform centre clips for validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader, Dataset

from expand.data.augment import centre_crop, mirrored_labels, normalise, random_crop
from expand.data.sampling import frame_indices, random_start, uniform_start
from expand.space import Clip
from expand.study import Recipe

if TYPE_CHECKING:
    from expand.data.cache import ClipCache

Sample = tuple[tuple[torch.Tensor, ...], int]


class TrainingClips(Dataset[Sample]):
    """One augmented clip a video. What item `index` looks like depends only on seed, epoch and index, so the number of
    loader processes changes nothing and a resumed training sees what an unbroken one would have seen."""

    def __init__(self, cache: ClipCache, clips: Sequence[Clip], recipe: Recipe, *, seed: int, epoch: int) -> None:
        self.cache, self.clips, self.recipe = cache, tuple(clips), recipe
        self.seed, self.epoch = seed, epoch
        self.mirrored = mirrored_labels(cache.classes)[0] if recipe.flip else None

    def __len__(self) -> int:
        return len(self.cache)

    def __getitem__(self, index: int) -> Sample:
        generator = torch.Generator().manual_seed(mix(self.seed, self.epoch, index))
        draw, coin = torch.rand(2, generator=generator).tolist()
        frames = self.cache.frames(index)
        label = int(self.cache.labels[index])
        flipped = self.mirrored is not None and coin < 0.5
        if flipped and self.mirrored is not None:
            label = self.mirrored[label]
        state = generator.get_state()
        streams = []
        for clip in self.clips:
            generator.set_state(state)  # every stream is cropped alike
            start = random_start(len(frames), clip, draw if self.recipe.temporal_jitter else 0.5)
            chosen = torch.from_numpy(frames[frame_indices(len(frames), clip, start)])
            stream = normalise(random_crop(chosen, clip.height, self.recipe.scale_jitter, generator))
            streams.append(stream.flip(-1) if flipped else stream)
        return tuple(streams), label


class CentreClips(Dataset[Sample]):
    """`views` clips a video, evenly spaced in time, centre crop; item i is view i % views of video i // views."""

    def __init__(self, cache: ClipCache, clips: Sequence[Clip], views: int, *, scale: float) -> None:
        self.cache, self.clips, self.views, self.scale = cache, tuple(clips), views, scale

    def __len__(self) -> int:
        return len(self.cache) * self.views

    def __getitem__(self, index: int) -> Sample:
        video, view = divmod(index, self.views)
        frames = self.cache.frames(video)
        streams = []
        for clip in self.clips:
            start = uniform_start(len(frames), clip, view, self.views)
            chosen = torch.from_numpy(frames[frame_indices(len(frames), clip, start)])
            streams.append(normalise(centre_crop(chosen, clip.height, self.scale)))
        return tuple(streams), int(self.cache.labels[video])


def batches(
    data: Dataset[Sample],
    batch_size: int,
    *,
    shuffle_seed: int | None = None,
    workers: int = 0,
    pin: bool = False,
    skip: int = 0,
) -> Iterator[tuple[tuple[torch.Tensor, ...], torch.Tensor]]:
    """((B, C, T, H, W) a stream, labels (B,)). Shuffled from `shuffle_seed` where one is given; then a last batch of a
    single clip is left out, since batch norm can't train on it. The first `skip` batches are left out, too."""
    total = len(data)  # type: ignore[arg-type]
    order = list(range(total))
    if shuffle_seed is not None:
        order = torch.randperm(total, generator=torch.Generator().manual_seed(shuffle_seed)).tolist()
        if total % batch_size == 1 and total > 1:
            order = order[:-1]
    groups = [order[first : first + batch_size] for first in range(0, len(order), batch_size)]
    loader = DataLoader(
        data, batch_sampler=groups[skip:], num_workers=workers, pin_memory=pin, timeout=120 if workers else 0
    )
    yield from loader


def mix(*numbers: int) -> int:
    """One seed from several numbers (a splitmix step each), so that neighbouring seeds are unrelated."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1
