"""Every layout users have becomes the same kind of manifest; what is wrong is named with its place."""

import os
from pathlib import Path

import pytest
from conftest import moving_square, write_video

import expand.data.manifest as manifest_module
from expand.core.errors import UsageError
from expand.data.manifest import Manifest, describe_changes, divide_groups
from expand.data.read_source import read_source
from expand.data.video.decode import decode

ROOM_ACTIONS = Path(__file__).resolve().parents[3] / "shared/data/room_actions"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPAND_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of files that pass for videos as long as nobody decodes them."""
    root = tmp_path / "data"
    for name in ("run/a.mp4", "run/b 1.mp4", "run/c.MOV", "sit/a.mp4", "sit/b, 2.avi", "sit/c.webm"):
        put(root, name)
    return root


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def shown(manifest: Manifest, split: str) -> list[tuple[str, str]]:
    return [(video.path, manifest.classes[video.label]) for video in manifest.split(split)]


LISTS = {
    "header.csv": "path,label\nrun/a.mp4,run\nsit/a.mp4,sit\n",
    "no header.csv": "run/a.mp4,run\nsit/a.mp4,sit\n",
    "space.csv": "run/a.mp4 run\nsit/a.mp4 sit\n",
    "space header.txt": "path label\nrun/a.mp4 run\nsit/a.mp4 sit\n",
    "tab.txt": "run/a.mp4\trun\nsit/a.mp4\tsit\n",
    "other order.csv": "Label, Video\nrun, run/a.mp4\nsit, sit/a.mp4\n",
    "windows.csv": "\ufeffpath,label\r\nrun/a.mp4,run\r\n\r\n# a remark\r\nsit/a.mp4,sit\r\n",
}


@pytest.mark.parametrize("text", LISTS.values(), ids=LISTS)
def test_ways_to_write_a_list(root: Path, text: str) -> None:
    (root / "train.csv").write_text(text, newline="")
    (root / "val.csv").write_text(text, newline="")
    manifest = read_source(root)
    assert manifest.root == root and manifest.classes == ("run", "sit")
    assert shown(manifest, "train") == [("run/a.mp4", "run"), ("sit/a.mp4", "sit")] == shown(manifest, "val")
    assert not manifest.split("test")


def test_spaces_and_commas_in_paths(root: Path) -> None:
    (root / "train.csv").write_text('path,label\nrun/b 1.mp4,run\n"sit/b, 2.avi",sit\n')
    (root / "val.txt").write_text("sit/b, 2.avi sit\nrun/b 1.mp4 run\n")
    manifest = read_source(root)
    assert sorted(shown(manifest, "train")) == sorted(shown(manifest, "val"))
    assert shown(manifest, "val")[0] == ("sit/b, 2.avi", "sit")


def test_integer_labels_sort_as_numbers(root: Path) -> None:
    put(root, *(f"{i}.mp4" for i in range(11)))
    (root / "train.csv").write_text("".join(f"{i}.mp4 {i}\n" for i in range(11)))
    (root / "val.csv").write_text("10.mp4 10\n2.mp4 2\n")
    manifest = read_source(root)
    assert manifest.classes == tuple(str(i) for i in range(11))
    assert [video.label for video in manifest.split("val")] == [10, 2]


@pytest.mark.parametrize(("name", "text"), [("classes.txt", "walk\nsit\n"), ("classInd.txt", "0 walk\n1 sit\n")])
def test_integer_labels_with_names_beside(root: Path, name: str, text: str) -> None:
    (root / name).write_text(text)
    (root / "train.csv").write_text("run/a.mp4 0\nsit/a.mp4 1\n")
    (root / "val.csv").write_text("sit/c.webm 1\n")
    manifest = read_source(root)
    assert manifest.classes == ("walk", "sit") and shown(manifest, "val") == [("sit/c.webm", "sit")]
    (root / "val.csv").write_text("sit/c.webm 7\n")
    with pytest.raises(UsageError, match=r"val\.csv line 1: label 7 has no name .*0 to 1"):
        read_source(root)


def test_class_folders(root: Path) -> None:
    put(root, "run/._a.mp4", "run/notes.txt", "sit/deeper/d.mkv")
    manifest = read_source(root)
    assert manifest.classes == ("run", "sit") and len(manifest.videos) == 7
    assert all(manifest.split(name) for name in ("train", "val"))


def test_split_folders(tmp_path: Path) -> None:
    put(tmp_path, "train/run/1.mp4", "train/sit/1.mp4", "valid/run/1.mp4", "test/sit/1.mp4")
    manifest = read_source(tmp_path)
    assert shown(manifest, "val") == [("valid/run/1.mp4", "run")] and shown(manifest, "test") == [
        ("test/sit/1.mp4", "sit")
    ]
    assert manifest.crossing_groups() == ()  # equal file names in other folders are other clips


def test_single_list_with_group_and_split(root: Path) -> None:
    (root / "all.csv").write_text(
        "path,label,group\nrun/a.mp4,run,ann\nsit/a.mp4,sit,ann\nrun/c.MOV,run,bob\nsit/c.webm,sit,bob\n"
    )
    manifest = read_source(root / "all.csv")
    assert {video.group for video in manifest.split("train")} != {video.group for video in manifest.split("val")}
    assert manifest.crossing_groups() == () and len(manifest.split("train")) == len(manifest.split("val")) == 2
    (root / "all.csv").write_text(
        "path,label,split\nrun/a.mp4,run,train\nsit/a.mp4,sit,train\nrun/c.MOV,run,validation\n"
    )
    assert shown(read_source(root / "all.csv"), "val") == [("run/c.MOV", "run")]


def test_absolute_paths(root: Path, tmp_path: Path) -> None:
    put(tmp_path, "elsewhere/x.mp4")
    (root / "train.csv").write_text(f"{root}/run/a.mp4,run\n{tmp_path}/elsewhere/x.mp4,sit\nsit/a.mp4,sit\n")
    (root / "val.csv").write_text(f"{tmp_path}/elsewhere/x.mp4,sit\n")
    manifest = read_source(root)
    assert [video.path for video in manifest.split("train")][:2] == ["run/a.mp4", str(tmp_path / "elsewhere/x.mp4")]
    assert manifest.absolute(manifest.videos[1]).is_file()
    assert manifest.crossing_groups() == (str(tmp_path / "elsewhere/x"),)


def test_ucf101_groups_stay_together(tmp_path: Path) -> None:
    names = [f"{c}/v_{c}_g{g:02d}_c{n:02d}.avi" for c in ("Dive", "Swing") for g in range(1, 11) for n in range(1, 5)]
    put(tmp_path, *names)
    manifest = read_source(tmp_path)
    assert manifest == read_source(tmp_path) and manifest.crossing_groups() == ()
    assert [len(manifest.split(name)) for name in ("train", "val", "test")] == [48, 16, 16]
    assert "v_Dive_g01" in {video.group for video in manifest.videos}


def test_only_validation_is_taken_out_of_given_lists(root: Path) -> None:
    put(root, *(f"more/{i}.mp4" for i in range(20)))
    (root / "train.csv").write_text("".join(f"more/{i}.mp4,{'run' if i % 2 else 'sit'}\n" for i in range(20)))
    manifest = read_source(root)
    assert [len(manifest.split(name)) for name in ("train", "val", "test")] == [16, 4, 0]
    (root / "test.csv").write_text("run/a.mp4,run\n")
    manifest = read_source(root, validation_share=0.4)
    assert [len(manifest.split(name)) for name in ("train", "val", "test")] == [12, 8, 1]


def test_every_class_of_three_groups_is_in_train_and_val() -> None:
    sizes = {"big": 40, "small": 3, "tiny": 3}
    clips = [(f"{name}{i % 3}", label) for label, (name, n) in enumerate(sizes.items()) for i in range(n)]
    clips += [("big0", 1), ("big1", 2), ("alone", 3), ("one", 4), ("two", 4)]
    for share in (0.02, 0.2, 0.45):
        sides = divide_groups(clips, {"val": share, "test": share})
        for label in (0, 1, 2, 4):
            assert {"train", "val"} <= {sides[group] for group, other in clips if other == label}
        assert sides["alone"] == "train"
        assert sides == divide_groups(reversed(clips), {"val": share, "test": share})


def test_persons_who_do_everything() -> None:
    clips = [(f"person{p}", c) for p in range(10) for c in range(6) for _ in range(3)]
    sides = divide_groups(clips, {"val": 0.2, "test": 0.2})
    assert sorted(sides.values()).count("train") == 6 and sorted(sides.values()).count("val") == 2


WRONG = {
    "path,label\nrun/a.mp4,run\ny.mp4,run\nsit/a.mp4,sit\n": r"line 3: there is no file .*y\.mp4 \(1 of 3",
    "run/a.mp4,run\nsit/a.mp4,\n": r"train\.csv line 2: no label in 'sit/a\.mp4",
    "run/a.mp4 run\nsit/a.mp4\n": r"train\.csv line 2: no label in 'sit/a\.mp4'",
    "run/a.mp4,run\nsit/b, 2.avi,sit\n": r"line 2: 3 cells instead of 2",
    "clip id,label\n7,run\n": r"line 1: 'clip id, label' is neither a video",
    "run/a.mp4,run\nrun/c.MOV,run\n": r"only one class, 'run'",
    "run/a.mp4,run\nsit/a.mp4,sit\n": r"no validation clip can be taken",
    "# nothing\n": r"train\.csv lists no video",
    "path,label\n": r"train\.csv lists no video, only a header",
}


@pytest.mark.parametrize(("text", "message"), WRONG.items(), ids=range(len(WRONG)))
def test_wrong_lists(root: Path, text: str, message: str) -> None:
    (root / "train.csv").write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        read_source(root)
    assert "\n" not in str(caught.value)


def test_wrong_sources(root: Path, tmp_path: Path) -> None:
    put(tmp_path, "loose/a.mp4", "half/val/run/a.mp4", "twice/val/x/a.mp4", "twice/valid/x/a.mp4", "notes/readme.md")
    wrong = {
        tmp_path / "nowhere": "no data at .*nowhere",
        tmp_path / "loose": "1 videos are directly in it; expected a folder per class",
        tmp_path / "notes": "no videos found",
        tmp_path / "half": "val but no training split",
        tmp_path / "twice": "val, valid for one split",
        root / "run/a.mp4": "neither a folder nor a list",
    }
    for source, message in wrong.items():
        with pytest.raises(UsageError, match=message):
            read_source(source)
    with pytest.raises(UsageError, match=r"validation_share=0\.9 and test_share=0\.2"):
        read_source(root, validation_share=0.9)
    (root / "list.csv").write_text("path,label,split\nrun/a.mp4,run,tarin\n")
    with pytest.raises(UsageError, match="line 2: unknown split 'tarin'; did you mean 'train'"):
        read_source(root / "list.csv")
    (root / "list.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="as UTF-8"):
        read_source(root / "list.csv")


def test_class_without_training_clip(root: Path) -> None:
    (root / "train.csv").write_text("run/a.mp4,run\nsit/a.mp4,sit\n")
    (root / "val.csv").write_text("path,label\nrun/a.mp4,rum\n")
    with pytest.raises(UsageError, match=r"val\.csv line 2: class 'rum' \(val\) has no training clip .*run, sit"):
        read_source(root)


def test_fingerprint_follows_labels_and_bytes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "train.csv").write_text("run/a.mp4,run\nrun/c.MOV,run\nsit/a.mp4,sit\n")
    (root / "val.csv").write_text("run/b 1.mp4,run\n")
    first = read_source(root)
    prints, listing = {first.fingerprint()}, first.listing()
    with monkeypatch.context() as patch:
        patch.setattr(manifest_module, "_hash_file", lambda path: pytest.fail(f"{path} was read again"))
        assert read_source(root).fingerprint() in prints
    (root / "train.csv").write_text("run/a.mp4,run\nrun/c.MOV,sit\nsit/a.mp4,sit\n")
    prints.add(read_source(root).fingerprint())
    assert describe_changes(listing, read_source(root).listing()) == "train: 1 label changed"
    (root / "sit/a.mp4").write_text("SIT/a.mp4")
    os.utime(root / "sit/a.mp4", ns=(1, 1))
    (root / "val.csv").write_text('run/b 1.mp4,run\nsit/c.webm,sit\n"sit/b, 2.avi",sit\n')
    last = read_source(root)
    assert len(prints | {last.fingerprint()}) == 3
    changes = "train: 1 label changed, 1 file changed; val: 2 videos added"
    assert describe_changes(listing, last.listing()) == changes
    assert describe_changes(listing, listing) == "no path, label, split or content changed"


def test_noise_in_a_videos_bits_changes_the_fingerprint_though_no_decoder_sees_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for split in ("train", "val"):
        for label in ("a", "b"):
            write_video(data / split / label / "0.avi", moving_square(1, seed=len(split)))
    before, old = (manifest := read_source(data)).listing(), manifest.fingerprint()
    path = data / "train" / "a" / "0.avi"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0b100
    path.write_bytes(content)
    assert len(decode(path)) == 12
    after = read_source(data)
    assert after.fingerprint() != old
    assert describe_changes(before, after.listing()) == "train: 1 file changed"


def test_fingerprint_without_a_place_to_remember(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_source(root).fingerprint()
    (tmp_path / "file").touch()
    monkeypatch.setenv("EXPAND_CACHE", str(tmp_path / "file"))
    assert read_source(root).fingerprint() == expected


@pytest.mark.skipif(not ROOM_ACTIONS.is_dir(), reason=f"no clips at {ROOM_ACTIONS}")
def test_room_actions_lists_are_taken_as_they_are() -> None:
    manifest = read_source(ROOM_ACTIONS)
    assert manifest.classes == ("falling", "lie_still", "sit", "sitdown", "standup", "walk")
    assert [len(manifest.split(name)) for name in ("train", "val", "test")] == [192, 65, 61]
    assert manifest.crossing_groups() == ()
