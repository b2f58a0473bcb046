"""Folders of pictures and arrays are clips like any other; what is not whole is told."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from expand.data.manifest import content_hashes, stamp_of
from expand.data.video.decode import DamagedVideo, decode, probe, survey

CLIP = np.arange(6, dtype=np.uint8)[:, None, None, None] * 40 + np.zeros((6, 12, 16, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures, the numbers in another order than the names."""
    folder = tmp_path / "clip"
    folder.mkdir()
    for i, picture in enumerate(CLIP):
        Image.fromarray(picture).save(folder / f"img_{i + 6}.png")
    (folder / "._img_1.png").write_bytes(b"of macOS")
    (folder / "notes.txt").write_text("notes")
    return folder


def array(path: Path, **content: object) -> Path:
    np.savez(path, **content) if path.suffix == ".npz" else np.save(path, content["frames"])
    return path


def test_three_ways_to_hold_a_clip(folder: Path, tmp_path: Path) -> None:
    paths = [folder, array(tmp_path / "a.npy", frames=CLIP), array(tmp_path / "b.npz", anything=CLIP)]
    for path in paths:
        assert np.array_equal(decode(path), CLIP)
        info = probe(path, rate=10)
        assert (info.frames, info.fps, info.width, info.height) == (6, 10, 16, 12)
        small = decode(path, side=6)
        assert small.shape == (6, 6, 8, 3) and np.array_equal(small[:, 3, 3, 0], CLIP[:, 3, 3, 0])
        assert np.array_equal(decode(path, fps=5, rate=10), CLIP[[0, 2, 4]])
        assert survey(path, rate=10).seconds == 0.6
        with pytest.raises(DamagedVideo, match=r"does not state its frame rate: give one \(--fps, data\.fps\)"):
            decode(path, fps=5)


def test_an_archive_says_its_rate(tmp_path: Path) -> None:
    path = array(tmp_path / "a.npz", frames=CLIP, fps=24, flow=np.zeros(3))
    assert probe(path, rate=10).fps == 24 and np.array_equal(decode(path, fps=12), CLIP[[0, 2, 4]])


def test_a_turned_photograph_is_upright(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (16, 12)).save(tmp_path / "clip/1.jpg", exif=exif)
    assert decode(tmp_path / "clip").shape == (1, 16, 12, 3)
    assert (probe(tmp_path / "clip").width, probe(tmp_path / "clip").height) == (12, 16)


def test_damaged_folders(folder: Path) -> None:
    def reason() -> str:
        with pytest.raises(DamagedVideo) as caught:
            decode(folder)
        return caught.value.reason

    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "img_8.png")
    whole = (folder / "img_8.png").read_bytes()
    (folder / "img_8.png").write_bytes(whole[: len(whole) // 2])
    assert reason().startswith("img_8.png cannot be read completely")
    (folder / "img_8.png").write_bytes(b"")
    assert reason() == "img_8.png cannot be read (it is empty)"
    (folder / "img_8.png").unlink()
    assert reason() == "picture 8 of 6 to 11 is missing"
    (folder / "img_008.png").write_bytes(whole)
    (folder / "img_8.jpg").write_bytes(whole)
    assert "have the same number" in reason()
    (folder / "img_8.jpg").rename(folder / "other_8.jpg")
    assert reason() == "pictures of several clips: img_, other_"
    for path in folder.glob("*_*"):
        path.unlink()
    assert reason() == "no picture in it"
    (folder / "cover.jpg").write_bytes(whole)
    assert "cover.jpg has no number" in reason()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (CLIP.astype(np.float32), "holds float32 6x12x16x3 instead of uint8 frames x height x width x 3"),
        (CLIP[..., 0], "holds uint8 6x12x16 instead"),
        (CLIP[:0], "holds uint8 0x12x16x3 instead"),
        (np.array([{}], dtype=object), "not a readable array"),
    ],
)
def test_other_arrays(tmp_path: Path, content: np.ndarray, reason: str) -> None:
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DamagedVideo, match=reason):
            decode(array(tmp_path / name, frames=content))


def test_cut_and_empty_arrays(tmp_path: Path) -> None:
    for name in ("a.npy", "a.npz"):
        path = array(tmp_path / name, frames=CLIP)
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(DamagedVideo, match="not a readable array: truncated"):
            decode(path)
        path.write_bytes(b"")
        with pytest.raises(DamagedVideo, match="the file is empty"):
            probe(path)
    with pytest.raises(DamagedVideo, match="expected one array, or one named 'frames'"):
        decode(array(tmp_path / "two.npz", a=CLIP, b=CLIP))


def test_content_of_a_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPAND_CACHE", str(tmp_path / "cache"))
    before, size = content_hashes([folder]), stamp_of(folder)[1]
    assert size == sum(path.stat().st_size for path in folder.iterdir())
    Image.fromarray(CLIP[0]).save(folder / "img_7.png")
    assert content_hashes([folder]) != before
