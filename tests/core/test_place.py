"""A folder is there whole or not at all, whenever the process that writes it is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from expand.core.atomic import placed
from expand.core.errors import ExpandError

ROOT = Path(__file__).resolve().parents[2]
DYING = """
import os, shutil, signal, sys
from pathlib import Path
from expand.core.atomic import placed

left = int(sys.argv[2])


def dying(real):
    def call(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return call


os.rename, os.fsync, shutil.rmtree = dying(os.rename), dying(os.fsync), dying(shutil.rmtree)
Path.write_text, Path.mkdir = dying(Path.write_text), dying(Path.mkdir)
with placed(Path(sys.argv[1])) as folder:
    (folder / "one").write_text("new")
    (folder / "inner").mkdir()
    (folder / "inner" / "two").write_text("new")
"""


def killed_after(folder: Path, calls: int) -> bool:
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(folder), str(calls)], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode in (0, -9)
    return done.returncode == -9


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def write(folder: Path, text: str) -> None:
    with placed(folder) as unfinished:
        (unfinished / "one").write_text(text)
        (unfinished / "inner").mkdir()
        (unfinished / "inner" / "two").write_text(text)


@pytest.mark.parametrize("old", [False, True])
def test_killed_anywhere_it_is_whole_or_not_there_and_the_next_call_cleans_up(tmp_path, old):
    calls, seen = 0, set()
    while True:
        folder = tmp_path / str(calls) / "a [net]"
        if old:
            write(folder, "old")
        killed = killed_after(folder, calls)
        assert not folder.exists() or content(folder) in (
            {"one": "old", "inner/two": "old"},
            {"one": "new", "inner/two": "new"},
        )
        seen.add(content(folder).get("one") if folder.exists() else None)
        write(folder, "next")
        assert content(folder) == {"one": "next", "inner/two": "next"} and list(folder.parent.iterdir()) == [folder]
        if not killed:
            break
        calls += 1
    assert calls >= 8  # places where it died
    assert seen == ({"old", "new", None} if old else {"new", None})


def test_a_folder_killed_between_two_renames_gets_its_old_content_back(tmp_path):
    write(tmp_path / "net", "old")
    os.rename(tmp_path / "net", tmp_path / ".net.old-12ab")
    with pytest.raises(ExpandError, match="stopped"), placed(tmp_path / "net"):
        raise ExpandError("stopped")
    assert content(tmp_path / "net")["one"] == "old" and [path.name for path in tmp_path.iterdir()] == ["net"]


def test_what_another_process_is_writing_is_left_alone(tmp_path):
    with placed(tmp_path / "net") as first:
        (first / "one").write_text("first")
        write(tmp_path / "net", "second")
        assert first.exists() and content(tmp_path / "net")["one"] == "second"
    assert content(tmp_path / "net") == {"one": "first"}


def test_where_nothing_can_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ExpandError, match=r"cannot be written .*name another folder"),
        placed(tmp_path / "file" / "net"),
    ):
        pass
