"""How fast real clips come: parts of one run, side by side.

    python benchmarks/data.py [--source VIDEOS] [--clips 400]

`training_clips`: a random 16 x 112 x 112 clip, cropped, resized and normalised, in batches of 8 on one thread: from the cache;
from the file, of which PyAV decodes what is needed each time (from the keyframe before); and from the cache with resizing in
float. Processor time, which other programs on the machine disturb least. Without `--source`, videos as data sets have
them are written first: H.264, 340 x 256, 10 s, a keyframe every 250 frames.

Then `preparing` (see benchmarks/preparing.py) of the same source, or of the real clips beside the project where they are.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from preparing import preparing

from expand.core.clip import Clip
from expand.core.study import Recipe
from expand.data.cache.clip_cache import ClipCache, prepare
from expand.data.loader import TrainingClips, batches, mix
from expand.data.manifest import Manifest
from expand.data.read_source import read_source
from expand.data.sampling import Augmentation, frame_indices, random_rectangle, random_start, sample_augmentation
from expand.data.transforms import centre_crop, normalise
from expand.data.video.decode import scaled

ROOM_ACTIONS = str(Path(__file__).resolve().parents[2] / "shared/data/room_actions")
CLIP, BATCH, SIDE = Clip(16, 2, 112, 112), 8, 128
RECIPES = {
    "scale_jitter": Recipe(), "resized": Recipe(crop="resized"), "fixed": Recipe(crop="fixed"),
    "with colour jitter": Recipe(colour_jitter=(0.4, 0.4, 0.4, 0.1)), "with mixup": Recipe(mixup=0.2),
    "with randaugment, 2 operations": Recipe(randaugment_operations=2),
}  # fmt: skip
FLOAT, DECODED = "in float", "decoded each time"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", help="videos in any layout that `expand run --data` takes")
    parser.add_argument("--clips", type=int, default=400)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EXPAND_CACHE"] = folder
        source = options.source or str(write_videos(Path(folder) / "videos"))
        print(json.dumps(training_clips(source, options.clips)))
    preparing(argparse.Namespace(source=options.source or ROOM_ACTIONS, copies=4, rounds=3))


def write_videos(root: Path, count: int = 12) -> Path:
    """root/split/class/*.mp4: a textured picture that moves under noise."""
    for number in range(count):
        path = root / ("val" if number < 2 else "train") / "ab"[number % 2] / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(number)
        picture = random.integers(0, 256, (40, 52, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"g": "250", "sc_threshold": "0"})
            stream.width, stream.height, stream.pix_fmt = 340, 256, "yuv420p"
            for step in range(250):
                view = picture[step // 2 : step // 2 + 256, step // 2 : step // 2 + 340]
                frame = np.clip(view + random.integers(-8, 8, view.shape), 0, 255).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    return root


def training_clips(source: str, clips: int) -> dict[str, Any]:
    """Milliseconds a clip (median over batches), variants taking turns."""
    manifest = read_source(source)
    cache = ClipCache(prepare(manifest, side=SIDE, splits=("train",), skip_damaged=True)[0])
    variants: dict[str, Callable[[int], object]] = {name: _from_cache(cache, r) for name, r in RECIPES.items()}
    variants |= {FLOAT: _in_float(cache), DECODED: _decoding(cache, manifest)}
    times: dict[str, list[float]] = {name: [] for name in variants}
    rounds = 1 + max(5, clips // BATCH)
    for round_ in range(rounds):
        for name, load in variants.items():
            if name == DECODED and round_ > 5:
                continue
            began = time.process_time()
            load(round_)
            times[name].append((time.process_time() - began) / BATCH * 1000)
    figures = {name: round(statistics.median(values[1:]), 3) for name, values in times.items()}
    ours = figures["scale_jitter"]
    return {
        "benchmark": "training_clips", "unit": "ms of processor time a clip", "batches": rounds - 1, "figures": figures,
        "float_over_ours": round(figures[FLOAT] / ours, 1), "decoded_over_ours": round(figures[DECODED] / ours, 1),
        "pixels": _differences(cache),
    }  # fmt: skip


def _from_cache(cache: ClipCache, recipe: Recipe) -> Callable[[int], object]:
    def load(round_: int) -> object:
        data = TrainingClips(cache, (CLIP,), recipe, seed=0, epoch=round_)
        return next(iter(batches(data, BATCH, shuffle_seed=round_)))

    return load


def _in_float(cache: ClipCache) -> Callable[[int], object]:
    """The same clips, but resized in float."""

    def load(round_: int) -> object:
        clips = [
            _float_clip(cache.frames(index), sample_augmentation(Recipe(), mix(0, round_, index)))
            for index in _some(cache, round_)
        ]
        return normalise(torch.stack(clips))

    return load


def _decoding(cache: ClipCache, manifest: Manifest) -> Callable[[int], object]:
    """The same clips, but decoded each time."""
    paths = {video.path: manifest.absolute(video) for video in manifest.split("train")}

    def load(round_: int) -> object:
        return [
            _decoded(paths[cache.names[index]], sample_augmentation(Recipe(), mix(0, round_, index)))
            for index in _some(cache, round_)
        ]

    return load


def _decoded(path: Path, sampled: Augmentation) -> list[np.ndarray]:
    """The frames of one clip, brought to the cache's side; only what is needed is decoded and converted."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        wanted = frame_indices(stream.frames, CLIP, random_start(stream.frames, CLIP, sampled.moment))
        tick = 1 / (stream.average_rate * stream.time_base)
        container.seek(int(wanted[0] * tick), stream=stream)
        width, height = scaled(stream.width, stream.height, SIDE)
        pictures = []
        for frame in container.decode(stream):
            number = round(frame.pts / tick)
            if number in wanted:
                pictures.append(frame.to_ndarray(width=width, height=height, format="rgb24"))
            if number >= wanted[-1]:
                return pictures
    return pictures


def _some(cache: ClipCache, round_: int) -> list[int]:
    return torch.randperm(len(cache), generator=torch.Generator().manual_seed(round_))[:BATCH].tolist()


def _float_clip(frames: np.ndarray, sampled: Augmentation) -> torch.Tensor:
    chosen = frames[frame_indices(len(frames), CLIP, random_start(len(frames), CLIP, sampled.moment))]
    top, left, height, width = random_rectangle(chosen.shape[1], chosen.shape[2], CLIP, Recipe(), sampled)
    return centre_crop(torch.from_numpy(chosen[:, top : top + height, left : left + width]), CLIP.height)


def _differences(cache: ClipCache) -> dict[str, float]:
    """Between ours and resizing in float, of 255, over as many as 64 clips."""
    data = TrainingClips(cache, (CLIP,), Recipe(flip=False), seed=0, epoch=0)
    indices = list(range(min(64, len(cache))))
    cut = data.__getitems__(indices)
    exact = [
        _float_clip(cache.frames(index), sampled) for index, sampled in zip(indices, cut.augmentations, strict=True)
    ]
    gaps = (cut.streams[0].permute(0, 4, 1, 2, 3) - torch.stack(exact)).abs()
    return {"largest": round(gaps.max().item(), 3), "mean": round(gaps.mean().item(), 4)}


if __name__ == "__main__":
    main()
