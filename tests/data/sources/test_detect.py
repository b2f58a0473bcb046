"""Data sets as their authors hand them out, in miniature: detected, read, and refused with file and line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from expand.core.errors import UsageError
from expand.data.manifest import Manifest
from expand.data.read_source import BadInput, Options, read_source
from expand.data.sources.detect import LAYOUTS, LOOKED_FOR, detect


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPAND_CACHE", str(tmp_path / "cache"))


def put(root: Path, *names: str, text: str = "") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text or name)


def shown(manifest: Manifest, split: str) -> list[tuple[str, str, str]]:
    return [(video.path, manifest.classes[video.label], video.group) for video in manifest.split(split)]


def problems_of(source: Path, options: Options | None = None) -> tuple[str, ...]:
    with pytest.raises(BadInput) as caught:
        read_source(source, options)
    return caught.value.problems


@pytest.fixture
def ucf(tmp_path: Path) -> Path:
    """Two classes of five source videos of two clips; two source videos are for testing, others in the second split."""
    root, names = tmp_path / "ucf", []
    for group in range(1, 6):
        for clip in (1, 2):
            names += [f"{c}/v_{c}_g{group:02}_c{clip:02}.avi" for c in ("Diving", "Archery")]
    put(root, *(f"UCF-101/{name}" for name in names))
    for split, tested in ((1, "g01"), (2, "g02")):
        train = [f"{name} {1 if 'Archery' in name else 2}" for name in names if tested not in name]
        put(root, f"ucfTrainTestlist/trainlist{split:02}.txt", text="\r\n".join(train) + "\r\n")
        put(root, f"ucfTrainTestlist/testlist{split:02}.txt", text="\n".join(n for n in names if tested in n) + "\n")
    put(root, "ucfTrainTestlist/classInd.txt", text="1 Archery\n2 Diving\n")
    return root


def test_ucf101(ucf: Path) -> None:
    manifest = read_source(ucf)
    assert (manifest.layout, manifest.classes) == ("ucf101", ("Archery", "Diving"))
    assert manifest.why == "there is ucfTrainTestlist/trainlist01.txt"
    assert {group[-3:] for _, _, group in shown(manifest, "test")} == {"g01"} and len(manifest.split("test")) == 4
    assert len(manifest.split("val")) >= 2 and manifest.crossing_groups() == ()
    assert ("UCF-101/Diving/v_Diving_g01_c02.avi", "Diving", "v_Diving_g01") in shown(manifest, "test")
    second = read_source(ucf, Options(split=2))
    assert {group[-3:] for _, _, group in shown(second, "test")} == {"g02"}
    with pytest.raises(UsageError, match=r"no trainlist03\.txt \(--split 3\)"):
        read_source(ucf, Options(split=3))


def test_ucf101_mistakes_all_at_once(ucf: Path) -> None:
    path = ucf / "ucfTrainTestlist/trainlist01.txt"
    path.write_text(path.read_text() + "Diving/v_Diving_g03_c01.avi 3\nDiving/gone.avi 2\n../../x.avi 1\n")
    (ucf.parent / "x.avi").write_text("outside")
    put(ucf, "ucfTrainTestlist/testlist01.txt", text="Dancing/v_Diving_g01_c01.avi\n")
    wanted = (
        "trainlist01.txt line 17: label 3 is not in classInd.txt (1 to 2)",
        "trainlist01.txt line 18: there is no file",
        "trainlist01.txt line 19: '../../x.avi' is outside",
        "testlist01.txt line 1: the folder 'Dancing' is no class of classInd.txt",
    )
    assert len(problems_of(ucf)) == 4
    for start in wanted:
        assert sum(problem.startswith(f"ucfTrainTestlist/{start}") for problem in problems_of(ucf)) == 1, start


def test_hmdb51(tmp_path: Path) -> None:
    films, lines = ("April_09", "Faith_Rewarded", "Veoh_3", "Unused_1"), {}
    for action in ("brush_hair", "wave"):
        clips = [f"{film}_{action}_u_nm_np1_ba_goo_{i}.avi" for film in films for i in (0, 1)]
        put(tmp_path, *(f"videos/{action}/{clip}" for clip in clips))
        lines = dict(zip(clips, (1, 1, 1, 1, 2, 2, 0, 0), strict=True))
        text = "".join(f"{clip} {side} \n" for clip, side in lines.items())
        put(tmp_path, f"testTrainMulti_7030_splits/{action}_test_split1.txt", text=text)
        put(tmp_path, f"testTrainMulti_7030_splits/{action}_test_split2.txt", text=f"{clips[0]} 1\n")
    manifest = read_source(tmp_path)
    assert (manifest.layout, manifest.classes) == ("hmdb51", ("brush_hair", "wave"))
    assert {group for _, _, group in shown(manifest, "test")} == {"Veoh_3"} and len(manifest.split("test")) == 4
    sides = {split: {group for _, _, group in shown(manifest, split)} for split in ("train", "val")}
    assert sides["train"] | sides["val"] == {"April_09", "Faith_Rewarded"} and not sides["train"] & sides["val"]
    assert manifest.left_out == ("4 videos that split 1 does not use",)
    put(tmp_path, "testTrainMulti_7030_splits/wave_test_split1.txt", text="x.avi 3\n")
    assert problems_of(tmp_path)[0].endswith("wave_test_split1.txt line 1: 'x.avi 3' is not a file and 0, 1 or 2")
    with pytest.raises(UsageError, match="no lists of --split 3"):
        read_source(tmp_path, Options(split=3))


@pytest.mark.parametrize("prefix", ["something-something-v2-", "labels/"])
def test_something_something(tmp_path: Path, prefix: str) -> None:
    templates = {"Putting [something] on [something]": "1", "Holding [something]": "0"}
    put(tmp_path, *(f"20bn-something-something-v2/{i}.webm" for i in range(6)))

    def write(name: str, content: object) -> None:
        put(tmp_path, f"{prefix}{name}.json", text=json.dumps(content))

    entries = [{"id": str(i), "label": "holding a cup", "template": [*templates][i % 2]} for i in range(6)]
    write("train", entries[:4])
    write("validation", entries[4:])
    write("test", [{"id": "77"}])
    write("labels", {name.replace("[", "").replace("]", ""): number for name, number in templates.items()})
    manifest = read_source(tmp_path)
    assert manifest.layout == "something"
    assert manifest.classes == ("Holding something", "Putting something on something")
    assert [len(manifest.split(name)) for name in ("train", "val", "test")] == [4, 2, 0]
    assert manifest.videos[0].path == "20bn-something-something-v2/0.webm" and manifest.videos[0].label == 1
    assert manifest.left_out == ("1 test videos: their labels are not published",)
    write(
        "validation", [{"id": "4"}, {"id": "9", "template": "Holding [something]"}, {"id": "5", "template": "Eating"}]
    )
    found = problems_of(tmp_path)
    assert "entry 1: no id and template" in found[0] and "entry 3: template 'Eating' is not in" in found[1]
    assert "entry 2: there is no file" in found[2] and found[2].endswith("/9.webm")


HEAD = "label,youtube_id,time_start,time_end,split\n"


def kinetics(root: Path) -> None:
    lines = [
        '"shaking hands",-aa,0,10,train',
        '"shaking hands",bb,19,29,train',
        "abseiling,cc,3,13,train",
        "abseiling,dd,1,11,train",
    ]
    put(root, "annotations/train.csv", text=HEAD + "\n".join(lines))
    put(root, "annotations/validate.csv", text=HEAD + "shaking hands,ee,0,10,validate\nabseiling,ff,7,17,validate\n")
    put(root, "annotations/test.csv", text="youtube_id,time_start,time_end,split\ngg,0,10,test\n")
    put(root, "train/shaking hands/-aa_000000_000010.mp4", "train/shaking hands/bb.mp4", "train/x/cc_000003_000013.mp4")
    put(root, "train/x/dd_000001_000011.mkv", "val/ee_000000_000010.mp4", "val/ff_000007_000017.mp4")


def test_kinetics_as_handed_out(tmp_path: Path) -> None:
    kinetics(tmp_path)
    manifest = read_source(tmp_path)
    assert (manifest.layout, manifest.classes) == ("kinetics", ("abseiling", "shaking hands"))
    assert [len(manifest.split(name)) for name in ("train", "val", "test")] == [4, 2, 0]
    assert ("train/shaking hands/bb.mp4", "shaking hands", "bb") in shown(manifest, "train")
    assert manifest.left_out == ("1 videos without a label",)
    extra = "abseiling,bb,50,60,train\nabseiling,hh,0,10,train\nabseiling,ii,zero,10,train\n"
    put(tmp_path, "annotations/train.csv", text=(tmp_path / "annotations/train.csv").read_text() + "\n" + extra)
    found = problems_of(tmp_path)
    assert len(found) == 3 and "line 8: no youtube_id with time_start" in found[0]
    assert "line 6: train/shaking hands/bb.mp4 is listed in annotations/train.csv line 3, too" in found[1]
    assert "line 7: there is no file" in found[2] and found[2].endswith("hh_000000_000010.mp4")


def test_missing_files_can_be_left_out(tmp_path: Path) -> None:
    kinetics(tmp_path)
    (tmp_path / "train/x/cc_000003_000013.mp4").unlink()
    assert len(problems_of(tmp_path)) == 1
    manifest = read_source(tmp_path, Options(skip_missing=True))
    assert len(manifest.split("train")) == 3
    assert manifest.left_out[-1] == "1 of 6 listed videos that are missing, such as cc_000003_000013.mp4"


def test_pyslowfast_lists_with_absolute_paths(tmp_path: Path) -> None:
    put(tmp_path, "elsewhere/a b.mp4", "elsewhere/c.mp4")
    lines = f"{tmp_path}/elsewhere/a b.mp4 0\n{tmp_path}/elsewhere/c.mp4 1\n"
    for name in ("train", "val"):
        put(tmp_path / "lists", f"{name}.csv", text=lines)
    manifest = read_source(tmp_path / "lists")
    assert shown(manifest, "train")[0][:2] == (f"{tmp_path}/elsewhere/a b.mp4", "0") and manifest.layout == "lists"


def test_mmaction_lists_of_videos(tmp_path: Path) -> None:
    put(tmp_path, "videos_train/a/1.mp4", "videos_train/b/2.mp4", "videos_val/a/3.mp4", "videos_val/b/4.mp4")
    put(tmp_path, "annotations/kinetics400_train_list_videos.txt", text="a/1.mp4 0\nb/2.mp4 1\n")
    put(tmp_path, "annotations/kinetics400_val_list_videos.txt", text="a/3.mp4 0\nb/4.mp4 1\n")
    put(tmp_path, "annotations/label_map_k400.txt", text="abseiling\nair drumming\n")
    manifest = read_source(tmp_path)
    assert (manifest.layout, manifest.classes) == ("mmaction", ("abseiling", "air drumming"))
    assert [video.path for video in manifest.videos] == [
        "videos_train/a/1.mp4", "videos_train/b/2.mp4", "videos_val/a/3.mp4", "videos_val/b/4.mp4",
    ]  # fmt: skip


def frames(folder: Path, count: int, name: str = "img_{:05}.jpg") -> None:
    folder.mkdir(parents=True)
    for i in range(1, count + 1):
        Image.new("RGB", (16, 12), (20 * i, 0, 0)).save(folder / name.format(i))


def test_mmaction_lists_of_frame_folders(tmp_path: Path) -> None:
    for clip in ("a/1", "b/2", "a/3", "b/4"):
        frames(tmp_path / "rawframes" / clip, 5)
        Image.new("L", (16, 12)).save(tmp_path / "rawframes" / clip / "flow_x_00001.jpg")
    put(tmp_path, "ucf101_train_split_1_rawframes.txt", text="a/1 5 0\nb/2 5 1\n")
    put(tmp_path, "ucf101_val_split_1_rawframes.txt", text="a/3 5 0\nb/4 5 1\n")
    with pytest.raises(UsageError, match=r"does not state its frame rate \(4 of 4 .*--fps \(data\.fps\)"):
        read_source(tmp_path)
    manifest = read_source(tmp_path, Options(fps=25))
    assert manifest.layout == "mmaction" and manifest.fps == 25
    assert [video.path for video in manifest.split("val")] == ["rawframes/a/3", "rawframes/b/4"]
    put(tmp_path, "ucf101_val_split_1_rawframes.txt", text="a/3 6 0\nb/4 5 1\n")
    (tmp_path / "rawframes/b/2/img_00003.jpg").unlink()
    found = problems_of(tmp_path, Options(fps=25))
    assert "train_split_1_rawframes.txt line 2:" in found[0] and "picture 3 of 1 to 5 is missing" in found[0]
    assert "val_split_1_rawframes.txt line 1:" in found[1] and found[1].endswith("holds 5 pictures instead of 6")


def test_class_folders_of_frames_and_arrays(tmp_path: Path) -> None:
    frames(tmp_path / "train/run/one", 3, "{:05}.png")
    put(tmp_path, "train/sit/a.avi", "val/run/b.avi")
    (tmp_path / "val/sit").mkdir()
    np.savez(tmp_path / "val/sit/c.npz", frames=np.zeros((4, 12, 16, 3), np.uint8), fps=12)
    manifest = read_source(tmp_path, Options(fps=10))
    paths = ["train/run/one", "train/sit/a.avi", "val/run/b.avi", "val/sit/c.npz"]
    assert [video.path for video in manifest.videos] == paths and manifest.layout == "split-folders"
    before = manifest.fingerprint()
    assert read_source(tmp_path, Options(fps=12)).fingerprint() != before  # other strides in time
    Image.new("RGB", (16, 12), (0, 9, 0)).save(tmp_path / "train/run/one/00002.png")
    assert read_source(tmp_path, Options(fps=10)).fingerprint() != before


def test_a_layout_by_name(ucf: Path) -> None:
    assert detect(ucf)[0].name == "ucf101" and {layout.name for layout in LAYOUTS} == set(LOOKED_FOR)
    with pytest.raises(UsageError, match="unknown layout 'ucf'; did you mean 'ucf101'"):
        read_source(ucf, Options(layout="ucf"))
    with pytest.raises(UsageError, match=r"does not have the layout 'hmdb51': expected brush_hair_test_split1\.txt"):
        read_source(ucf, Options(layout="hmdb51"))
    put(ucf, "train.csv", text="UCF-101/Diving/v_Diving_g01_c01.avi,d\nUCF-101/Archery/v_Archery_g01_c01.avi,a\n")
    put(ucf, "val.csv", text="UCF-101/Diving/v_Diving_g02_c01.avi,d\n")
    assert "could be read as lists, too: --layout" in read_source(ucf).why
    assert read_source(ucf, Options(layout="lists")).classes == ("a", "d")


def test_a_group_column_of_the_users(tmp_path: Path) -> None:
    put(tmp_path, *(f"{i}.mp4" for i in range(8)))
    lines = "".join(f"{i}.mp4,{'run' if i % 2 else 'sit'},person{i // 2}\n" for i in range(8))
    put(tmp_path, "all.csv", text="path,label,Person\n" + lines)
    manifest = read_source(tmp_path / "all.csv", Options(group_column="person"))
    assert {video.group for video in manifest.videos} == {f"person{i}" for i in range(4)}
    assert manifest.crossing_groups() == () and all(manifest.split(split) for split in ("train", "val", "test"))
    assert "did you mean 'Person'" in problems_of(tmp_path / "all.csv", Options(group_column="persn"))[0]
    put(tmp_path, "plain.csv", text="1.mp4,run\n2.mp4,sit\n")
    assert "has no header" in problems_of(tmp_path / "plain.csv", Options(group_column="person"))[0]


def test_everything_wrong_with_lists_is_said_at_once(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path.parent / "outside.mp4").write_text("outside")
    (tmp_path / "link.mp4").symlink_to(tmp_path.parent / "outside.mp4")
    (tmp_path / "inner.mp4").symlink_to(tmp_path / "a.mp4")
    (tmp_path / "train.csv").write_bytes(
        b"\xef\xbb\xbfpath,label\r\na.mp4,Run\r\nb.mp4,run\r\ncaf\xe9.mp4,sit\r\n../outside.mp4,sit\r\nlink.mp4,sit\r\n"
        b'"c.mp4",sit\r\nno.mp4,sit\r\nb.mp4\r\nb.mp4,run ,x\r\ninner.mp4,sit\r\nx\0.mp4,sit\r\n'
    )
    put(tmp_path, "val.csv", text="a.mp4,sit\nb.mp4,lie\n")
    found = problems_of(tmp_path)
    wanted = {
        "train.csv line 3: class 'run' differs from 'Run' (train.csv line 2) only in case or blanks",
        "train.csv line 4: byte 0xe9 is not UTF-8",
        "train.csv line 5: '../outside.mp4' is outside",
        "train.csv line 6: 'link.mp4' is linked to",
        "train.csv line 8: there is no file",
        "train.csv line 9: no label in 'b.mp4'",
        "train.csv line 10: 3 cells instead of 2",
        "train.csv line 12: the path holds a NUL",
        "val.csv line 2: class 'lie' (val) has no training clip",
    }
    assert len(found) == len(wanted)
    for start in wanted:
        assert sum(problem.startswith(start) for problem in found) == 1, start


def test_many_problems_are_counted(tmp_path: Path) -> None:
    put(tmp_path, "train.csv", text="".join(f"{i}.mp4,{'run' if i % 2 else 'sit'}\n" for i in range(50)))
    with pytest.raises(BadInput, match=r"50 problems .*50 of 50 listed are missing") as caught:
        read_source(tmp_path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 22 and lines[-1].strip().startswith("and 30 more") and len(caught.value.problems) == 50
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("0", "1", "-1"), "line 3: label -1 is below 0"),
        (("0", "1", "run"), "line 3: label run is not a number like the others"),
    ],
)
def test_numbers_that_are_no_labels(tmp_path: Path, labels: tuple[str, ...], message: str) -> None:
    put(tmp_path, *(f"{i}.mp4" for i in range(3)))
    put(tmp_path, "train.csv", text="".join(f"{i}.mp4 {label}\n" for i, label in enumerate(labels)))
    put(tmp_path, "val.csv", text="0.mp4 0\n")
    assert problems_of(tmp_path) == (f"train.csv {message}",)


def test_utf16_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("path,label\na.mp4,run\n", encoding="utf-16")
    with pytest.raises(UsageError, match=r"train\.csv: it is UTF-16; save it as UTF-8 text"):
        read_source(tmp_path)
