"""`expand data render`: how many clips it renders, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from expand.cli import listing
from expand.core.errors import UsageError
from expand.data.synthetic import render as rendering


@pytest.mark.parametrize(("validation", "groups"), [(None, 16), (640, 64)])
def test_more_validation_clips_are_more_groups(validation, groups, tmp_path, monkeypatch):
    """The groups that the renderer is asked for; rendering 500 clips takes a minute and has its own tests."""
    asked: list[int] = []

    def rendered(folder: Path, *, val_groups: int, **_: object) -> Path:
        asked.append(val_groups)
        return folder

    monkeypatch.setattr(rendering, "render_dataset", rendered)
    monkeypatch.setattr(rendering, "verify", lambda folder: [])
    listing.render(tmp_path / "clips", 0, validation)
    assert asked == [groups]


def test_what_cannot_be_rendered_is_refused(tmp_path):
    with pytest.raises(UsageError, match="a multiple of 10"):
        listing.render(tmp_path / "clips", 0, 15)
    with pytest.raises(UsageError, match="need --to"):
        listing.render(None, 0, 640)
