"""The rendered default data: laid out as documented, a function of its seed, fair to motion, made once, kept whole."""

import csv
import hashlib
import json
import multiprocessing
from pathlib import Path

import av
import numpy as np
import pytest

from expand.core.errors import ExpandError, UsageError
from expand.data.synthetic import drawing
from expand.data.synthetic import render as rendered
from expand.data.synthetic import scenes as figures

TINY = {"seed": 3, "train_groups": 1, "val_groups": 1, "test_groups": 1}
ARMS = ("raise arms", "lower arms", "wave slowly", "wave quickly")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rendered.render_dataset(tmp_path_factory.mktemp("data") / "tiny", **TINY)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files hold one raw frame instead of a video: for what is about files and not about pictures."""
    monkeypatch.setattr(rendered, "encode", lambda frames: next(frames).tobytes())


def rows_of(folder: Path, split: str) -> list[dict[str, str]]:
    with open(folder / f"{split}.csv") as file:
        return list(csv.DictReader(file))


def checksums(folder: Path) -> dict[str, str]:
    return {entry["path"]: entry["sha256"] for entry in json.loads((folder / "manifest.json").read_text())["files"]}


def extents(label: str, clips: int) -> np.ndarray:
    """How far the moving part is in each frame of several clips: (clips, FRAMES)."""
    motions = [figures.draw_motion(figures.seeded(0, str(clip), label), label) for clip in range(clips)]
    times = (np.arange(figures.FRAMES) + 0.5) / figures.FRAMES
    return np.array([[figures.extent(motion, time) for time in times] for motion in motions])


def test_lists_name_one_clip_of_each_class_per_group_and_no_group_crosses_splits(tiny: Path) -> None:
    groups = []
    for split in ("train", "val", "test"):
        rows = rows_of(tiny, split)
        assert sorted(row["label"] for row in rows) == sorted(figures.CLASSES)
        assert all(row["path"] == f"videos/{split}/{row['label']}/{row['group']}.mp4" for row in rows)
        assert all((tiny / row["path"]).is_file() for row in rows)
        groups.append({row["group"] for row in rows})
    assert len(set.union(*groups)) == sum(map(len, groups)) == 3


def test_manifest_describes_the_files(tiny: Path) -> None:
    manifest = json.loads((tiny / "manifest.json").read_text())
    entry = manifest["files"][0]
    assert manifest["seed"] == 3 and manifest["groups"] == {"train": 1, "val": 1, "test": 1}
    assert entry["sha256"] == hashlib.sha256((tiny / entry["path"]).read_bytes()).hexdigest()
    assert entry["bytes"] == (tiny / entry["path"]).stat().st_size
    assert manifest["rooms"][entry["group"]]["scene"]["height"] > 0.5
    assert len(manifest["files"]) == 30


def test_a_clip_decodes_to_what_was_drawn(tiny: Path) -> None:
    with av.open(str(tiny / "videos/train/raise arms/train-000.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, float(stream.average_rate)) == (128, 96, 16.0)
        frames = list(container.decode(stream))
    assert len(frames) == figures.FRAMES
    assert [frame.key_frame for frame in frames[:17:8]] == [True] * 3
    drawn = next(drawing.render_frames(3, "train-000", "raise arms"))
    assert np.abs(frames[0].to_ndarray(format="rgb24").astype(float) - drawn).mean() < 8


def test_content_depends_on_seed_group_and_class_only(tiny: Path, tmp_path: Path) -> None:
    for split, label in (("test", "wave quickly"), ("train", "carry a box")):
        clip = rendered.Clip(3, split, f"{split}-000", label)
        (tmp_path / clip.path).parent.mkdir(parents=True)
        assert rendered._render_clip(clip, tmp_path)["sha256"] == checksums(tiny)[clip.path]
    first, other = (next(drawing.render_frames(seed, "train-000", "raise arms")) for seed in (3, 4))
    assert np.abs(first.astype(float) - other).mean() > 5


def test_a_smaller_set_is_a_part_of_a_larger_one(tmp_path: Path, short: None) -> None:
    small = checksums(rendered.render_dataset(tmp_path / "small", **TINY))
    large = checksums(rendered.render_dataset(tmp_path / "large", **{**TINY, "train_groups": 2}))
    assert len(large) == 40 and small.items() <= large.items()


def test_a_group_shares_its_actor_and_scene_but_not_its_motion() -> None:
    raised, lowered = (figures.draw_clip(0, "val-001", label) for label in ARMS[:2])
    assert raised[:2] == lowered[:2]
    assert raised[2].angle_high != lowered[2].angle_high
    assert figures.draw_clip(0, "val-002", "raise arms")[0] != raised[0]


@pytest.mark.parametrize("label", ARMS[1:])
def test_a_single_frame_does_not_tell_the_arm_classes_apart(label: str) -> None:
    """Over random times the arms' positions have one distribution (largest gap of the two cumulative ones)."""
    edges = np.linspace(0, 1, 21)
    cumulative = [np.searchsorted(np.sort(extents(name, 600).ravel()), edges) for name in (ARMS[0], label)]
    assert np.abs(cumulative[0] - cumulative[1]).max() / (600 * figures.FRAMES) < 0.03


