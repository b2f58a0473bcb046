"""What a hostile or clumsy user can hand over: pipes, bombs, wrong clocks, odd names, files of others."""

from __future__ import annotations

import csv
import json
import os
import resource
import shutil
import socket
import time
import zipfile
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from conftest import ROOT, STUDIES, moving_square, write_video
from PIL import Image

from expand.config import loading as settings
from expand.config.loading import load_factory, load_space, load_study
from expand.config.overrides import override
from expand.config.request import Request
from expand.core.errors import UsageError
from expand.core.files import MOST_BYTES, escaped, not_a_file, read_bytes, read_json
from expand.counting.cost import cost_of
from expand.data.cache.clip_cache import ClipCache, prepare
from expand.data.cache.disk_space import expected_bytes
from expand.data.prepare_source import prepare_source
from expand.data.prepared.folder import read_prepared
from expand.data.prepared.validate import check as check_videos
from expand.data.read_source import read_source
from expand.data.video.decode import MOST_REPEATS, SPARE_REPEATS, DamagedVideo, decode, probe, survey
from expand.data.video.seek import locate
from expand.search.memory_check import Memory, least_bytes, require_memory
from expand.storage.folder import read_listing
from expand.storage.plans import read_plan
from expand.storage.run_directory import open_for_reading
from expand.weights.files import read as read_weights

pytestmark = pytest.mark.timeout(60)  # what opens a pipe waits for ever
TINY = STUDIES / "tiny.py"
RAW = os.fsdecode(b"caf\xe9 \x1b[31m")  # a name that is no UTF-8, and turns a terminal red
SAID = "caf\\xe9 \\x1b[31m"


def videos(root: Path, classes: tuple[str, ...] = ("left", "right")) -> Path:
    """root/split/class/*.avi: two training clips and one validation clip a class."""
    for side, name in enumerate(classes):
        for split, seeds in (("train", (0, 1)), ("val", (2,))):
            for seed in seeds:
                write_video(root / split / name / f"{seed}.avi", moving_square(2 * side - 1, seed))
    return root


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def socket_at(path: Path) -> Path:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path may have 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.chdir(here)
    return path


def device(path: Path) -> Path:
    path.symlink_to("/dev/zero")  # never ends
    return path


KINDS = {"a named pipe (FIFO)": pipe, "a socket": socket_at, "a device": device}


# --- no files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_named_and_never_opened(kind, tmp_path):
    place = KINDS[kind](tmp_path / "x.pt")
    said = f"it is {kind}, not a file"
    assert not_a_file(place) == said
    with pytest.raises(OSError, match="not a file"):
        read_bytes(place)
    with pytest.raises(UsageError, match=r"x\.pt: it is .*; name a file of weights"):
        read_weights(place)
    place.rename(place.with_suffix(".csv"))
    with pytest.raises(UsageError, match="not a file; give a folder of videos or a list"):
        read_source(place.with_suffix(".csv"))
    place.with_suffix(".csv").rename(place.with_suffix(".py"))
    with pytest.raises(UsageError, match="not a file"):
        load_study(str(place.with_suffix(".py")))


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_with_one_of_them_among_its_videos_is_used_without_it(kind, tmp_path):
    root = videos(tmp_path / "videos")
    KINDS[kind](root / "train" / "left" / "9.avi")
    pictures = root / "train" / "right" / "clip"
    pictures.mkdir()
    Image.fromarray(moving_square(0, 0)[0]).save(pictures / "img_1.png")
    KINDS[kind](pictures / "img_2.png")
    KINDS[kind](root / "other.csv")  # looked into for the columns of Kinetics
    manifest = read_source(root, settings_of(fps=12))
    found = [str(finding) for finding in check_videos(manifest).findings if finding.kind == "damaged"]
    said = f"it is {kind}, not a file"
    assert found == [
        f"train/left/9.avi: {said}",
        f"train/right/clip: img_2.png cannot be read ({said})",
    ]
    assert len(manifest.fingerprint()) == 64
    assert [p.path for p in ClipCache(prepare(manifest, side=16, skip_damaged=True)[0]).skipped] == [
        "train/left/9.avi", "train/right/clip"
    ]  # fmt: skip


