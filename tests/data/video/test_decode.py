"""Decoding: odd but whole videos are read, damaged ones never pass in silence."""

import os
from pathlib import Path

import av
import numpy as np
import pytest

from expand.data.video.decode import DamagedVideo, decode, probe


def film(
    path: Path,
    frames: int = 60,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    fps: int = 25,
    turn: int = 0,
    **mux: str,
) -> Path:
    """A clip of 80x60 that grows brighter, with a white square in its upper left corner, and noise."""
    noise = np.random.default_rng(0)
    with av.open(str(path), "w", options=mux) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = 80, 60, pixels
        if turn:
            stream.set_display_rotation(turn)
        for i in range(frames):
            picture = noise.integers(0, 20, (60, 80, 3), dtype=np.uint8) + np.uint8(i * 200 // frames)
            picture[:20, :30] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def cut(path: Path, share: float) -> Path:
    """The first part of a file, under another name."""
    whole = path.read_bytes()
    short = path.with_name("cut" + path.suffix)
    short.write_bytes(whole[: int(len(whole) * share)])
    return short


def test_small_grey_clip_of_12_frames(tmp_path: Path) -> None:
    clip = decode(film(tmp_path / "grey.mp4", 12, pixels="gray"))
    assert clip.shape == (12, 60, 80, 3) and clip.dtype == np.uint8
    assert np.array_equal(clip[..., 0], clip[..., 1]) and np.array_equal(clip[..., 0], clip[..., 2])
    assert clip[0, 5, 5].min() > 240 and clip[0, 50, 70].max() < 40 < 160 < clip[-1, 50, 70].min()


@pytest.mark.parametrize(
    ("codec", "pixels"), [("libx264", "yuv420p10le"), ("ffv1", "gray10le"), ("libx264", "yuv444p")]
)
def test_colour_depths(tmp_path: Path, codec: str, pixels: str) -> None:
    try:
        path = film(tmp_path / "deep.mkv", 8, codec=codec, pixels=pixels)
    except (av.FFmpegError, ValueError) as error:
        pytest.skip(f"this PyAV's {codec} does not encode {pixels}: {error}")
    assert probe(path).pixel_format == pixels
    clip = decode(path)
    assert clip.shape == (8, 60, 80, 3) and clip[0, 5, 5].min() > 240 and clip[0, 50, 70].max() < 40


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mov", "libx264", "yuv420p"),
        ("a.mkv", "libx264", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.mpg", "mpeg1video", "yuv420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.gif", "gif", "rgb8"),
    ],
)
def test_containers_whole_and_cut(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    path = film(tmp_path / name, codec=codec, pixels=pixels)
    assert len(decode(path, side=16)) == 60
    assert probe(path).fps == 25
    if name == "a.mpg":
        return  # a program stream counts nothing and guesses its duration: see `_check_whole`
    assert probe(path).frames == 60
    for share in (0.9, 0.5, 0.1):
        with pytest.raises(DamagedVideo):
            decode(cut(path, share))


@pytest.mark.parametrize("flags", ["faststart", "frag_keyframe+empty_moov"])
def test_cut_mp4_with_its_index_in_front_says_how_much_is_left(tmp_path: Path, flags: str) -> None:
    path = film(tmp_path / "a.mp4", movflags=flags)
    assert len(decode(path)) == 60
    with pytest.raises(DamagedVideo, match=r"cut\.mp4: decoded \d+ of 60 frames") as caught:
        decode(cut(path, 0.5))
    assert caught.value.path == tmp_path / "cut.mp4" and caught.value.reason.startswith("decoded")


def test_trimmed_without_reencoding_is_whole(tmp_path: Path) -> None:
    """An edit list leaves out 5 of the 60 frames that the container counts: no damage."""
    source, trimmed = film(tmp_path / "a.mp4", codec="mpeg4"), tmp_path / "trimmed.mp4"
    with av.open(str(source)) as given, av.open(str(trimmed), "w", options={"avoid_negative_ts": "disabled"}) as taken:
        stream = given.streams.video[0]
        copy = taken.add_stream_from_template(stream)
        shift = round(5 / 25 / stream.time_base)
        for packet in given.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                taken.mux(packet)
    assert probe(trimmed).frames == 60
    assert np.array_equal(decode(trimmed), decode(source)[5:])


@pytest.mark.parametrize("name", ["a.avi", "a.mkv", "a.flv"])
def test_reading_that_never_ends_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A file filled up with zeros, as a stopped download leaves it: FFmpeg looks for the next frame for hours, in native code."""
    monkeypatch.setattr("expand.data.video.decode.READ_SECONDS", 0.3)
    path = film(tmp_path / name, codec="flv" if name == "a.flv" else "mpeg4")
    os.truncate(path, 1 << 40)
    with pytest.raises(DamagedVideo, match=r"nothing could be read within 0\.3 s"):
        decode(path, side=16)
    path.unlink()  # a terabyte, if somebody copies the folder


def test_not_videos(tmp_path: Path) -> None:
    empty, noise, text = tmp_path / "empty.mp4", tmp_path / "noise.mp4", tmp_path / "text.avi"
    empty.touch()
    noise.write_bytes(np.random.default_rng(0).bytes(20_000))
    text.write_text("path,label\n")
    for path, reason in ((tmp_path / "no.mp4", "no such file"), (empty, "empty"), (noise, "not a"), (text, "not a")):
        for read in (probe, decode):
            with pytest.raises(DamagedVideo, match=reason):
                read(path)


@pytest.mark.parametrize(("name", "codec"), [("sound.mp4", "aac"), ("sound.mkv", "pcm_s16le")])
def test_sound_alone(tmp_path: Path, name: str, codec: str) -> None:
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=16_000)
        stream.layout = "mono"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        sound.rate, sound.pts = 16_000, 0
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    for read in (probe, decode):
        with pytest.raises(DamagedVideo, match="only sound"):
            read(tmp_path / name)


def test_size_goes_down_and_never_up(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 3)
    assert decode(path, side=45).shape == (3, 45, 60, 3)
    assert decode(path, side=200).shape == (3, 60, 80, 3)
    assert np.array_equal(decode(path, side=31), decode(path, side=31))


def test_rate(tmp_path: Path) -> None:
    """30 frames a second at 10: every third; at 29: within 5 %, as it is; at 60: each twice."""
    path = film(tmp_path / "a.mp4", 30, fps=30)
    whole = decode(path)
    assert np.array_equal(decode(path, fps=10), whole[::3])
    assert np.array_equal(decode(path, fps=29), whole)
    doubled = decode(path, fps=60)
    assert len(doubled) == 60 and np.array_equal(doubled[::2], whole)


def test_turned_upright(tmp_path: Path) -> None:
    lying, upright = film(tmp_path / "a.mp4", 2), film(tmp_path / "b.mp4", 2, turn=90)
    assert np.array_equal(decode(upright), np.rot90(decode(lying), axes=(1, 2)))
