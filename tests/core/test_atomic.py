"""A file is as it was or as it should be, whatever goes wrong while it is written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from expand.core.atomic import unfinished, write_atomically


@settings(max_examples=20)
@given(some.none() | some.binary(), some.binary(), some.sampled_from(["", "fsync", "replace"]))
def test_a_failed_write_leaves_the_old_file(old, new, fails):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        if old is not None:
            write_atomically(path, old)
        if fails:
            with (
                mock.patch.object(os, fails, side_effect=OSError(28, "No space left on device")),
                pytest.raises(OSError, match="No space"),
            ):
                write_atomically(path, new)
        else:
            write_atomically(path, new)
        there = {entry.name: entry.read_bytes() for entry in Path(folder).iterdir()}
        wanted = old if fails else new
        assert there == ({} if wanted is None else {"file": wanted})


def test_a_file_that_another_process_is_writing_is_not_left_over(tmp_path):
    """`a.mp4` and `a.mp4.mp4` lie side by side, and their temporary names begin alike."""
    for name in (".a.mp4.71.tmp", ".a.mp4.mp4.72.tmp"):
        (tmp_path / name).touch()
    assert [path.name for path in unfinished(tmp_path / "a.mp4")] == [".a.mp4.71.tmp"]
    assert [path.name for path in unfinished(tmp_path / "a.mp4.mp4")] == [".a.mp4.mp4.72.tmp"]
