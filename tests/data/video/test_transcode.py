"""Re-encoding: the same videos, frames and times in smaller files with close keyframes; resumable, nothing half-written."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest

from expand.core.errors import ExpandError, UsageError
from expand.data.manifest import Manifest
from expand.data.read_source import read_source
from expand.data.video import transcode as module
from expand.data.video.decode import decode, probe
from expand.data.video.seek import locate
from expand.data.video.transcode import reencode


def film(path: Path, frames: int, *, level: int, fps: int = 25, turn: int = 0) -> None:
    """A bright square that goes right, 96x64."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps, options={"g": "250", "qscale": "2"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        if turn:
            stream.set_display_rotation(turn)
        for i in range(frames):
            picture = np.full((64, 96, 3), level, np.uint8)
            picture[16:48, 2 * i : 2 * i + 32] = 230
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXPAND_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "data"
    film(root / "train/dark/a.avi", 10, level=20)
    film(root / "train/dark/a.mp4", 7, level=30, fps=30)
    film(root / "train/light/c, d.mp4", 30, level=120, turn=90)
    film(root / "val/dark/e.mkv", 6, level=40, fps=12)
    film(root / "val/light/f.avi", 5, level=150)
    return root


def seen(manifest: Manifest) -> list[tuple[str, str, str]]:
    return [(Path(v.path).stem.split(".")[0], manifest.classes[v.label], v.split) for v in manifest.videos]


def test_frames_times_classes_and_splits_stay(source: Path, tmp_path: Path) -> None:
    before = read_source(source)
    done = reencode(before, tmp_path / "small", side=33, keyframes=4)
    after = read_source(tmp_path / "small")
    assert (done.made, done.there, done.damaged) == (5, 0, ()) and done.bytes > 0
    assert after.classes == before.classes and seen(after) == seen(before)
    assert {v.path for v in after.videos} >= {"train/dark/a.mp4", "train/dark/a.mp4.mp4", "train/light/c, d.mp4"}
    for old, new in zip(before.videos, after.videos, strict=True):
        path, there = after.absolute(new), before.absolute(old)
        assert probe(path).fps == pytest.approx(probe(there).fps, rel=2e-3) and probe(path).codec in ("h264", "mpeg4")
        small, large = decode(path), decode(there, side=33)
        assert len(small) == len(large) and min(small.shape[1:3]) == 32
        edges = tuple(min(a, b) for a, b in zip(small.shape[1:3], large.shape[1:3], strict=True))
        assert abs(small[:, : edges[0], : edges[1]].astype(float) - large[:, : edges[0], : edges[1]]).mean() < 12
        rows = locate(path).rows
        assert all(np.flatnonzero(rows[:, 1] == key)[0] >= number - 3 for number, _, key in rows)


def test_a_second_run_makes_what_is_missing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, small = read_source(source), tmp_path / "small"
    encode = module._encode

    def interrupted(path: Path, *rest: object) -> None:
        if path.name == "c, d.mp4":
            raise KeyboardInterrupt
        encode(path, *rest)

    monkeypatch.setattr(module, "_encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reencode(manifest, small, side=32)
    left = {path.name for path in small.rglob("*") if path.is_file()}
    assert {"a.mp4", "a.mp4.mp4"} <= left and "c, d.mp4" not in left and "train.csv" not in left
    assert not [name for name in left if name.endswith(".tmp")]
    monkeypatch.setattr(module, "_encode", encode)
    (small / "train/light/.c, d.mp4.1.tmp").write_bytes(b"what a killed run left")
    done = reencode(manifest, small, side=32)
    assert done.made + done.there == 5 and done.there >= 2
    assert not list(small.rglob("*.tmp"))
    assert reencode(manifest, small, side=32).made == 0
    film(source / "val/light/f.avi", 6, level=150)
    assert reencode(read_source(source), small, side=32).made == 1  # its content changed
    assert reencode(read_source(source), small, side=24).made == 5


def test_damaged_videos_are_left_out_and_named(source: Path, tmp_path: Path) -> None:
    bad = source / "train/dark/a.avi"
    bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])
    done = reencode(read_source(source), tmp_path / "small", side=32)
    assert [problem.path for problem in done.damaged] == [bad] and done.made == 4
    assert len(read_source(tmp_path / "small").videos) == 4


def test_an_encoder_that_drops_a_frame_is_noticed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = module._timed
    monkeypatch.setattr(module, "_timed", lambda *a: (pair for i, pair in enumerate(timed(*a)) if i != 2))
    with pytest.raises(
        ExpandError, match=r"none of 5 videos can be read; the first: .*only 9 of 10 frames were encoded"
    ):
        reencode(read_source(source), tmp_path / "small", side=32)
    assert not [path for path in (tmp_path / "small").rglob("*") if path.is_file()]


def test_wrong_places_are_refused(source: Path, tmp_path: Path) -> None:
    manifest = read_source(source)
    for folder in (source, source / "small", source.parent):
        with pytest.raises(UsageError, match="give a folder outside the source"):
            reencode(manifest, folder)
    with pytest.raises(UsageError, match="--side 8 --keyframes 12: at least 16"):
        reencode(manifest, tmp_path / "small", side=8)
    film(tmp_path / "small/val/dark/e.mp4", 3, level=9)
    content = (tmp_path / "small/val/dark/e.mp4").read_bytes()
    with pytest.raises(UsageError, match=r"e\.mp4 exists and was not written"):
        reencode(manifest, tmp_path / "small")
    assert (tmp_path / "small/val/dark/e.mp4").read_bytes() == content
    (tmp_path / "file").touch()
    with pytest.raises(ExpandError, match=r"cannot write .*file/small \(Not a directory\)"):
        reencode(manifest, tmp_path / "file/small")
    assert os.listdir(tmp_path / "small/val/dark") == ["e.mp4"]
