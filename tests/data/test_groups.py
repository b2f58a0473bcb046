"""Groups found in file names: clips of one person stay in one split."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from expand.core.errors import UsageError
from expand.data.read_source import BadInput, Options, read_source
from tests.conftest import ROOT, moving_square, write_video


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """root/class/personNN_k.avi: 6 people, each twice in both classes."""
    for name in ("walk", "run"):
        for person in range(6):
            for take in range(2):
                place = tmp_path / "clips" / name / f"person{person:02}_{take}.avi"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(b"")
    return tmp_path / "clips"


def test_a_pattern_keeps_people_in_one_split(people):
    manifest = read_source(people, Options(group_pattern=r"(person\d+)_"))
    assert {video.group for video in manifest.videos} == {f"person{n:02}" for n in range(6)}
    assert manifest.crossing_groups() == () and manifest.group_note == ""
    assert all(manifest.split(split) for split in ("train", "val", "test"))
    whole = read_source(people, Options(group_pattern=r"person\d+"))
    assert whole.videos == manifest.videos  # without brackets, all that it matches


def test_files_that_are_groups_of_their_own_are_said_with_a_guess_that_is_not_applied(people):
    manifest = read_source(people)
    assert len({video.group for video in manifest.videos}) == 24
    assert manifest.group_guess == r"((?:person|subject|actor|user|speaker|patient|player)[_-]?\d+)"
    assert "6 groups (person00, person01, person02, ...)" in manifest.group_note
    assert read_source(people, Options(group_pattern=manifest.group_guess)).crossing_groups() == ()


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("{take}/s{person}/x{take}", 6),  # a folder between class and clip
        ("s{person}_{take}", 6),  # the name's first part
        ("clip{person}{take}", 0),  # nothing tells
    ],
)
def test_guesses(tmp_path, name, groups):
    for label in ("walk", "run"):
        for person in range(6):
            for take in range(2):
                place = tmp_path / label / f"{name.format(person=person, take=take)}.avi"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(b"")
    manifest = read_source(tmp_path)
    assert (f"look like {groups} groups" in manifest.group_note) is bool(groups)
    assert bool(manifest.group_guess) is bool(groups)
    assert "each of the 24 files is its own group" in manifest.group_note


def test_numbered_clips_of_a_class_are_no_groups(tmp_path):
    for label in ("walk", "run"):
        (tmp_path / label).mkdir()
        for number in range(12):
            (tmp_path / label / f"{label}_{number}.avi").write_bytes(b"")
    assert read_source(tmp_path).group_guess == ""


def test_bad_patterns(people):
    with pytest.raises(BadInput, match=r"24 problems(.|\n)*group pattern '\(actor.d\+\)' finds nothing in"):
        read_source(people, Options(group_pattern=r"(actor\d+)"))
    with pytest.raises(UsageError, match="write a regular expression"):
        read_source(people, Options(group_pattern="(person"))


def real(folder: Path) -> Path:
    for label, direction in (("left", -1), ("right", 1)):
        for person in range(4):
            for take in range(2):
                write_video(folder / label / f"person{person}_{take}.avi", moving_square(direction, 8 * person + take))
    return folder


def test_check_and_prepare_say_it_and_take_the_pattern(expand, tmp_path):
    real(tmp_path / "clips")
    checked = expand("data", "check", "clips")
    assert "each of the 16 files is its own group" in checked.stdout and "4 groups" in checked.stdout
    made = expand("data", "prepare", "clips", "--to", "my prepared", "--no-cache", "--group-pattern", r"(person\d)")
    assert made.returncode == 0 and "its own group" not in made.stdout, made.stdout + made.stderr
    assert "expand run STUDY --data 'my prepared'" in made.stdout
    assert {video.group for video in read_source(tmp_path / "my prepared").videos} == {f"person{n}" for n in range(4)}


def test_a_person_at_a_terminal_is_asked(tmp_path):
    real(tmp_path / "clips")
    for answer, groups in ((b"n\n", 16), (b"y\n", 4)):
        outer, inner = pty.openpty()
        arguments = ["data", "prepare", "clips", "--to", f"to{groups}", "--no-cache"]
        process = subprocess.Popen(
            [sys.executable, "-m", "expand", *arguments], cwd=tmp_path, stdin=inner, stdout=inner, stderr=inner,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        os.close(inner)
        shown = b""
        while b"Are these the groups?" not in shown:
            shown += os.read(outer, 1000)
        os.write(outer, answer)
        while process.poll() is None:
            try:
                os.read(outer, 1000)
            except OSError:
                break
        assert process.wait(timeout=60) == 0
        os.close(outer)
        assert len({video.group for video in read_source(tmp_path / f"to{groups}").videos}) == groups
