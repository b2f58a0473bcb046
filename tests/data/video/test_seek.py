"""Frames picked from a file are those that decoding all of it gives, to the last pixel, in every container."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

import expand.data.video.seek as seeking
from expand.data.video.decode import DamagedVideo, decode
from expand.data.video.seek import FROM_START, locate, pick

SEEKABLE = {"a.mp4", "open.mp4", "a.mkv", "a.mov", "plain.avi", "turned.mp4", "a.webm"}


def film(path: Path, *, codec: str = "libx264", turn: int = 0, frames: int = 40, **options: str) -> Path:
    """Noise that grows brighter, 80x60, a keyframe every 12 frames, no two frames alike."""
    noise = np.random.default_rng(0)
    try:
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=25, options={"g": "12"} | options)
            stream.width, stream.height, stream.pix_fmt = 80, 60, "rgb8" if codec == "gif" else "yuv420p"
            if turn:
                stream.set_display_rotation(turn)
            for i in range(frames):
                picture = noise.integers(0, 20, (60, 80, 3), dtype=np.uint8) + np.uint8(i * 5)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this PyAV has no {codec}")
    return path


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("a.mp4", {}),
        ("open.mp4", {"bf": "3", "x264-params": "open-gop=1"}),
        ("a.mkv", {"bf": "3"}),
        ("a.mov", {"codec": "mpeg4", "bf": "2"}),
        ("plain.avi", {"codec": "mpeg4"}),
        ("b-frames.avi", {"codec": "mpeg4", "bf": "2"}),
        ("a.mpg", {"codec": "mpeg1video"}),
        ("a.ts", {}),
        ("a.gif", {"codec": "gif"}),
        ("a.webm", {"codec": "libvpx-vp9", "deadline": "realtime", "cpu-used": "8"}),
        ("turned.mp4", {"turn": 90}),
    ],
)
def test_picked_frames_are_the_decoded_ones(tmp_path: Path, name: str, arguments: dict[str, Any]) -> None:
    path = film(tmp_path / name, **arguments)
    for fps in (None, 10.0):
        whole, found = decode(path, side=24, fps=fps), locate(path, side=24, fps=fps)
        assert found.rows.shape == (len(whole), 3) and found.fps == 25
        assert (found.height, found.width) == whole.shape[1:3]
        assert np.all(found.rows[:, 2] != FROM_START) == (name in SEEKABLE)
        last = len(whole) - 1
        for wanted in ([0], [last], [7, 8, 9, 10, 11], [last, 0, last // 2, 0], list(range(len(whole)))):
            assert np.array_equal(pick(path, found.rows[wanted], found.size), whole[wanted])


def test_an_index_that_leads_elsewhere_costs_time_not_frames(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    found, whole = locate(path, side=24), decode(path, side=24)
    rows = found.rows.copy()
    rows[20:, 2] = rows[-1, 2]  # start too late for these
    assert np.array_equal(pick(path, rows[[21, 39]], found.size), whole[[21, 39]])


def test_only_what_lies_after_the_keyframe_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film(tmp_path / "a.mp4", bf="0", sc_threshold="0")
    found, decoded, frames = locate(path, side=24), [], seeking._frames
    monkeypatch.setattr(seeking, "_frames", lambda *a: (decoded.append(f.pts) or f for f in frames(*a)))
    pick(path, found.rows[[26, 28]], found.size)
    assert decoded == found.rows[24:29, 1].tolist()


def test_what_is_not_whole_or_has_shrunk_is_named(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv")
    found = locate(path, side=24)
    film(path, frames=20)
    with pytest.raises(DamagedVideo, match=r"a\.mkv: frame 30 was not found: has the file changed") as caught:
        pick(path, found.rows[[3, 30]], found.size)
    assert caught.value.path == path
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DamagedVideo, match=r"a\.mkv: "):
        locate(path, side=24)


@pytest.mark.parametrize("kind", ["folder", "array", "archive"])
@pytest.mark.parametrize("fps", [None, 12.5])
def test_stills_are_picked_as_videos_are(tmp_path, kind, fps):
    clip = np.random.default_rng(0).integers(0, 255, (9, 20, 30, 3), dtype=np.uint8)
    path = tmp_path / {"folder": "clip", "array": "clip.npy", "archive": "clip.npz"}[kind]
    if kind == "folder":
        path.mkdir()
        for number, frame in enumerate(clip, start=1):
            Image.fromarray(frame).save(path / f"img_{number:05d}.png")
    elif kind == "array":
        np.save(path, clip)
    else:
        np.savez(path, frames=clip, fps=25.0)
    whole, found = decode(path, side=16, fps=fps, rate=25.0), locate(path, side=16, fps=fps, rate=25.0)
    assert len(found.rows) == len(whole) == (9 if fps is None else 4 + (len(whole) == 5))
    wanted = [3, 0, 3, 2]
    assert np.array_equal(pick(path, found.rows[wanted], found.size), whole[wanted])
    assert (found.height, found.width) == whole.shape[1:3]
