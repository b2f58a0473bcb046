"""Batches of clips from a cache: augmented and shuffled for training, evenly spaced views for validation and testing."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from expand.core.clip import Clip
from expand.core.errors import ExpandError
from expand.core.study import Recipe
from expand.data.sampling import (
    Augmentation,
    Scale,
    frame_indices,
    random_rectangle,
    random_start,
    sample_augmentation,
    uniform_start,
    view_rectangle,
    widest,
    within,
)
from expand.data.transforms import Pairs, augment_batch, crop_at, crop_resized, mirrored_labels, normalise

if TYPE_CHECKING:
    from expand.data.cache.clip_cache import ClipCache
    from expand.data.cache.device_cache import DeviceClips

Sample = tuple[tuple[torch.Tensor, ...], int]
Batch = tuple[tuple[torch.Tensor, ...], torch.Tensor]  # (B, C, T, H, W) per stream; labels (B,) or (B, classes)
CPU = torch.device("cpu")
BATCH_SECONDS = 120  # a loader process that needs longer for a batch counts as hanging
SHARED_MEMORY = Path("/dev/shm")  # loader processes pass their batches through it


class CroppedBatch(NamedTuple):
    """A cropped batch, not yet augmented: uint8 (B, T, H, W, 3) per stream, labels (B,), and the augmentations to apply."""

    streams: tuple[torch.Tensor, ...]
    labels: torch.Tensor
    augmentations: tuple[Augmentation, ...]


class TrainingClips(Dataset[Batch]):
    """The augmented clips of an epoch: one per video, or with `recipe.updates` more.

    Clip `index` depends only on seed, epoch and index (with mixup also on its neighbour in the batch). So the number of loader
    processes changes nothing, and a resumed training sees the same clips as an uninterrupted one.
    """

    def __init__(
        self, cache: ClipCache | DeviceClips, clips: Sequence[Clip], recipe: Recipe, *, seed: int, epoch: int,
        mirrored: Pairs = (),
    ) -> None:  # fmt: skip
        self.cache, self.clips, self.recipe = cache, tuple(clips), recipe
        self.seed, self.epoch = seed, epoch
        self.mirrored = mirrored_labels(cache.classes, mirrored)[0] if recipe.flip else None
        rounds, rest = divmod(recipe.clips_of_epoch(len(cache)), len(cache)) if len(cache) else (0, 0)
        self.videos = [*range(len(cache))] * rounds  # of each clip
        if rest:  # in another epoch others are read once more
            generator = torch.Generator().manual_seed(mix(seed, epoch, 3))
            self.videos += torch.randperm(len(cache), generator=generator)[:rest].tolist()

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> Batch:
        return self.augment(self.__getitems__([index]))

    def __getitems__(self, indices: Sequence[int]) -> CroppedBatch:
        """The cropped clips of a whole batch; torch's DataLoader calls this if it exists."""
        augmentations = tuple(
            sample_augmentation(self.recipe, mix(self.seed, self.epoch, index), flip=self.mirrored is not None)
            for index in indices
        )
        videos = [self.videos[index] for index in indices]
        labels = [int(self.cache.labels[video]) for video in videos]
        if self.mirrored is not None:
            labels = [self.mirrored[label] if d.flip else label for label, d in zip(labels, augmentations, strict=True)]
        streams = tuple(
            torch.stack(
                [self._crop(video, clip, sampled) for video, sampled in zip(videos, augmentations, strict=True)]
            )
            for clip in self.clips
        )
        return CroppedBatch(streams, torch.tensor(labels), augmentations)

    def name(self, index: int) -> str:
        return self.cache.names[self.videos[index]]

    def augment(self, batch: CroppedBatch) -> Batch:
        """Augments a batch on its own device."""
        return augment_batch(batch.streams, batch.labels, batch.augmentations, len(self.cache.classes))

    def _crop(self, video: int, clip: Clip, sampled: Augmentation) -> torch.Tensor:
        length = self.cache.length(video)
        start = within(length, clip, self.clips, random_start(length, widest(self.clips), sampled.moment))
        frames = _picked(self.cache, video, frame_indices(length, clip, start))
        height, width = frames.shape[1:3]
        place = random_rectangle(height, width, clip, self.recipe, sampled)
        return crop_resized(frames, place, clip.height, clip.width)


