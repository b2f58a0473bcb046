"""The clip cache: what is in it is what decoding gives, it is built once, whole or not at all."""

import multiprocessing
import os
import pickle
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

import expand.data.cache as cache_module
from expand.data.cache import ClipCache, prepare, reference_fps
from expand.data.decode import decode
from expand.data.formats import read_source
from expand.errors import ExpandError


def film(path: Path, frames: int, *, level: int, fps: int = 25) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(level)
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(frames):
            picture = noise.integers(level, level + 40, (48, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes, three training and one validation clip each, of different lengths."""
    monkeypatch.setenv("EXPAND_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "data"
    for i in range(3):
        film(root / f"train/dark/{i}.mp4", 6 + i, level=10 * i)
        film(root / f"train/light/{i}.mp4", 10 + i, level=150 + 10 * i)
    film(root / "val/dark/3.mp4", 12, level=50)
    film(root / "val/light/3.mp4", 5, level=200)
    return root


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "decode", lambda path, **_: pytest.fail(f"{path} was decoded again"))


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_round_trip(root: Path) -> None:
    manifest = read_source(root)
    seen: list[tuple[int, int]] = []
    train, val = prepare(manifest, side=24, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 8) for i in range(1, 9)]
    for folder, split in ((train, "train"), (val, "val")):
        cache, videos = ClipCache(folder), manifest.split(split)
        assert len(cache) == len(videos) and cache.names == tuple(video.path for video in videos)
        assert cache.labels.dtype == np.int64 and cache.labels.tolist() == [video.label for video in videos]
        assert cache.classes == ("dark", "light") and cache.fps == 25 and cache.skipped == ()
        for i, video in enumerate(videos):
            assert np.array_equal(cache.frames(i), decode(manifest.absolute(video), side=24))
    assert sorted(path.suffix for path in train.parent.iterdir()) == ["", "", ".lock", ".lock"]


def test_frames_are_a_read_only_view(root: Path) -> None:
    cache = ClipCache(prepare(read_source(root), side=24, splits=("val",))[0])
    frames = cache.frames(1)
    assert frames.shape == (5, 24, 32, 3) and frames.base is not None and not frames.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        frames[0] = 0
    stored = pickle.dumps(cache)
    assert len(stored) < 1000 and np.array_equal(pickle.loads(stored).frames(1), frames)


def test_nothing_is_decoded_twice(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = prepare(read_source(root), side=24)
    no_decoding(monkeypatch)
    assert prepare(read_source(root), side=24) == folders
    film(root / "test/dark/9.mp4", 5, level=90)  # other splits' clips are no reason to build this one again
    assert prepare(read_source(root), side=24) == folders
    shutil.move(root, root.with_name("moved"))
    assert prepare(read_source(root.with_name("moved")), side=24) == folders


def test_other_contents_are_another_cache(root: Path) -> None:
    train, val = prepare(read_source(root), side=24)
    assert prepare(read_source(root), side=20)[0] != train
    film(root / "val/dark/3.mp4", 12, level=51)
    assert prepare(read_source(root), side=24)[0] == train
    assert prepare(read_source(root), side=24)[1] != val


def test_one_frame_rate(root: Path) -> None:
    film(root / "val/dark/fast.avi", 20, level=0, fps=50)
    manifest = read_source(root)
    assert reference_fps(manifest) == 25
    cache = ClipCache(prepare(manifest, side=24, splits=("val",))[0])
    assert len(cache.frames(cache.names.index("val/dark/fast.avi"))) == 10


def prepare_in(root: str, cache: str) -> list[str]:
    os.environ["EXPAND_CACHE"] = cache
    decoded: list[int] = []
    folders = prepare(read_source(root), side=24, progress=lambda done, _: decoded.append(done))
    return [*map(str, folders), str(len(decoded))]


def test_two_processes_build_once(root: Path, tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second = pool.starmap(prepare_in, [(str(root), str(tmp_path / "cache"))] * 2, chunksize=1)
    assert first[:2] == second[:2] and int(first[2]) + int(second[2]) == 8
    assert [len(ClipCache(folder)) for folder in first[:2]] == [6, 2]


def test_unfinished_cache_of_a_killed_process_is_built_anew(root: Path) -> None:
    folder = prepare(read_source(root), side=24, splits=("val",))[0]
    folder.rename(folder.with_suffix(".building"))
    (folder.with_suffix(".building") / "frames.u8").write_bytes(b"half")
    assert prepare(read_source(root), side=24, splits=("val",)) == (folder,)
    assert len(ClipCache(folder)) == 2 and not folder.with_suffix(".building").exists()


def test_damaged_videos_stop_or_are_left_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damage(root / "train/light/1.mp4")
    (root / "train/dark/0.mp4").write_bytes(b"")
    manifest = read_source(root)
    with pytest.raises(
        ExpandError, match=r"2 of 6 train videos are damaged; the first: train/dark/0\.mp4: .* empty"
    ) as caught:
        prepare(manifest, side=24)
    assert "\n" not in str(caught.value) and "data.strict" in str(caught.value)
    no_decoding(monkeypatch)  # what was decoded before the error is not lost
    train = ClipCache(prepare(manifest, side=24, splits=("train",), skip_damaged=True)[0])
    assert len(train) == 4 and train.frames(3).shape == (12, 24, 32, 3)
    assert [problem.path for problem in train.skipped] == ["train/dark/0.mp4", "train/light/1.mp4"]
    assert "of 11 frames" in train.skipped[1].reason


def test_class_without_a_clip_left(root: Path) -> None:
    for i in range(3):
        damage(root / f"train/light/{i}.mp4")
    with pytest.raises(ExpandError, match="no training clip of class 'light' is left"):
        prepare(read_source(root), side=24, skip_damaged=True)
    damage(root / "val/dark/3.mp4")
    damage(root / "val/light/3.mp4")
    with pytest.raises(ExpandError, match="no val clip is left"):
        prepare(read_source(root), side=24, splits=("val",), skip_damaged=True)
    for path in (root / "train").rglob("*.mp4"):
        path.write_bytes(b"")
    with pytest.raises(ExpandError, match=r"no training video of .* can be read; the first: .*the file is empty"):
        prepare(read_source(root), side=24, skip_damaged=True)


def test_full_disk_is_said_before_starting(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_decoding(monkeypatch)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(ExpandError, match=rf"needs about .* GB at {tmp_path}/cache, .* are free: set EXPAND_CACHE"):
        prepare(read_source(root), side=24)
    (tmp_path / "file").touch()
    monkeypatch.setenv("EXPAND_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(ExpandError, match=r"cannot write the clip cache at .*file/cache/clips .*: set EXPAND_CACHE"):
        prepare(read_source(root), side=24)


def test_damaged_cache(root: Path) -> None:
    folder = prepare(read_source(root), side=24, splits=("val",))[0]
    (folder / "frames.u8").write_bytes(b"short")
    with pytest.raises(ExpandError, match=r"is damaged \(5 bytes instead of .*delete that folder"):
        ClipCache(folder)
    with pytest.raises(ExpandError, match=r"no clip cache at .*nowhere"):
        ClipCache(folder / "nowhere")