def test_courses_go_the_ways_their_classes_say() -> None:
    def turns(label: str) -> np.ndarray:
        steps = np.sign(np.diff(extents(label, 50), axis=1))
        return np.array([np.count_nonzero(np.diff(row[row != 0])) for row in steps])

    for label in ("raise arms", "step right", "crouch down"):
        assert (np.diff(extents(label, 50), axis=1) >= 0).all() and np.ptp(extents(label, 50), axis=1).min() > 0.9
    for label in ("lower arms", "step left", "stand up"):
        assert (np.diff(extents(label, 50), axis=1) <= 0).all() and np.ptp(extents(label, 50), axis=1).min() > 0.9
    assert turns("wave slowly").min() >= 1 and turns("wave slowly").max() <= 3
    assert turns("wave quickly").min() >= 3 and turns("wave quickly").mean() > 4


def test_the_figure_moves_where_its_class_says() -> None:
    """What differs from the room, seen as the median of all frames, moves sideways, or its top moves up or down."""
    moving = ("step left", "step right", "crouch down", "raise arms")
    clips = {name: np.stack(list(drawing.render_frames(0, "train-000", name))).astype(float) for name in moving}
    room = np.median(np.concatenate([clips["step left"][::4], clips["step right"][::4]]), axis=0)

    def shift(label: str) -> tuple[float, float]:
        """Pixels to the right that the middle moves, and pixels down that the top moves, from first to last frame."""
        seen = [np.nonzero(np.abs(clips[label][index] - room).sum(-1) > 60) for index in (0, -1)]
        (right, down), (right_end, down_end) = ((columns.mean(), np.quantile(rows, 0.02)) for rows, columns in seen)
        return right_end - right, down_end - down

    assert shift("step left")[0] < -18
    assert shift("step right")[0] > 18
    assert shift("crouch down")[1] > 8
    assert shift("raise arms")[1] < -8


def test_verify_names_changed_and_missing_files(tmp_path: Path, short: None) -> None:
    folder = rendered.render_dataset(tmp_path / "set", **TINY)
    assert rendered.verify(folder) == []
    victim, lost = (folder / row["path"] for row in rows_of(folder, "val")[:2])
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)
    lost.unlink()
    problems = rendered.verify(folder)
    assert len(problems) == 2 and "checksum" in problems[0] and "missing" in problems[1]
    assert len(rendered.verify(tmp_path)) == 1


def test_ensure_renders_once_and_again_only_when_something_is_wrong(tmp_path: Path, short: None) -> None:
    calls: list[tuple[int, int]] = []
    folder = tmp_path / "cache" / "set"

    def ensure(**changes: int) -> int:
        calls.clear()
        assert rendered.ensure_rendered(folder, lambda done, total: calls.append((done, total)), **{**TINY, **changes})
        return len(calls)

    assert ensure() == 31 and calls[-1] == (30, 30)
    assert ensure() == 0
    victim = folder / rows_of(folder, "train")[0]["path"]
    victim.write_bytes(victim.read_bytes()[:-100])
    assert ensure() > 0 and ensure() == 0
    assert ensure(seed=4) > 0
    (folder / "test.csv").unlink()
    assert ensure(seed=4) > 0
    assert rendered.verify(folder) == []
    assert sorted(path.name for path in folder.parent.iterdir()) == [".set.lock", "set"]


def ensure_in_a_process(folder: Path, rendering: "multiprocessing.Queue[bool]") -> None:
    calls: list[int] = []
    rendered.ensure_rendered(folder, lambda done, total: calls.append(done), **TINY)
    rendering.put(bool(calls))


def test_two_processes_at_once_render_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    rendering = context.Queue()
    processes = [context.Process(target=ensure_in_a_process, args=(tmp_path / "set", rendering)) for _ in range(2)]
    for process in processes:
        process.start()
    answers = sorted(rendering.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert answers == [False, True]
    assert rendered.verify(tmp_path / "set") == []


def test_a_failed_rendering_leaves_what_was_there(tmp_path: Path, short: None, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = rendered.render_dataset(tmp_path / "set", **TINY)
    before = checksums(folder)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(ExpandError, match="No space left"):
        rendered.render_dataset(folder, **{**TINY, "seed": 4})
    assert checksums(folder) == before and rendered.verify(folder) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [".set.lock", "set"]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for make in (rendered.render_dataset, rendered.ensure_rendered):
        with pytest.raises(UsageError, match="not a rendered data set"):
            make(tmp_path, **TINY)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_split_without_groups_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="val_groups is 0"):
        rendered.render_dataset(tmp_path / "set", val_groups=0)


def test_the_pool_renders_what_one_process_renders(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendered, "SERIAL_CLIPS", 10)
    assert checksums(rendered.render_dataset(tmp_path / "pool", **TINY)) == checksums(tiny)