def settings_of(**values):
    from expand.data.sources.records import Options

    return Options(**values)


def test_circles_of_links_are_said(tmp_path, expand):
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot be inspected" in not_a_file(tmp_path / "loop")
    for arguments in (
        ("run", TINY, "--data", "loop"), ("run", TINY, "--out", "loop"), ("data", "check", "loop"), ("status", "loop"),
    ):  # fmt: skip
        done = expand(*arguments)
        assert done.returncode in (1, 2) and "internal error" not in done.stderr and done.stderr.count("\n") == 1


# --- arrays that promise more than there is --------------------------------------------------------------------------


def header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    out = BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": descr, "fortran_order": False, "shape": shape})
    return out.getvalue()


HUGE = (40_000, 300, 300, 3)  # 10.8 GB


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_an_array_whose_header_asks_for_gigabytes_is_refused_before_they_are_taken(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        path.write_bytes(header(HUGE) + bytes(100))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("frames.npy", header(HUGE) + bytes(100))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for look in (probe, decode, survey, locate):
        with pytest.raises(DamagedVideo, match="its header states 10,800,000,000 bytes, the file has 100"):
            look(path, rate=12)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_zip_bomb_is_refused(tmp_path):
    path = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("frames.npy", "w") as member,
    ):
        member.write(header((4000, 300, 300, 3)))
        for _ in range(40):
            member.write(bytes(100 * 300 * 300 * 3))
    assert path.stat().st_size < 10e6
    started = time.perf_counter()
    with pytest.raises(DamagedVideo, match=r"unpacks from [\d,]+ to 1,080,000,128 bytes"):
        decode(path, rate=12)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("fps", [np.zeros(3), np.array([{}], object), np.array("fast"), np.array(1j)])
def test_a_rate_that_is_no_number_is_said(fps, tmp_path):
    np.savez(tmp_path / "a.npz", frames=moving_square(0, 0), fps=fps)
    with pytest.raises(DamagedVideo):
        probe(tmp_path / "a.npz")


def test_objects_are_never_loaded(tmp_path):
    class Touch:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/touched",)

    np.savez(tmp_path / "a.npz", frames=np.array([Touch()], dtype=object))
    np.save(tmp_path / "b.npy", np.array([Touch()], dtype=object))
    for name in ("a.npz", "b.npy"):
        with pytest.raises(DamagedVideo, match="it holds Python objects, which are not loaded"):
            decode(tmp_path / name, rate=12)
    assert not (tmp_path / "touched").exists()


def test_weights_that_unpack_to_gigabytes_or_hold_themselves_are_refused(tmp_path):
    torch.save({"weight": torch.zeros(1000)}, tmp_path / "whole.pt")
    with (
        zipfile.ZipFile(tmp_path / "whole.pt") as whole,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb,
    ):
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name))
        with bomb.open("archive/data/1", "w") as member:
            for _ in range(20):
                member.write(bytes(10_000_000))
    with pytest.raises(UsageError, match=r"no file of weights: its [\d,]+ bytes unpack to 200,"):
        read_weights(tmp_path / "bomb.pt")
    circle: dict = {}
    circle["model"] = circle
    torch.save(circle, tmp_path / "circle.pt")
    with pytest.raises(UsageError, match="holds no weights"):
        read_weights(tmp_path / "circle.pt")


# --- a clock that jumps ----------------------------------------------------------------------------------------------


