"""Classifies videos: python predict.py clip.mp4 [...]. Needs torch, and PyAV to read the files (pip install av).

`expand export` writes this file beside load.py; the folder can be moved.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

try:
    from .load import HERE, describe, frame_indices, load, prepare_frames
except ImportError:  # run as a script
    from load import HERE, describe, frame_indices, load, prepare_frames  # type: ignore[import-not-found,no-redef]

VIEWS, TOP = 10, 5


class Unreadable(ValueError):
    """A file that cannot be classified: it is missing, has no video, or is damaged."""


def predict(
    video: str | Path,
    folder: str | Path = HERE,
    *,
    network: nn.Module | None = None,
    views: int = VIEWS,
    top: int = TOP,
    device: str | torch.device = "cpu",
) -> list[tuple[str, float]]:
    """The `top` most probable classes of a video with their probabilities, the highest first.

    The probabilities are the mean softmax of `views` centre clips, evenly spaced in time. Pass `network`, the result of `load`,
    to load it only once for many videos.

    Raises:
        Unreadable: the file is missing or damaged, or holds no video.
    """
    if views < 1:
        raise ValueError(f"views={views}: at least 1")
    about = describe(folder)
    network = load(folder, device) if network is None else network
    sums = torch.zeros(len(about["classes"]))
    for streams in _views(Path(video), about, views):
        with torch.no_grad():
            sums += network(*(stream.to(device) for stream in streams)).float().softmax(1)[0].cpu()
    chances, labels = (sums / views).topk(min(top, len(sums)))
    return [(about["classes"][label], chance) for label, chance in zip(labels.tolist(), chances.tolist(), strict=True)]


def _views(path: Path, about: dict[str, Any], views: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """The network's inputs, one view at a time. The file is decoded twice: once for the times of its frames, once for the
    frames that are needed, so that a long video takes no more memory than a short one."""
    times = [time for time, _ in _frames(path, None, about.get("frame_side"))]
    places = [frame_indices(times, about, view, views) for view in range(views)]
    wanted = {index for view in places for stream in view for index in stream}
    pictures = dict(_frames(path, wanted, about.get("frame_side")))
    for view in places:
        streams = (torch.stack([pictures[index] for index in stream]) for stream in view)
        yield prepare_frames(tuple(streams), about)


def _frames(path: Path, wanted: set[int] | None, side: int | None) -> Iterator[tuple[Any, Any]]:
    """Without `wanted`: the time of each frame in seconds, and None. With `wanted`: number and picture of these frames, uint8
    (H, W, 3), upright, with a short side of at most `side` pixels."""
    try:
        import av
    except ImportError:
        raise Unreadable(f"{path}: reading videos needs PyAV: pip install av") from None
    if not path.is_file():
        raise Unreadable(f"{path}: {'not a file' if path.exists() else 'there is no such file'}")
    count = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise Unreadable(f"{path}: it contains no video")
            stream = container.streams.video[0]
            rate = float(stream.average_rate or stream.guessed_rate or 0) or 25.0
            for frame in container.decode(stream):
                if wanted is None:
                    yield (frame.time if frame.time is not None else count / rate), None
                elif count in wanted:
                    yield count, _picture(frame, side)
                count += 1
    except (av.FFmpegError, OSError) as error:
        raise Unreadable(f"{path}: not a readable video, or a damaged one ({error.strerror or error})") from None
    if not count:
        raise Unreadable(f"{path}: not a single frame could be decoded")


def _picture(frame: Any, side: int | None) -> torch.Tensor:
    width, height = frame.width, frame.height
    if side is not None and min(width, height) > side:
        factor = side / min(width, height)
        width, height = max(1, round(width * factor)), max(1, round(height * factor))
    picture = torch.from_numpy(frame.reformat(width=width, height=height, format="rgb24").to_ndarray())
    return torch.rot90(picture, round(frame.rotation / 90) % 4)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns 0, or 2 if a video could not be read."""
    parser = argparse.ArgumentParser(description="Prints the most probable classes of videos.")
    parser.add_argument("videos", nargs="+", metavar="VIDEO")
    parser.add_argument("--views", type=int, default=VIEWS, help="clips spread over the video, averaged (%(default)s)")
    parser.add_argument("--top", type=int, default=TOP, help="number of classes to print (%(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    if options.views < 1 or options.top < 1:
        parser.error("--views and --top must be at least 1")
    network, answers, code = load(HERE, options.device), {}, 0
    for video in options.videos:
        try:
            answers[video] = predict(
                video, network=network, views=options.views, top=options.top, device=options.device
            )
        except Unreadable as error:
            print(error, file=sys.stderr)
            code = 2
            continue
        if not options.json:
            print(video)
            for label, chance in answers[video]:
                print(f"  {chance:6.1%}  {label}")
    if options.json:
        print(json.dumps({video: [{"class": c, "probability": p} for c, p in rows] for video, rows in answers.items()}))
    return code


if __name__ == "__main__":
    sys.exit(main())
