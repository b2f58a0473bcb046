"""The clip cache: what is in it is what decoding gives, it is built once, whole or not at all."""

import multiprocessing
import os
import pickle
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from expand.core.atomic import unfinished
from expand.core.errors import ExpandError
from expand.data.cache import entries as keeping
from expand.data.cache import shards
from expand.data.cache.clip_cache import ClipCache, prepare, reference_fps
from expand.data.cache.device_cache import cache_on_device
from expand.data.read_source import read_source
from expand.data.video.decode import DamagedVideo, decode

ROOT = Path(__file__).resolve().parents[3]


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
    monkeypatch.setattr(keeping, "decode", lambda path, **_: pytest.fail(f"{path} was decoded again"))


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


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_shards_are_bounded_and_hold_the_same_frames(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ClipCache(prepare(read_source(root), side=24, splits=("train",))[0])
    frames = [np.array(whole.frames(i)) for i in range(6)]
    shutil.rmtree(whole.folder)
    monkeypatch.setattr(shards, "SHARD_BYTES", 40_000)  # a frame has 24 x 32 x 3 = 2304 bytes
    parted = ClipCache(prepare(read_source(root), side=24, splits=("train",))[0])
    sizes = [path.stat().st_size for path in sorted(parted.folder.glob("*.bin"))]
    assert sizes == [2304 * (6 + 7 + 8), 2304 * (10 + 11), 2304 * 12]
    for i in range(6):
        assert np.array_equal(parted.frames(i), frames[i])
        assert parted.length(i) == len(frames[i]) and parted.shape(i) == frames[i].shape
        assert np.array_equal(parted.picked(i, [3, 0, 3]), frames[i][[3, 0, 3]])


KILLED = """
import os, signal, sys
import expand.data.cache.shards as shards
from expand.data.cache.clip_cache import prepare
from expand.data.read_source import read_source

shards.SHARD_BYTES = 40_000
def kill(done, total):
    if done == 4:
        os.kill(os.getpid(), signal.SIGKILL)
prepare(read_source(sys.argv[1]), side=24, splits=("train",), progress=kill)
"""


def test_a_build_killed_in_the_middle_goes_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 40_000)
    manifest = read_source(root)
    (folder,) = prepare(manifest, side=24, splits=("train",))
    undisturbed = contents(folder)
    shutil.rmtree(folder)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(root)], cwd=ROOT, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    left = folder.with_suffix(".building")
    assert not folder.exists() and {"00000.bin", "00000.json"} <= set(contents(left)) and unfinished(left / "00001.bin")
    decoded: list[str] = []
    monkeypatch.setattr(keeping, "decode", lambda path, **how: decoded.append(path.name) or decode(path, **how))
    seen: list[tuple[int, int]] = []
    assert prepare(manifest, side=24, splits=("train",), progress=lambda *p: seen.append(p)) == (folder,)
    assert sorted(decoded) == ["0.mp4", "1.mp4", "2.mp4"]  # the second class: the first shard held the first one
    assert seen == [(i, 6) for i in range(1, 7)]
    assert contents(folder) == undisturbed and not left.exists()


def test_a_finished_shard_that_was_damaged_is_built_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 40_000)
    (folder,) = prepare(read_source(root), side=24, splits=("train",))
    undisturbed = contents(folder)
    unfinished = folder.rename(folder.with_suffix(".building"))
    content = bytearray(undisturbed["00001.bin"])
    content[500] ^= 1
    (unfinished / "00001.bin").write_bytes(content)
    (unfinished / "index.json").unlink()
    decoded: list[int] = []
    monkeypatch.setattr(keeping, "decode", lambda path, **how: decoded.append(1) or decode(path, **how))
    prepare(read_source(root), side=24, splits=("train",))
    assert len(decoded) == 3 and contents(folder) == undisturbed


def test_a_disk_that_fills_up_keeps_what_is_finished(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 10_000)
    manifest = read_source(root)
    manifest.hashes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (26_000, before[1]))  # the clip of 12 frames does not fit
    try:
        with pytest.raises(ExpandError, match=r"File too large\); finished clips are kept\. Any of these helps"):
            prepare(manifest, side=24, splits=("train",))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(root.parent.rglob("*.tmp")) and not list(root.parent.rglob("index.json"))
    assert list(root.parent.rglob("00000.json"))
    assert len(ClipCache(prepare(manifest, side=24, splits=("train",))[0])) == 6