def jumping(path: Path, seconds: int, frames: int = 4) -> Path:
    """A video whose last frame is that much later than it should be."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for number, picture in enumerate(moving_square(1, 0, frames)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 12)
            for packet in stream.encode(frame):
                if number == frames - 1:
                    packet.pts, packet.dts = packet.pts + 12 * seconds, packet.dts + 12 * seconds
                container.mux(packet)
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_time_stamp_a_day_later_is_damage(suffix, tmp_path):
    path = jumping(tmp_path / f"late{suffix}", 86_400)
    for look in (decode, locate):
        with pytest.raises(DamagedVideo, match=r"a time stamp is wrong: frame 4 comes 86,400 s after the one before"):
            look(path, fps=12)
    with pytest.raises(DamagedVideo, match="a time stamp is wrong"):
        survey(path)


def test_a_video_that_stands_still_for_minutes_takes_no_more_memory_than_is_said(tmp_path):
    still = decode(jumping(tmp_path / "still.mp4", 60), fps=12)
    assert 60 * 12 < len(still) < 80 * 12
    with pytest.raises(DamagedVideo, match=r"4 frames are spread over 500 s"):
        decode(jumping(tmp_path / "longer.mp4", 500), fps=12)
    assert MOST_REPEATS * 4 + SPARE_REPEATS < 500 * 12


def test_one_such_video_does_not_ask_for_a_larger_disk(tmp_path):
    root = videos(tmp_path / "videos")
    before = read_source(root)
    plain = expected_bytes(before, before.videos, 24)
    for suffix in (".mkv", ".mp4"):
        jumping(root / "train" / "left" / f"late{suffix}", 86_400)
    after = read_source(root)
    assert plain and expected_bytes(after, after.videos, 24) < 50 * plain


# --- names -----------------------------------------------------------------------------------------------------------


def test_names_are_escaped():
    assert escaped(RAW) == SAID and escaped("日本 e\u0301 \u200d") == "日本 e\u0301 \u200d"
    assert escaped("a\nb\u202ec\u2028", keep="\n") == "a\nb\\u202ec\\u2028"


@pytest.mark.heavy
@pytest.mark.timeout(400)
def test_a_run_on_names_that_no_terminal_can_show(tmp_path, expand):
    root = videos(tmp_path / RAW, (RAW, "right"))
    (root / "train" / "right" / f"{RAW}.avi").write_bytes(b"no video")
    checked = expand("data", "check", root)
    assert checked.returncode == 0 and f"{SAID}.avi: " in checked.stdout and SAID in checked.stdout
    assert "\x1b" not in checked.stdout and json.loads(expand("data", "check", root, "--json").stdout)["problems"]
    done = expand("run", TINY, "--data", root, "--workers", 0, "--out", "run", "--set", "budget.steps=0")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr and f"{SAID}.avi: not a readable video" in done.stdout
    assert read_json(tmp_path / "run/study.json")["data"]["classes"] == [SAID, "right"]
    again = expand("run", TINY, "--data", root, "--workers", 0, "--out", "run", "--set", "budget.steps=0")
    assert again.returncode == 0, again.stderr
    tested = expand("test", "run", "--best", "top1", "--views", "1x1", "--split", "val")
    assert tested.returncode == 0, tested.stderr
    for file in ("report/index.html", "report/trials.csv"):
        text = (tmp_path / "run" / file).read_bytes().decode()  # UTF-8, strictly
        assert "\x1b" not in text
    (table,) = (tmp_path / "run").glob("artifacts/*/tests/*/videos.csv")
    assert {row["truth"] for row in csv.DictReader(table.open(encoding="utf-8"))} == {SAID, "right"}
    exported = expand("export", "run", "--best", "top1", "--to", "out")
    assert exported.returncode == 0 and json.loads((tmp_path / "out/architecture.json").read_text()), exported.stderr


def test_a_prepared_folder_keeps_such_names(tmp_path):
    root = videos(tmp_path / "videos", (RAW, "right"))
    (root / "train" / RAW / "0.avi").rename(root / "train" / RAW / f"{RAW}\n.avi")
    made = prepare_source(root, tmp_path / "prepared").manifest
    again = read_prepared(tmp_path / "prepared", settings_of())
    assert again.fingerprint() == made.fingerprint() and again.classes == (SAID, "right")
    assert (again.root / next(v.path for v in again.videos if "\n" in v.path)).is_file()


# --- lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["x" * 3_000_000, '"' + "x" * 3_000_000 + '"', "9" * 5000])
def test_a_field_of_megabytes_is_named_by_file_and_line(cell, tmp_path):
    root = videos(tmp_path / "videos")
    lines = ["path,label", *(f"{split}/left/{n}.avi,1" for split, n in (("train", 0), ("train", 1)))]
    (root / "train.csv").write_text("\n".join([*lines, f"train/right/0.avi,{cell}"]))
    (root / "val.csv").write_text("val/left/2.avi,1\nval/right/2.avi,2")
    with pytest.raises(UsageError, match=r"train\.csv line 4: ") as caught:
        read_source(root)
    assert len(str(caught.value)) < 2000


def test_a_kinetics_list_with_endless_numbers_or_one_long_line(tmp_path):
    (tmp_path / "train.csv").write_text(
        f"label,youtube_id,time_start,time_end,split\na,b,inf,1,train\na,{'x' * 200_000},0,1,train"
    )
    with pytest.raises(UsageError) as caught:
        read_source(tmp_path)
    assert "train.csv line 2: no youtube_id with time_start" in str(caught.value)
    assert "train.csv line 3: 200,012 bytes, at most 65,536 are read" in str(caught.value)
    (tmp_path / "train.csv").write_text("x" * 3_000_000)
    with pytest.raises(UsageError, match=r"train\.csv line 1: 3,000,000 bytes"):
        read_source(tmp_path)


def test_a_file_of_a_terabyte_is_not_read(tmp_path):
    with (tmp_path / "train.csv").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match=rf"1,099,511,627,776 bytes, at most {MOST_BYTES:,} are read"):
        read_source(tmp_path / "train.csv")


# --- JSON of somebody else -------------------------------------------------------------------------------------------

STUDY = {
    "optuna_study": "x", "reference": "x3d_stepwise", "scale": "demo", "settings": [], "data_option": None, "seed_option": None,
    "study": {
        "name": "x", "seeds": [0],
        "objectives": [{"name": "top1", "direction": "maximize", "known_before_training": False}],
    },
    "data": {"name": "x", "fingerprint": "0", "classes": ["a", "b"], "videos": {"train": 1, "val": 1}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "it is no object"),
        ("7", "it is no object"),
        ("[" * 100_000, "nested too deeply"),
        (json.dumps({k: v for k, v in STUDY.items() if k != "study"}), "'study' is missing"),
        (json.dumps(STUDY | {"study": None}), "'study' is no object"),
        (json.dumps(STUDY | {"study": STUDY["study"] | {"seeds": ["a"]}}), 'is "a", not a whole number'),
        (json.dumps(STUDY | {"study": STUDY["study"] | {"objectives": [3]}}), "'study.objectives[0]' is no object"),
        (json.dumps(STUDY | {"settings": "recipe.epochs=1"}), "'settings' is no list"),
        (json.dumps(STUDY | {"data": {"name": "x"}}), "'data.fingerprint' is missing"),
        (json.dumps(STUDY | {"alone": {"name": "x"}}), "'alone.network' is missing"),
    ],
)
def test_a_study_json_of_somebody_else_is_one_line(content, reason, tmp_path):
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(UsageError) as caught:
        open_for_reading(tmp_path)
    assert reason in str(caught.value) and "study.json cannot be read" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"] and (
        tmp_path / "study.json"
    ).read_text() == content


@pytest.mark.heavy
@pytest.mark.timeout(400)
def test_every_command_says_it_in_one_line_and_changes_nothing(tmp_path, expand):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/study.json").write_text(json.dumps(STUDY | {"study": 3}))
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    for arguments in (
        ("run", TINY, "--out", "run"), ("status", "run"), ("report", "run"), ("compare", "run", "other"),
        ("test", "run", "--best", "top1"), ("export", "run", "--best", "top1", "--to", "to"), ("train", "run", "--trial", 0),
    ):  # fmt: skip
        done = expand(*arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "'study' is no object" in done.stderr, (
            done.stderr
        )
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["study.json"]


def test_pipes_in_a_run_directory_are_not_opened(tmp_path):
    for name in ("study.json", "plan.json", "data.json"):
        pipe(tmp_path / name)
    for read in (open_for_reading, read_plan, read_listing):
        with pytest.raises(UsageError, match=r"json cannot be read \(it is a named pipe \(FIFO\), not a file\)"):
            read(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{}", '{"study": {}, "workers": 3}', "null", '{"networks": [1]}'])
def test_plans_and_listings_of_somebody_else(content, tmp_path):
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(UsageError, match=r"plan\.json cannot be read \(.*delete it"):
        read_plan(tmp_path)
    (tmp_path / "data.json").write_text('{"a.avi": [1, 2]}' if content == "{}" else content)
    with pytest.raises(UsageError, match=r"data\.json cannot be read"):
        read_listing(tmp_path)


# --- study files -----------------------------------------------------------------------------------------------------


def study_file(folder: Path, text: str) -> str:
    (folder / "own_study.py").write_text(text)
    return str(folder / "own_study.py")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import os\n\n1 / 0", r"own_study\.py line 3: ZeroDivisionError: division by zero"),
        ("def study():\n    return {}['x']", r"own_study\.py line 2: KeyError: 'x'"),
        ("def study():\n    import json\n    return json.loads('{')", r"own_study\.py line 3: JSONDecodeError"),
        ("import sys\nsys.exit(3)", r"own_study\.py line 2: it ends the program \(sys\.exit\(3\)\)"),
        ("def study():\n    raise SystemExit", r"own_study\.py line 2: it ends the program \(sys\.exit\(None\)\)"),
        ("class Odd(BaseException): pass\nraise Odd('x')", r"own_study\.py line 2: Odd: x"),
        ("def study(:", r"own_study\.py is not Python: .* \(line 1\)"),
        ("x = '\0'", r"own_study\.py"),
        ("import no_such_module", r"own_study\.py line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("study = 3", r"has no function study\(\)"),
        ("def study(): return None", r"study\(\) returned NoneType, not an expand\.study\.Study"),
        ("def study(): return {}", r"study\(\) returned dict"),
        ("def study(a, b): return None", r"TypeError: study\(\) missing 1 required"),
        ("from expand.core.study import Recipe\ndef study(): return Recipe()", r"study\(\) returned Recipe"),
    ],
)
def test_a_study_file_that_fails_is_shown_with_its_own_line(text, said, tmp_path):
    with pytest.raises(UsageError, match=said):
        load_study(study_file(tmp_path, text))
    with pytest.raises(UsageError):
        load_space(study_file(tmp_path, text.replace("study", "space")))


def test_a_factory_that_fails_while_it_is_imported(tmp_path):
    with pytest.raises(UsageError, match=r"own_study\.py line 1: NameError"):
        load_factory(study_file(tmp_path, "nothing") + ":make")


WHOLE = """
from dataclasses import replace
import importlib.util
spec = importlib.util.spec_from_file_location("whole_tiny", {tiny!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
def study():
    return replace(module.study(), {change})
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("recipe=None", "recipe=None: wanted"),
        ("seeds=3", "seeds=3: wanted"),
        ("seeds=('a',)", r"seeds=\('a',\): wanted"),
        ("space=3", "space=3: wanted"),
        ("strategy=3", "strategy=3: wanted"),
        ("objectives=(1,)", r"objectives=\(1,\): wanted"),
        ("recipe=replace(module.study().recipe, epochs='12')", "recipe.epochs='12': wanted a whole number"),
        ("recipe=replace(module.study().recipe, crop='none')", "recipe.crop='none': wanted"),
        ("name=None", "name=None: wanted"),
    ],
)
def test_a_study_of_wrong_values_is_said_by_field(change, said, tmp_path):
    with pytest.raises(UsageError, match=said):
        load_study(study_file(tmp_path, WHOLE.format(tiny=str(TINY), change=change)))