class ViewClips(Dataset[Sample]):
    """All views of every video: `views` clips evenly spaced in time, times `crops` squares of each.

    Item i is view i % (views * crops) of video i // (views * crops); the crops of one clip are consecutive.
    """

    def __init__(
        self, cache: ClipCache, clips: Sequence[Clip], views: int, *, crops: int = 1, scale: Scale = 1.0
    ) -> None:
        self.cache, self.clips, self.views, self.crops, self.scale = cache, tuple(clips), views, crops, scale
        self._read: tuple[int, list[np.ndarray]] = (-1, [])

    def __len__(self) -> int:
        return len(self.cache) * self.views * self.crops

    def __getitem__(self, index: int) -> Sample:
        number, crop = divmod(index, self.crops)
        if self._read[0] != number:  # the crops of a clip share its frames, which are read once
            self._read = (number, self._frames(*divmod(number, self.views)))
        streams = []
        for clip, frames in zip(self.clips, self._read[1], strict=True):
            place = view_rectangle(frames.shape[1], frames.shape[2], clip, self.scale, crop, self.crops)
            streams.append(normalise(crop_at(torch.from_numpy(frames), place, clip.height)))
        return tuple(streams), int(self.cache.labels[number // self.views])

    def name(self, index: int) -> str:
        return self.cache.names[index // (self.views * self.crops)]

    def _frames(self, video: int, view: int) -> list[np.ndarray]:
        """The frames of one view of a video, uint8 (frames, H, W, 3) per stream."""
        length = self.cache.length(video)
        start = uniform_start(length, widest(self.clips), view, self.views)
        return [
            self.cache.picked(video, frame_indices(length, clip, within(length, clip, self.clips, start)))
            for clip in self.clips
        ]


def _picked(cache: ClipCache | DeviceClips, index: int, indices: Sequence[int]) -> torch.Tensor:
    """The frames `indices` of a video, uint8 (T, H, W, 3), on the device of the cache."""
    return torch.as_tensor(cache.picked(index, indices))


def batches(
    data: Dataset[Any],
    batch_size: int,
    *,
    shuffle_seed: int | None = None,
    workers: int = 0,
    device: torch.device = CPU,
    skip: int = 0,
) -> Iterator[Batch]:
    """Batches of ((B, C, T, H, W) per stream, labels).

    With `shuffle_seed` the order is shuffled, and a last batch of a single clip is dropped, because batch norm cannot train on
    it. The first `skip` batches are skipped.

    For a CUDA device, batches are copied from pinned memory, one batch ahead, and training clips are copied as bytes and
    augmented on the GPU. Otherwise the loader processes augment, and batches stay on the CPU. If the cache itself is on a
    device (it has a `device`), clips are cropped there too, without loader processes.
    """
    total = len(data)  # type: ignore[arg-type]
    order = list(range(total))
    if shuffle_seed is not None:
        order = torch.randperm(total, generator=torch.Generator().manual_seed(shuffle_seed)).tolist()
        if total % batch_size == 1 and total > 1:
            order = order[:-1]
    groups = [order[first : first + batch_size] for first in range(0, len(order), batch_size)]
    finalize = getattr(data, "augment", _unchanged)
    on_cuda, cache_on_device = device.type == "cuda", getattr(getattr(data, "cache", None), "device", None) is not None
    workers = 0 if cache_on_device else workers
    collate = default_collate if finalize is _unchanged else _unchanged if on_cuda else finalize
    loader = DataLoader(
        data, batch_sampler=groups[skip:], num_workers=workers, collate_fn=collate, pin_memory=on_cuda and not cache_on_device,
        timeout=BATCH_SECONDS if workers else 0,
    )  # fmt: skip
    loaded = _in_time(loader, data, groups[skip:]) if workers else loader
    yield from _prefetched(loaded, device, finalize) if on_cuda else loaded


def _in_time(loader: DataLoader[Any], data: Dataset[Any], groups: Sequence[Sequence[int]]) -> Iterator[Any]:
    """The loader's batches, with a time limit.

    Raises:
        ExpandError: a batch did not arrive in time; the message names its files.
    """
    batches = iter(loader)
    for group in groups:
        try:
            yield next(batches)
        except RuntimeError as error:
            if "timed out" not in str(error):
                raise
            names = sorted({data.name(index) for index in group})  # type: ignore[attr-defined]
            raise ExpandError(
                f"no batch arrived within {BATCH_SECONDS:g} s: the decoder hangs on one of {', '.join(names)}; check them "
                "with `expand data check`, or remove them from the data"
            ) from None


def loaders_that_fit(recipe: Recipe, clips: Sequence[Clip]) -> tuple[Recipe, list[str]]:
    """Reduces the recipe's loader processes to the free shared memory, because a process that finds it full is killed.

    The number of processes does not change the results.

    Returns:
        The recipe, and a message if it has fewer processes now.
    """
    if not recipe.loader_workers or not SHARED_MEMORY.is_dir():
        return recipe, []
    clip = sum(4 * c.channels * c.frames * c.height * c.width for c in clips)  # bytes, float32
    each = 2 * (2 * recipe.batch_size) * clip  # two batches ahead per process; validation batches are twice as large
    free = shutil.disk_usage(SHARED_MEMORY).free
    fitting = min(recipe.loader_workers, free // each)
    if fitting == recipe.loader_workers:
        return recipe, []
    return replace(recipe, loader_workers=fitting), [
        f"{fitting} of {recipe.loader_workers} loader processes are used (0: clips are loaded in the training process): "
        f"{SHARED_MEMORY} has {free / 1e6:.0f} MB free and each needs up to {each / 1e6:.0f} MB; enlarge it, in a container "
        "with `docker run --shm-size=8g` (or --ipc=host), or set recipe.loader_workers"
    ]


def _prefetched(loaded: Iterable[Any], device: torch.device, finalize: Callable[[Any], Batch]) -> Iterator[Batch]:
    """Copies each batch to the device while the one before is in use. The batches are the same on a CPU."""
    side = torch.cuda.Stream(device) if device.type == "cuda" else None
    in_transfer: deque[tuple[Any, torch.cuda.Event | None]] = deque()
    for batch in loaded:
        in_transfer.append(_send(batch, device, side))
        if len(in_transfer) == 2:
            yield finalize(_arrived(*in_transfer.popleft()))
    for batch, copied in in_transfer:
        yield finalize(_arrived(batch, copied))


def _send(batch: Any, device: torch.device, side: torch.cuda.Stream | None) -> tuple[Any, torch.cuda.Event | None]:
    streams, labels, *augmentations = batch
    with torch.cuda.stream(side):  # no effect without a stream
        moved = tuple(stream.to(device, non_blocking=True) for stream in streams)
        labels = labels.to(device, non_blocking=True)
        copied = side.record_event() if side else None
    return (CroppedBatch(moved, labels, *augmentations) if augmentations else (moved, labels)), copied


def _arrived(batch: Any, copied: torch.cuda.Event | None) -> Any:
    """Makes the compute stream wait for the copy, and keeps the memory reserved while that stream uses it."""
    if copied is not None:
        current = torch.cuda.current_stream()
        current.wait_event(copied)
        for tensor in (*batch[0], batch[1]):
            tensor.record_stream(current)
    return batch


def _unchanged(batch: Any) -> Any:
    return batch


def mix(*numbers: int) -> int:
    """One seed from several numbers, by a splitmix64 step each, so that neighbouring numbers give unrelated seeds."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1
