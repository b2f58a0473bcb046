"""`expand data check` lists everything, and `expand data prepare` writes down what is left, whole or not at all."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from conftest import ROOT, moving_square, write_video

import expand.data.cache.clip_cache as cache_module
import expand.data.manifest as manifest_module
from expand.core.errors import ExpandError, UsageError
from expand.core.study import Data
from expand.data.cache import disk_space as room
from expand.data.cache import entries as keeping
from expand.data.cache.clip_cache import ClipCache
from expand.data.open_data import open_data
from expand.data.prepare_source import prepare_source
from expand.data.prepared.validate import check, copies, without
from expand.data.read_source import BadInput, Options, read_source


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes, three training clips and one validation clip each."""
    monkeypatch.setenv("EXPAND_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "data"
    for direction, name in ((-1, "left"), (1, "right")):
        for seed in range(3):
            write_video(root / f"train/{name}/{seed}.avi", moving_square(direction, 10 * seed))
        write_video(root / f"val/{name}/3.avi", moving_square(direction, 3 + direction))
    return root


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def uneven(path: Path) -> None:
    """Twelve frames that come in pairs."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 100)
        for i, picture in enumerate(moving_square(1, 77)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = 10 * (i // 2) + 2 * (i % 2), Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_good_data(root: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = check(read_source(root), progress=lambda done, total: seen.append((done, total)))
    assert report.findings == () and seen == [(i, 8) for i in range(1, 9)]
    assert report.spread()["frames"] == {"min": 12, "median": 12, "max": 12}
    assert report.spread()["seconds"]["median"] == 1 and report.spread()["fps"]["max"] == 12


def test_everything_is_listed(root: Path) -> None:
    damage(root / "train/right/1.avi")
    (root / "train/right/empty.avi").write_bytes(b"")
    (root / "train/right/empty too.avi").write_bytes(b"")
    write_video(root / "train/left/one.avi", moving_square(1, 50, length=1))
    write_video(root / "train/left/short.avi", moving_square(1, 51, length=5))
    uneven(root / "train/left/uneven.mkv")
    shutil.copy(root / "train/left/2.avi", root / "val/left/copy.avi")
    shutil.copy(root / "train/left/1.avi", root / "train/right/twin.avi")
    manifest = read_source(root)
    ann = {"train/left/0.avi", "val/left/3.avi"}
    videos = tuple(replace(v, group="ann") if v.path in ann else v for v in manifest.videos)
    manifest = replace(manifest, videos=videos)
    report = check(manifest, shortest=8)
    found = {(finding.kind, finding.path): finding.reason for finding in report.findings}
    assert sorted(found) == [
        ("copy", "train/left/1.avi"), ("copy", "train/left/2.avi"), ("copy", "train/right/twin.avi"),
        ("damaged", "train/right/1.avi"), ("damaged", "train/right/empty too.avi"), ("damaged", "train/right/empty.avi"),
        ("group in two splits", "val/left/3.avi"), ("short", "train/left/short.avi"),
        ("single frame", "train/left/one.avi"), ("variable rate", "train/left/uneven.mkv"),
    ]  # fmt: skip
    assert (
        found["copy", "train/left/2.avi"] == "in train as 'left', the same bytes as val/left/copy.avi in val as 'left'"
    )
    assert "train/right/twin.avi in train as 'right'" in found["copy", "train/left/1.avi"]
    assert (
        found["group in two splits", "val/left/3.avi"] == "its group 'ann' is in train and val: a leak between splits"
    )
    rest = without(manifest, report.findings)
    assert {video.path for video in manifest.videos} - {video.path for video in rest.videos} == {
        path for kind, path in found if kind in ("copy", "damaged", "single frame")
    }
    assert [line.partition(" (")[0] for line in rest.left_out] == ["1 of 15 videos", "3 of 15 videos", "3 of 15 videos"]


def test_a_class_or_split_without_a_video_left(root: Path) -> None:
    for path in (root / "train/right").iterdir():
        damage(path)
    manifest = read_source(root)
    with pytest.raises(ExpandError, match="no training clip of class 'right' is left"):
        without(manifest, check(manifest).findings)
    for path in (root / "val").rglob("*.avi"):
        shutil.copy(
            path, root / "train/right" / f"{path.parent.name}.avi"
        )  # the validation copies are the ones that stay
    with pytest.raises(ExpandError, match="no training clip of class 'right' is left"):
        without(manifest, check(read_source(root)).findings)


def test_a_run_leaves_copies_out_unless_strict(root: Path) -> None:
    shutil.copy(root / "train/left/2.avi", root / "val/left/copy.avi")
    manifest = open_data(Data(source=str(root)), print)
    assert len(manifest.split("train")) == 5 and len(manifest.split("val")) == 3
    assert manifest.left_out[0].startswith("1 of 9 videos (11.1%): copy (train/left/2.avi: in train")
    assert copies(manifest) == []
    with pytest.raises(ExpandError, match=r"1 copies, the first: train/left/2\.avi"):
        open_data(Data(source=str(root), strict=True), print)


def test_prepared_and_run_from_it(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damage(root / "train/left/1.avi")
    to = tmp_path / "prepared"
    made = prepare_source(root, to).manifest
    lines = (to / "manifest.csv").read_text().splitlines()
    assert lines[0] == "path,label,class,group,split,frames,fps,width,height,bytes,mtime_ns,sha256" and len(lines) == 8
    assert lines[1].startswith("train/left/0.avi,0,left,train/left/0,train,12,12.0,32,24,")
    facts = json.loads((to / "manifest.json").read_text())
    assert facts["fingerprint"] == made.fingerprint() and facts["videos"] == {"train": 5, "val": 2, "test": 0}
    assert facts["left_out"][0].startswith("1 of 8 videos (12.5%): damaged (train/left/1.avi: ")
    cache_module.prepare(made, side=24)
    for module, name in ((keeping, "decode"), (keeping, "probe"), (room, "probe"), (manifest_module, "_hash_file")):
        monkeypatch.setattr(module, name, lambda path, **_: pytest.fail(f"{path} was read again"))
    monkeypatch.setattr(cache_module, "require_disk_space", lambda *_: None)
    again = open_data(Data(source=str(to)), print)
    assert again.videos == made.videos and again.fingerprint() == made.fingerprint() and again.root == root
    train, val = (ClipCache(folder) for folder in cache_module.prepare(again, side=24))
    assert (len(train), len(val)) == (5, 2) and train.skipped == ()


def test_a_source_in_its_own_folder_moves_with_it(root: Path, tmp_path: Path) -> None:
    before = read_source(root).fingerprint()
    prepare_source(root, root)
    root.rename(tmp_path / "moved")
    assert read_source(tmp_path / "moved").fingerprint() == before
    assert read_source(tmp_path / "moved", Options(layout="split-folders")).fingerprint() == before


def test_what_has_changed_since_is_said(root: Path, tmp_path: Path) -> None:
    to = tmp_path / "prepared"
    prepare_source(root, to)
    os.utime(root / "train/left/0.avi", ns=(1, 1))  # another time, the same content
    read_source(to)
    (root / "train/left/2.avi").unlink()
    (root / "train/right/0.avi").write_bytes(b"other")
    content = bytearray((root / "val/left/3.avi").read_bytes())
    content[-1] ^= 1
    (root / "val/left/3.avi").write_bytes(content)
    with pytest.raises(BadInput, match="prepare` again") as caught:
        read_source(to)
    assert [problem.partition(": ")[0] for problem in caught.value.problems][1:] == [
        "train/right/0.avi",
        "val/left/3.avi",
    ]
    assert len(caught.value.problems) == 3 and caught.value.problems[2].endswith("other content of the same size")
    (to / "manifest.csv").write_text("path\n")
    with pytest.raises(UsageError, match=r"manifest\.csv is not the one that was prepared"):
        read_source(to)


def test_what_prepare_refuses(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds other files"):
        prepare_source(root, root / "train")
    damage(root / "train/left/1.avi")
    with pytest.raises(ExpandError, match=r"--strict: 1 of 8 videos .*train/left/1\.avi.*nothing was written"):
        prepare_source(root, tmp_path / "to", strict=True)
    assert not (tmp_path / "to").exists()
    prepare_source(root, tmp_path / "to")
    prepare_source(root, tmp_path / "to")  # once more into the same folder
    with pytest.raises(UsageError, match="was prepared with group_column=None, not person"):
        read_source(tmp_path / "to", Options(group_column="person"))


KILLED = """
import os, signal, sys
from expand.data.prepared import folder as prepared
from expand.data import prepare_source as preparing
real, calls = os.replace, []
def replace(*paths):
    calls.append(paths)
    os.kill(os.getpid(), signal.SIGKILL) if len(calls) == int(sys.argv[3]) else real(*paths)
prepared.os.replace = replace
preparing.prepare_source(sys.argv[1], preparing.Path(sys.argv[2]))
"""


@pytest.mark.parametrize("moment", [1, 2])
def test_killed_in_the_middle(root: Path, tmp_path: Path, moment: int) -> None:
    to = tmp_path / "to"
    command = [sys.executable, "-c", KILLED, str(root), str(to), str(moment)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(UsageError, match="no videos found" if moment == 1 else "was not prepared completely"):
        read_source(to)
    prepare_source(root, to)
    assert len(read_source(to).videos) == 8 and len(list(to.iterdir())) == 2  # nothing is left of the killed one