@pytest.mark.parametrize(
    "hang", ["import time\ntime.sleep(1000)", "while True:\n    try: pass\n    except Exception: pass"]
)
def test_a_study_file_that_never_returns_is_named(hang, tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "CODE_SECONDS", 0.3)
    with pytest.raises(UsageError, match=r"own_study\.py line \d: it does not return within 0\.3 s"):
        load_study(study_file(tmp_path, hang))


def test_an_interrupt_ends_a_study_file_that_hangs(tmp_path):
    import signal
    import subprocess
    import sys

    study_file(tmp_path, "import time\nopen('begun', 'w').close()\ntime.sleep(1000)")
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        child = subprocess.Popen(
            [sys.executable, "-m", "expand", "run", "own_study.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        while not (tmp_path / "begun").exists():
            assert child.poll() is None
            time.sleep(0.02)
        child.send_signal(number)
        _, said = child.communicate(timeout=20)
        assert child.returncode == code and "Traceback" not in said
        (tmp_path / "begun").unlink()


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e400"])
@pytest.mark.parametrize(
    "field",
    [
        "recipe.learning_rate", "recipe.weight_decay", "recipe.warmup_epochs", "recipe.clip_gradient_norm", "recipe.mixup",
        "budget.hours", "budget.minutes_per_trial", "budget.targets_gmacs", "data.fps", "data.validation_share",
        "objectives.gmacs.limit", "space.width", "strategy.factor",
    ],
)  # fmt: skip
def test_what_is_no_finite_number_is_refused_in_any_field(field, number):
    with pytest.raises(UsageError) as caught:
        override(load_study(str(TINY)), [f"{field}={number}"])
    assert field.partition(".")[2] in str(caught.value) and any(sign in str(caught.value) for sign in ("nan", "inf"))


@pytest.mark.parametrize(
    "setting",
    [
        "recipe.warmup_epochs=-1", "recipe.clip_gradient_norm=0", "budget.hours=0", "budget.trials=0", "budget.epochs=0",
        "budget.minutes_per_trial=0", "data.cache_frames=0", "data.official_split=0", "data.fps=0", "seeds=-1",
        "recipe.epochs=99999999999999999999", "name=", "name=../x", "budget.targets_gmacs=-1", "data.published=0,1,2",
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(setting):
    field = setting.partition("=")[0]
    with pytest.raises(UsageError, match=field):
        override(load_study(str(TINY)), [setting])


@pytest.mark.parametrize("text", ["inf", "nan", "1e999", "-1", "0", ""])
def test_limits_and_hours_are_finite(text, tmp_path, expand):
    with pytest.raises(UsageError, match="gmacs<=2, with a number above 0"):
        Request(str(TINY), limits=(f"gmacs<={text}",)).study()
    if text in ("nan", "inf", "-1"):
        done = expand("run", TINY, "--budget-hours", text, "--workers", 0, "--out", "run")
        assert done.returncode == 2 and f"--budget-hours {text}: must be" in done.stderr
        assert not (tmp_path / "run").exists()


def test_our_own_studies_pass_every_check():
    for name in settings.names_in("studies"):
        for scale in settings.SCALES:
            load_study(name, scale)


# --- memory ----------------------------------------------------------------------------------------------------------


def test_a_batch_beyond_all_memory_is_refused_with_the_estimate():
    study = override(load_study("x3d_stepwise", "paper"), ["recipe.batch_size=100000"])
    costs = [cost_of(study.space, study.space.start, 400)]
    memory = Memory(24 * 10**9, "this machine")
    needed = least_bytes(costs[0], study, 240_000)
    assert needed == 12 * costs[0].params + 100_000 * costs[0].training_bytes > memory.bytes
    with pytest.raises(UsageError, match=r"recipe\.batch_size=100000: .* takes about .*, this machine has 24 GB"):
        require_memory(study, costs, 240_000, memory)
    require_memory(study, costs, 64, memory)  # a batch has no more clips than there are
    require_memory(override(study, ["recipe.batch_size=16"]), costs, 240_000, memory)
    assert least_bytes(costs[0], study, 240_000, halved=True) < 0.6 * needed


@pytest.mark.heavy
@pytest.mark.timeout(400)
def test_a_plan_says_what_a_batch_takes_and_a_run_refuses_it(tmp_path, expand):
    root = videos(tmp_path / "videos")
    for split, many in (("train", 1000), ("val", 1)):  # copies in one split are no error, and cost nothing
        rows = [f"{split}/{name}/{2 if split == 'val' else 0}.avi,{name}" for name in ("left", "right")]
        (root / f"{split}.csv").write_text("\n".join(rows * many))
    large = (
        "--data",
        root,
        "--set",
        "recipe.batch_size=100000",
        "--set",
        "space.resolution=112",
        "--set",
        "space.frames=16",
    )
    planned = expand("plan", TINY, *large, "--no-calibrate")
    assert planned.returncode == 0 and "NOT ENOUGH for any candidate" in planned.stdout, planned.stdout + planned.stderr
    done = expand("run", TINY, *large, "--workers", 0, "--out", "run")
    assert done.returncode == 2 and "recipe.batch_size=100000: training the smallest candidate" in done.stderr, (
        done.stderr
    )