def test_a_budget_of_frames_keeps_the_middle(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film(root / "val/dark/long.avi", 40, level=20, fps=50)
    manifest = read_source(root)
    cache = ClipCache(prepare(manifest, side=24, frames=7, splits=("val",))[0])
    full = ClipCache(prepare(manifest, side=24, splits=("val",))[0])
    lengths = {name: (cache.length(i), cache.cut[i]) for i, name in enumerate(cache.names)}
    assert lengths == {"val/dark/3.mp4": (7, 5), "val/dark/long.avi": (7, 13), "val/light/3.mp4": (5, 0)}
    assert cache.rates == (25, 50, 25) and cache.fps == 25 and full.cut == (0, 0, 0)
    for i, first in enumerate((2, 6, 0)):
        assert np.array_equal(cache.frames(i), full.frames(i)[first : first + 7])
    flying = ClipCache(prepare(manifest, side=24, frames=7, fly=True, splits=("val",))[0])
    assert flying.cut == cache.cut and flying.rates == cache.rates
    for i in range(3):
        assert np.array_equal(flying.frames(i), cache.frames(i))
        assert np.array_equal(flying.picked(i, [4, 0]), cache.frames(i)[[4, 0]])


def test_frames_on_the_fly_are_those_of_the_cache(root: Path) -> None:
    film(root / "val/dark/fast.avi", 20, level=0, fps=50)
    manifest = read_source(root)
    kept = ClipCache(prepare(manifest, side=24, splits=("val",))[0])
    flying = ClipCache(prepare(manifest, side=24, fly=True, splits=("val",))[0])
    assert flying.on_the_fly and not kept.on_the_fly and flying.folder != kept.folder
    assert flying.names == kept.names and flying.classes == kept.classes and flying.fps == kept.fps
    assert sum(path.stat().st_size for path in flying.folder.glob("*.bin")) == 24 * (10 + 12 + 5)
    again = pickle.loads(pickle.dumps(flying))
    for i in range(3):
        assert again.shape(i) == kept.shape(i) and np.array_equal(again.frames(i), kept.frames(i))
        assert np.array_equal(again.picked(i, np.array([4, 1, 4])), kept.picked(i, np.array([4, 1, 4])))


def test_on_the_fly_a_file_that_changed_is_named(root: Path) -> None:
    damage(root / "val/light/3.mp4")
    cache = ClipCache(prepare(read_source(root), side=24, fly=True, splits=("val",), skip_damaged=True)[0])
    assert [problem.path for problem in cache.skipped] == ["val/light/3.mp4"]
    (root / "val/dark/3.mp4").write_bytes(b"something else")
    with pytest.raises(DamagedVideo, match=r"val/dark/3\.mp4: missing or changed since"):
        cache.picked(0, [1])
    with pytest.raises(DamagedVideo, match=r"val/dark/3\.mp4: missing or changed since"):
        cache.frames(0)


def test_on_the_fly_a_moved_source_is_looked_at_again(root: Path) -> None:
    first = prepare(read_source(root), side=24, fly=True, splits=("val",))
    moved = root.rename(root.with_name("moved"))
    second = prepare(read_source(moved), side=24, fly=True, splits=("val",))
    assert second != first and ClipCache(second[0]).picked(0, [0]).shape == (1, 24, 32, 3)


def test_on_a_device(root: Path) -> None:
    import torch  # not above: the processes of other tests import this file

    cache = ClipCache(prepare(read_source(root), side=24, splits=("train",))[0])
    cached = cache_on_device(cache, "cpu")
    assert (
        cached is not None
        and len(cached) == 6
        and cached.labels is cache.labels
        and cached.length(2) == cache.length(2)
    )
    for i in range(6):
        assert cached.frames(i).dtype == torch.uint8 and np.array_equal(cached.frames(i).numpy(), cache.frames(i))
        assert np.array_equal(cached.picked(i, [5, 0, 5]).numpy(), cache.picked(i, [5, 0, 5]))
    assert cache.nbytes == 2304 * (6 + 7 + 8 + 10 + 11 + 12)
    assert cache_on_device(cache, "cpu", share=1e-12) is None


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
    needed = 1.1 * 2304 * (6 + 7 + 8 + 10 + 11 + 12 + 12 + 5)
    free = int(needed / 2)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - free, free))
    with pytest.raises(ExpandError) as caught:
        prepare(read_source(root), side=24)
    said = str(caught.value)
    assert said.startswith(
        f"the clip cache needs about {needed / 1e9:.3g} GB at {tmp_path}/cache, {free / 1e9:.3g} GB are free."
    )
    for way in (
        "EXPAND_CACHE=", "--set data.cache_side=16)", "--set data.cache_frames=4)", "--set data.decode=fly",
        f"expand data reencode {root} --to DIR --side 24",
    ):  # fmt: skip
        assert way in said
    for way in ({"side": 16}, {"side": 24, "frames": 4}, {"side": 24, "fly": True}):
        monkeypatch.undo()
        monkeypatch.setenv("EXPAND_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - free, free))
        folders = prepare(read_source(root), **way)
        taken = sum(path.stat().st_size for folder in folders for path in folder.glob("*.bin"))
        assert taken <= free, way
        for folder in folders:
            shutil.rmtree(folder)
    (tmp_path / "file").touch()
    monkeypatch.setenv("EXPAND_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(ExpandError, match=r"cannot write the clip cache at .*file/cache/clips .*: set EXPAND_CACHE"):
        prepare(read_source(root), side=24)


def test_damaged_cache(root: Path) -> None:
    folder = prepare(read_source(root), side=24, splits=("val",))[0]
    (folder / "00000.bin").write_bytes(b"short")
    with pytest.raises(ExpandError, match=r"is damaged \(00000\.bin has 5 bytes instead of .*delete that folder"):
        ClipCache(folder)
    with pytest.raises(ExpandError, match=r"no clip cache at .*nowhere"):
        ClipCache(folder / "nowhere")
